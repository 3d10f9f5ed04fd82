"""One visit of everybody: whatever it leaves in logs, metrics and traces, nothing secret or personal may be in it."""

import io
import logging
import re
import uuid
from urllib.parse import quote

import pytest
from django.test import Client

from apps.telemetry.logs import JsonFormatter, PathFilter, WorkFilter
from tests.conftest import query_of


@pytest.fixture
def log_lines():
    """What is logged at any level, as the JSON formatter writes it; `log_lines()` returns the lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(WorkFilter())
    handler.addFilter(PathFilter())
    audit, access, root = logging.getLogger("countersign.audit"), logging.getLogger("countersign.access"), logging.root
    level = access.level
    access.setLevel(logging.INFO)
    for logger in (root, audit):
        logger.addHandler(handler)
    yield lambda: stream.getvalue().splitlines()
    for logger in (root, audit):
        logger.removeHandler(handler)
    access.setLevel(level)


@pytest.fixture
def visit(member, password, make_application, browser, exchange, refresh, introspect, call_with, mails):
    """Log in with a wrong and a right password, authorise, exchange, refresh, read, revoke, and go wrong everywhere.

    Returns what was secret or personal in it, by what it is.
    """

    def go():
        known = {"password": password, "wrong password": f"w-{uuid.uuid4()}", "e-mail": member.email}
        visitor = Client(headers={"user-agent": f"browser-{uuid.uuid4()}"})
        for word in ("wrong password", "password"):
            visitor.post("/account/login/", {"login": member.email, "password": known[word]})
        known["session"] = visitor.cookies["countersign_session"].value

        application = make_application("customer")
        known |= {"client id": application.client_id, "client secret": application.secret}
        known |= {"state": f"state-{uuid.uuid4()}", "verifier": f"verifier-{uuid.uuid4()}"}
        answer = browser.answer(browser.ask(application, state=known["state"]))
        known["code"] = query_of(answer)["code"]
        known["wrong secret"] = f"secret-{uuid.uuid4()}"
        exchange(application, known["code"], client_secret=known["wrong secret"])
        tokens = exchange(application, known["code"]).json()
        known |= {"access token": tokens["access_token"], "refresh token": tokens["refresh_token"]}
        call_with("/oauth/user", tokens["access_token"])
        again = refresh(application, tokens["refresh_token"]).json()
        known |= {"second access token": again["access_token"], "second refresh token": again["refresh_token"]}
        introspect(application, again["access_token"])
        browser.client.get(
            "/oauth/authorize", {"client_id": f"x{known['state']}", "redirect_uri": "https://evil.example/"}
        )
        Client().post("/oauth/token", {"grant_type": f"made-up-{known['code']}", **application.credentials})
        Client().post("/oauth/token", b"\xff" + known["code"].encode(), content_type="application/json")
        Client().post("/oauth/revoke", {"token": again["refresh_token"], **application.credentials})
        exchange(application, known["code"])

        # A mailed key, in an address of ours and in one that is none.
        visitor.post("/account/logout/")
        Client().post("/account/password/reset/", {"email": member.email})
        [key] = re.findall(r"/key/([^/\s]+)", mails()[-1].body)
        known["mailed key"] = key
        Client().get(f"/account/password/reset/key/{key}/", follow=True)
        Client().get(f"/account/password/rest/key/{quote(key)}/")
        return known

    return go


@pytest.fixture
def assert_absent():
    """Assert that none of the secrets is in a text, nor its part that would do."""

    def check(known, text):
        assert text
        for what, secret in known.items():
            assert secret not in text, f"{what} is in it"
            assert quote(secret, safe="") not in text, f"{what} is in it"

    return check
