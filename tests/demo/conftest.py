"""The demo's data, and a visitor who clicks through a demo partner's page."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import User
from apps.demo.seeding import seed


@pytest.fixture
def demo_data(transactional_db: None, settings: Any, tmp_path: Path) -> dict[str, Any]:
    """What manage.py seed_demo makes; committed, because the partner's requests come from another connection."""
    settings.MEDIA_ROOT = tmp_path
    # Nine people and a slow hash: a second for every test.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS[1:]]
    return seed()


@dataclass
class Visitor:
    """A browser that is logged in at the authorization server. The partner's own requests go to the live server."""

    netloc: str
    user: User
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(headers={"host": self.netloc})
        self.client.force_login(self.user)

    @property
    def port(self) -> dict[str, str]:
        """Where the live server listens: the partner asks the request for that, and the test client says 80."""
        return {"SERVER_PORT": self.netloc.rpartition(":")[2]}

    def get(self, address: str, query: dict[str, str] | None = None) -> HttpResponse:
        """Open a page, and follow redirects."""
        return self.follow(self.client.get(address, query, **self.port))

    def post(self, address: str, fields: dict[str, Any] | None = None) -> HttpResponse:
        """Press a button, and follow redirects."""
        return self.follow(self.client.post(address, fields, **self.port))

    def follow(self, response: HttpResponse) -> HttpResponse:
        """Follow redirects to a page."""
        while response.status_code in {302, 303}:
            parts = urlsplit(response["Location"])
            assert parts.netloc in {"", self.netloc}, response["Location"]
            address = parts._replace(scheme="", netloc="", fragment="").geturl()
            response = self.client.get(address, **self.port)
        return response

    def open(self, programme: str) -> HttpResponse:
        return self.get(f"/demo/{programme}/")

    def connect(self, programme: str, **fields: str) -> HttpResponse:
        """Press the first button; return the consent page."""
        return self.post(f"/demo/{programme}/connect", fields)

    def answer(self, page: HttpResponse, decision: str) -> HttpResponse:
        """Answer the consent page; return the page that the browser ends at."""
        address = page.wsgi_request.get_full_path()
        return self.post(address, {"decision": decision})

    def press(self, programme: str, step: str) -> HttpResponse:
        return self.post(f"/demo/{programme}/{step}")


@pytest.fixture
def visitor(live_server: LiveServer, demo_data: dict[str, Any]) -> Visitor:
    """Aino, who has receipts, points and data points, at the address that the demo's redirect URIs name."""
    port = urlsplit(live_server.url).port
    return Visitor(f"127.0.0.1:{port}", User.objects.get(email="aino@example.com"))


@pytest.fixture
def connected(visitor: Visitor) -> Callable[[str], HttpResponse]:
    """Connect a programme's partner; return its page."""

    def connect(programme: str) -> HttpResponse:
        return visitor.answer(visitor.connect(programme), "allow")

    return connect


@pytest.fixture
def headlines() -> Callable[[HttpResponse], list[str]]:
    """Read what a partner's page says came of each step."""

    def read(page: HttpResponse) -> list[str]:
        return re.findall(r'class="flow-outcome [^"]*">\s*(.*?)\s*</p>', page.content.decode(), re.DOTALL)

    return read


__all__ = ["Visitor"]
