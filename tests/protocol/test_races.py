"""What several requests at the same moment may and may not do: real threads, real connections, real PostgreSQL."""

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.connections.models import Connection, EndReason
from apps.tokens import keys, services
from apps.tokens.models import SigningKey, TokenFamily
from tests.conftest import TOKEN_DOORS, RegisteredApplication, at_once

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 50


def token_request(application: RegisteredApplication, **fields: str) -> Callable[[], HttpResponse]:
    door = TOKEN_DOORS[application.row.profile]
    body = {**application.credentials, **fields}
    return lambda: Client().post(door, body)


def exchange_request(application: RegisteredApplication, code: str) -> Callable[[], HttpResponse]:
    return token_request(application, grant_type="authorization_code", code=code)


def refresh_request(application: RegisteredApplication, token: str) -> Callable[[], HttpResponse]:
    return token_request(application, grant_type="refresh_token", refresh_token=token)


@pytest.mark.spec("RFC 6749", "4.1.2")
def test_of_fifty_exchanges_of_one_code_one_succeeds_and_the_replays_end_it(browser, any_application):
    code = browser.authorize(any_application)

    responses = at_once(*[exchange_request(any_application, code)] * CROWD)

    assert Counter(response.status_code for response in responses) == {200: 1, 400: CROWD - 1}
    assert {response.json()["error"] for response in responses if response.status_code == 400} == {"invalid_grant"}
    # The code came twice, so what it issued is revoked, also when both came at the same moment.
    assert not AccessToken.objects.exists()
    assert not RefreshToken.objects.filter(revoked__isnull=True).exists()
    assert TokenFamily.objects.get().revoked_at is not None


@pytest.mark.parametrize("profile", ["customer", "portal"])
@pytest.mark.spec("RFC 9700", "4.14.2")
def test_fifty_refreshes_of_one_token_leave_one_live_family(connect, make_application, call_with, profile):
    """They are the same request at nearly the same moment: an honest client's, so all get the same answer."""
    application = make_application(profile)
    token = connect(application)["refresh_token"]

    responses = at_once(*[refresh_request(application, token)] * CROWD)

    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["refresh_token"] for response in responses}) == 1
    assert len({response.json()["access_token"] for response in responses}) == 1
    assert TokenFamily.objects.filter(revoked_at__isnull=True).count() == 1
    assert RefreshToken.objects.filter(revoked__isnull=True).count() == 1
    assert AccessToken.objects.count() == 1
    path = {"customer": "/oauth/user", "portal": "/open_auth/get_user_data/"}[profile]
    assert call_with(path, responses[0].json()["access_token"]).status_code == 200


@pytest.mark.spec("RFC 7009", "2.1")
def test_refreshing_while_revoking_leaves_nothing_alive(connect, make_application, partner):
    application = make_application("portal")
    for _ in range(10):
        tokens = connect(application)
        revoke = lambda token=tokens["refresh_token"]: Client().post(  # noqa: E731
            "/oauth/revoke", {"token": token, **application.credentials}
        )
        refreshes = [refresh_request(application, tokens["refresh_token"])] * 4

        responses = at_once(revoke, *refreshes)

        assert responses[0].status_code == 200
        assert {response.status_code for response in responses[1:]} <= {200, 400}
        assert not AccessToken.objects.exists()
        assert not RefreshToken.objects.filter(revoked__isnull=True).exists()


@pytest.mark.spec("CONTRACT", "6")
def test_redeeming_and_refreshing_while_the_user_removes_the_connection_leaves_nothing_alive(
    browser, connect, make_application, member
):
    application = make_application("portal")
    for _ in range(10):
        refresh_token = connect(application)["refresh_token"]
        code = browser.authorize(application)
        row = Connection.objects.active().get(user=member)

        def remove(row: Connection = row) -> HttpResponse:
            services.end_connection(connection=row, reason=EndReason.USER)
            return HttpResponse()

        responses = at_once(remove, exchange_request(application, code), refresh_request(application, refresh_token))

        assert {response.status_code for response in responses} <= {200, 400}
        assert not AccessToken.objects.exists()
        assert not RefreshToken.objects.filter(revoked__isnull=True).exists()
        assert exchange_request(application, code)().status_code == 400
        assert refresh_request(application, refresh_token)().status_code == 400


@pytest.mark.spec("CONTRACT", "6")
def test_code_that_slipped_in_while_its_connection_ended_buys_nothing(browser, make_application, member):
    """The exchange waits for the connection's row, and finds it ended when it gets it."""
    application = make_application("customer")
    code = browser.authorize(application)
    statuses = []

    def redeem() -> None:
        statuses.append(exchange_request(application, code)().status_code)
        connection.close()

    with transaction.atomic():
        Connection.objects.filter(user=member).update(ended_at=timezone.now())
        thread = threading.Thread(target=redeem)
        thread.start()
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [400]
    assert not AccessToken.objects.exists()
    assert not RefreshToken.objects.exists()


def wait_until_somebody_waits_for_a_lock() -> None:
    """Return as soon as another connection waits for a row that this transaction holds."""
    deadline = time.monotonic() + 60
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("Nobody came to wait.")


@pytest.mark.spec("CONTRACT", "3")
def test_allowing_twice_at_the_same_moment_makes_one_connection(browser, application, member):
    page = browser.ask(application)
    address = page.wsgi_request.get_full_path()
    cookies = browser.client.cookies

    def allow() -> HttpResponse:
        client = Client()
        client.cookies = cookies
        return client.post(address, {"decision": "allow"})

    responses = at_once(*[allow] * 8)

    assert {response.status_code for response in responses} == {302}
    assert Connection.objects.filter(user=member).count() == 1


@pytest.mark.spec("CONTRACT", "5")
def test_processes_that_start_at_once_agree_on_the_signing_keys():
    SigningKey.objects.all().delete()

    def start() -> HttpResponse:
        keys.ensure_signing_keys()
        return HttpResponse()

    at_once(*[start] * 6)

    assert sorted(SigningKey.objects.values_list("algorithm", flat=True)) == ["HS256", "RS256"]
