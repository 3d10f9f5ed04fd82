"""No code, token or secret in clear, neither in the database nor in a log (CONTRACT section 5)."""

import json
import logging

import pytest
from django.contrib.sessions.models import Session
from django.db import connection

from tests.protocol.test_rfc7636_pkce import challenge_of

pytestmark = pytest.mark.spec("CONTRACT", "5 (at rest)")

VERIFIER = "v" * 43 + "erifier"


@pytest.fixture(params=["connection", "customer", "portal"])
def whole_life(request, make_application, make_user, browser, exchange, refresh, call_with, introspect, partner):
    """Live an application's whole life and return every credential that appeared in it, in clear."""

    def live():
        application = make_application(request.param)
        service = make_application("service")
        pkce = {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}
        unspent, code = browser.authorize(application, **pkce), browser.authorize(application, **pkce)
        tokens = exchange(application, code, code_verifier=VERIFIER).json()
        issued = [tokens]
        if "refresh_token" in tokens:
            issued += [refresh(application, tokens["refresh_token"]).json() for _ in range(2)]
            issued.append(refresh(application, issued[-1]["refresh_token"]).json())
        body = {"grant_type": "client_credentials", **service.credentials}
        issued.append(partner.post("/oauth/token", body).json())
        for path in ("/oauth/user", "/open_auth/get_user_data/"):
            call_with(path, issued[-2]["access_token"])
        introspect(application, issued[-2]["access_token"])
        exchange(application, code, code_verifier=VERIFIER)
        exchange(application, "wrong", client_secret="wrong")
        call_with("/api/oauth/revoke", issued[-1]["access_token"], method="delete")
        found = [answer[kind] for answer in issued for kind in ("access_token", "refresh_token") if kind in answer]
        return [unspent, code, application.secret, service.secret, VERIFIER, *found]

    return live


def everything_stored():
    """Return all that the database holds in text and JSON columns, sessions decoded."""
    columns = """SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
                 AND data_type IN ('text', 'character varying', 'jsonb', 'json', 'ARRAY')"""
    with connection.cursor() as cursor:
        cursor.execute(columns)
        found = cursor.fetchall()
        assert len(found) > 50
        for table, column in found:
            cursor.execute(f'SELECT "{column}"::text FROM "{table}" WHERE "{column}" IS NOT NULL')
            yield from ((f"{table}.{column}", value) for (value,) in cursor.fetchall())
    for session in Session.objects.all():
        yield "session", json.dumps(session.get_decoded())


def test_database_holds_no_credential_in_clear(whole_life):
    credentials = whole_life()

    for place, stored in everything_stored():
        for credential in credentials:
            assert credential not in stored, place
            assert credential.rpartition(".")[2] not in stored, f"{place}: a JWT's signature"


def test_what_is_searched_would_be_found(member):
    """The search itself: it finds what is there in clear."""
    assert any(member.email in stored for _place, stored in everything_stored())


@pytest.mark.parametrize("logger", ["django", "oauth2_provider", "oauthlib", "apps", "allauth", ""])
def test_log_holds_no_credential_even_at_debug(whole_life, caplog, logger):
    """Except the SQL log, which exists with DEBUG only, and holds hashes."""
    caplog.set_level(logging.DEBUG, logger=logger)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("oauthlib"):
            caplog.set_level(logging.DEBUG, logger=name)

    credentials = whole_life()

    for record in caplog.records:
        for credential in credentials:
            assert credential not in record.getMessage(), record.name
            assert credential not in str(record.__dict__.get("args")), record.name


def test_replay_leaves_a_line_for_the_operator(browser, application, exchange, caplog):
    code = browser.authorize(application)
    exchange(application, code)

    exchange(application, code)

    assert any("replayed" in record.getMessage() for record in caplog.records)
