"""What a partner's server sees that calls too often, and who cannot use up what it may do."""

import base64

import pytest
from django.test import Client

from apps.activity import recorder
from apps.activity.models import ActivityCount
from apps.audit.models import AuditEvent
from tests.conftest import TOKEN_DOORS

ERROR = "temporarily_unavailable"


def assert_refused(response):
    """RFC 6585 4, in the shape of RFC 6749 5.2."""
    assert response.status_code == 429, response.content
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    assert "WWW-Authenticate" not in response
    seconds = int(response["Retry-After"])
    assert 0 < seconds <= 3600
    assert response.json() == {
        "error": ERROR,
        "error_description": f"Too many requests. Try again in {seconds} seconds.",
    }


@pytest.fixture
def service(make_application):
    return make_application("service")


def ask_token(application, address="192.0.2.1", **fields):
    body = {"grant_type": "client_credentials", **application.credentials, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    return Client(REMOTE_ADDR=address).post("/oauth/token", body)


# --- tokens ------------------------------------------------------------------------------------------------


@pytest.mark.spec("RFC 6585", "4")
def test_client_that_asks_for_too_many_tokens_is_told_when_to_come_back(service, limited, store):
    limited(token="3/h")

    answers = [ask_token(service, f"192.0.2.{number}") for number in range(5)]

    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert_refused(answers[-1])


@pytest.mark.parametrize("profile", ["connection", "customer", "portal"])
def test_refused_exchange_spends_nothing(browser, make_application, exchange, limited, settings, profile):
    application = make_application(profile)
    code = browser.authorize(application)
    limited(token="1/h")
    exchange(application, "wrong")

    assert_refused(exchange(application, code))

    settings.RATE_LIMITS = False
    assert exchange(application, code).status_code == 200


def test_refused_refresh_spends_nothing(connect, make_application, refresh, limited, settings):
    application = make_application("customer")
    token = connect(application)["refresh_token"]
    limited(token="1/h")
    refresh(application, "wrong")

    assert_refused(refresh(application, token))

    settings.RATE_LIMITS = False
    assert refresh(application, token).status_code == 200


def test_nobody_can_use_up_a_clients_requests_without_its_secret(service, limited, store):
    limited(token="3/h", client_failures="1000/h", client_failures_address="1000/h")
    for number in range(10):
        assert ask_token(service, f"198.51.100.{number}", client_secret="wrong").status_code == 401

    assert [ask_token(service).status_code for _ in range(3)] == [200] * 3


def test_wrong_secrets_from_one_address_are_limited_and_the_right_one_from_there_is_not(service, limited, store):
    limited(token="1000/h", client_failures="3/h", client_failures_address="1000/h")

    failures = [ask_token(service, client_secret="wrong") for _ in range(5)]

    assert [answer.status_code for answer in failures] == [401] * 3 + [429] * 2
    assert_refused(failures[-1])
    assert [ask_token(service).status_code for _ in range(5)] == [200] * 5
    assert ask_token(service, "192.0.2.2", client_secret="wrong").status_code == 401, "from elsewhere"


def test_client_that_claims_to_be_another_each_time_is_limited_by_its_address(service, limited):
    limited(client_failures="1000/h", client_failures_address="3/h")

    answers = [ask_token(service, client_id=f"guess-{number}") for number in range(5)]

    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2


def test_wrong_secrets_in_a_basic_header_are_counted_by_the_same_client(service, limited):
    limited(client_failures="2/h", client_failures_address="1000/h")
    ask_token(service, client_secret="wrong")
    basic = base64.b64encode(f"{service.client_id}:wrong".encode()).decode()

    def ask():
        return Client(REMOTE_ADDR="192.0.2.1").post(
            "/oauth/token", {"grant_type": "client_credentials"}, headers={"authorization": f"Basic {basic}"}
        )

    assert [ask().status_code for _ in range(3)] == [401, 429, 429]


@pytest.mark.parametrize("credentials", ["%%%", "bm9jb2xvbg==", "/////w==", ""])
def test_basic_header_that_cannot_be_read_is_a_failure_like_others(organisation, limited, credentials):
    limited(client_failures="100/h", client_failures_address="2/h")

    def ask():
        return Client().post(
            "/oauth/token", {"grant_type": "client_credentials"}, headers={"authorization": f"Basic {credentials}"}
        )

    statuses = [ask().status_code for _ in range(4)]
    assert statuses in ([401, 401, 429, 429], [400] * 4)


def test_partner_that_serves_all_its_users_from_one_address_is_counted_as_a_client_only(
    service, make_application, limited
):
    """Other partners behind the same address, and their mistakes, are nothing to it."""
    limited(token="6/h", client_failures="2/h", client_failures_address="2/h")
    clumsy = make_application("portal")
    for _ in range(5):
        ask_token(clumsy, client_secret="wrong")

    assert [ask_token(service).status_code for _ in range(6)] == [200] * 6


def test_public_client_is_counted_by_address_so_that_nobody_uses_it_up_for_others(make_application, limited):
    """Anybody can name a public client: what it may do is not one bucket for all its users."""
    application = make_application("portal", client_type="public", client_secret="")

    def redeem(address):
        body = {"grant_type": "authorization_code", "code": "x", "client_id": application.client_id}
        return Client(REMOTE_ADDR=address).post(TOKEN_DOORS["portal"], body)

    limited(token="3/h")
    assert [redeem("198.51.100.1").status_code for _ in range(5)] == [400] * 3 + [429] * 2
    assert redeem("192.0.2.1").status_code == 400


def test_parallel_requests_of_a_client_are_no_more_than_its_limit(at_once, service, limited, store):
    limited(token="5/h")

    statuses = at_once([lambda: ask_token(service).status_code for _ in range(12)])

    assert sorted(statuses) == [200] * 5 + [429] * 7


def test_team_sees_refusals_among_its_errors(service, limited):
    limited(token="1/h")
    for _ in range(3):
        ask_token(service)
    recorder.flush()

    rows = ActivityCount.objects.filter(application=service.row, kind="error")
    assert {(row.code, row.count) for row in rows} == {(ERROR, 2)}


def test_refused_client_is_one_event_of_its_application(service, limited):
    limited(token="1/h")
    for _ in range(4):
        ask_token(service)

    [event] = AuditEvent.objects.filter(tag="visitor:limit:reached")
    assert (event.application_id, event.details) == (service.row.pk, {"limit": "token"})


def test_requests_that_nobody_has_authenticated_take_no_count(organisation, limited):
    """They are refused before anything is looked up."""
    limited(client_failures_address="1/h", token="1/h")

    answers = [Client().post("/oauth/token", {"grant_type": "authorization_code"}).status_code for _ in range(4)]

    assert answers == [400] * 4


# --- the other endpoints -----------------------------------------------------------------------------------


def test_introspection_is_limited_by_client(connect, make_application, partner, limited):
    application = make_application("portal")
    token = connect(application)["access_token"]
    limited(introspection="2/h", token="1/h")

    answers = [partner.post("/oauth/introspect", {"token": token, **application.credentials}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert_refused(answers[-1])


@pytest.mark.parametrize("door", ["/oauth/revoke", "/open_auth/revoke_token/"])
def test_revocation_is_limited_by_client_and_refused_revokes_nothing(
    connect, make_application, partner, introspect, limited, settings, door
):
    application = make_application("portal")
    token = connect(application)["access_token"]
    limited(revocation="1/h")
    assert partner.post(door, {"token": "unknown", **application.credentials}).status_code == 200

    assert_refused(partner.post(door, {"token": token, **application.credentials}))

    settings.RATE_LIMITS = False
    assert introspect(application, token)["active"]


def test_revocation_by_access_token_is_limited_by_client(connect, application, call_with, limited, settings):
    token = connect(application)["access_token"]
    limited(revocation="1/h")
    from apps.limits.counting import bucket, take

    take(bucket("revocation", application.row.pk))

    assert_refused(call_with("/api/oauth/revoke", token, method="delete"))

    settings.RATE_LIMITS = False
    assert call_with("/api/oauth/revoke", token, method="delete").status_code == 200


def test_wrong_tokens_at_the_revocation_by_access_token_are_limited_by_address(organisation, call_with, limited):
    limited(client_failures_address="2/h")

    answers = [call_with("/api/oauth/revoke", f"guess-{number}", method="delete") for number in range(4)]

    assert [answer.status_code for answer in answers] == [404, 404, 429, 429]
    assert_refused(answers[-1])


@pytest.mark.parametrize("way", ["basic", "bearer"])
def test_notifications_are_limited_by_client(service, partner, limited, way):
    token = ask_token(service).json()["access_token"]
    basic = base64.b64encode(f"{service.client_id}:{service.secret}".encode()).decode()
    header = f"Basic {basic}" if way == "basic" else f"Bearer {token}"
    limited(notifications="2/h")

    def notify():
        body = {"notifications": [{"notification_type": "receipt_notification"}]}
        return partner.post(
            "/api/notifications", body, content_type="application/json", headers={"authorization": header}
        )

    answers = [notify() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert_refused(answers[-1])


def test_wrong_tokens_at_the_notifications_are_limited_by_address(organisation, partner, limited):
    limited(client_failures_address="2/h")

    answers = [
        partner.post("/api/notifications", {}, content_type="application/json", headers={"authorization": "Bearer x"})
        for _ in range(4)
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]


RESOURCES = [("customer", "/oauth/user"), ("portal", "/open_auth/get_user_data/")]


@pytest.mark.parametrize(("profile", "path"), RESOURCES)
@pytest.mark.parametrize("rule", ["resource", "resource_user"])
def test_resource_requests_are_limited_by_client_and_by_user(
    connect, make_application, call_with, limited, profile, path, rule
):
    token = connect(make_application(profile))["access_token"]
    limited(**{rule: "2/h"})

    answers = [call_with(path, token) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert_refused(answers[-1])


@pytest.mark.parametrize(("profile", "path"), RESOURCES)
def test_wrong_access_tokens_are_limited_by_address_and_right_ones_from_there_are_not(
    connect, make_application, call_with, limited, profile, path
):
    token = connect(make_application(profile))["access_token"]
    limited(client_failures_address="2/h", resource="100/h")

    answers = [call_with(path, f"guess-{number}") for number in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    assert_refused(answers[-1])
    assert call_with(path, token).status_code == 200


def test_documents_that_anybody_may_read_are_not_limited(organisation, partner, limited):
    limited(token="1/h", resource="1/h", client_failures_address="1/h")

    for path in ("/.well-known/oauth-authorization-server", "/.well-known/jwks.json"):
        assert [partner.get(path).status_code for _ in range(4)] == [200] * 4
