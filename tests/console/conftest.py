"""The same people and applications as in tests/developers, for the pages."""

from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User
from tests.developers.conftest import join, live, owner, pending, register, reviewer, submit

__all__ = ["join", "live", "owner", "pending", "register", "reviewer", "submit"]


def client_of(user: User) -> Client:
    """A browser in which somebody is logged in."""
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def team(owner: Any) -> Client:
    """The owner's browser."""
    return client_of(owner)
