"""Asking about a token: who may, and what they learn (CONTRACT section 6)."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.connections.models import Connection
from apps.developers.models import Status
from tests.conftest import SCOPES
from tests.protocol.test_rfc6749_token_request import as_json, assert_error, basic, form, multipart

pytestmark = pytest.mark.spec("RFC 7662", "2.2")

INACTIVE = {"active": False}


@pytest.fixture
def service(make_application):
    """A resource server that may look into every token of its organisation."""
    return make_application("service", scopes=["introspect"])


def test_client_learns_about_its_access_token(connect, any_application, introspect, member):
    before = int(time.time())
    token = connect(any_application)["access_token"]

    answer = introspect(any_application, token)

    expected = {
        "active": True,
        "token_type": "Bearer",
        "client_id": any_application.client_id,
        "scope": " ".join(any_application.row.scopes),
        "sub": str(member.pk),
        "username": member.username,
        "iss": "https://receipts.example",
        "receipthero_id": str(Connection.objects.get().pk),
    }
    assert expected.items() <= answer.items()
    assert before <= answer["iat"] <= time.time()


@pytest.mark.parametrize(("profile", "lifetime"), [("connection", None), ("customer", 63_158_400), ("portal", 36_000)])
@pytest.mark.spec("CONTRACT", "1")
def test_exp_is_the_profile_s_lifetime_after_iat(connect, make_application, introspect, profile, lifetime):
    application = make_application(profile)

    answer = introspect(application, connect(application)["access_token"])

    if lifetime is None:
        assert "exp" not in answer
    else:
        assert answer["exp"] - answer["iat"] == lifetime


def test_client_learns_about_its_refresh_token(connect, make_application, introspect, member):
    application = make_application("portal")
    answer = introspect(application, connect(application)["refresh_token"])

    assert (answer["active"], answer["client_id"], answer["sub"]) == (True, application.client_id, str(member.pk))
    assert answer["exp"] - answer["iat"] == 31_536_000


def test_service_learns_about_its_own_token_which_has_no_user(service, partner, introspect):
    token = partner.post("/oauth/token", {"grant_type": "client_credentials", **service.credentials}).json()

    answer = introspect(service, token["access_token"])

    assert (answer["active"], answer["scope"]) == (True, "introspect")
    assert "sub" not in answer


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_service_with_the_scope_learns_about_every_token_of_its_organisation(
    connect, make_application, introspect, service, kind
):
    application = make_application("customer")

    answer = introspect(service, connect(application)[kind])

    assert (answer["active"], answer["client_id"]) == (True, application.client_id)


@pytest.fixture
def long_unused():
    """Let the last use be long ago; returns when."""

    def call(**ago):
        at = timezone.now() - timedelta(**ago)
        Connection.objects.update(last_used_at=at)
        return at

    return call


@pytest.mark.parametrize("profile", ["connection", "customer", "portal"])
@pytest.mark.spec("CONTRACT", "7")
def test_service_that_is_shown_an_access_token_notes_its_use(
    connect, make_application, introspect, service, long_unused, profile
):
    """The receipts programme's tokens never expire and open nothing here: this is all that is seen of their use."""
    token = connect(make_application(profile))["access_token"]
    long_unused(days=400)
    before = timezone.now()

    introspect(service, token)

    assert before <= Connection.objects.get().last_used_at <= timezone.now()


@pytest.mark.parametrize(("seconds", "is_noted"), [(50, False), (61, True)])
@pytest.mark.spec("CONTRACT", "7")
def test_use_is_noted_once_a_minute_at_most(connect, application, introspect, service, long_unused, seconds, is_noted):
    token = connect(application)["access_token"]
    at = long_unused(seconds=seconds)

    introspect(service, token)

    noted = Connection.objects.get().last_used_at
    assert (noted != at) == is_noted
    introspect(service, token)
    assert Connection.objects.get().last_used_at == noted


@pytest.mark.parametrize("asked", ["own", "refresh token", "by a stranger", "unusable"])
@pytest.mark.spec("CONTRACT", "7")
def test_question_that_is_no_use_is_not_noted(connect, make_application, introspect, service, long_unused, asked):
    application = make_application("customer")
    tokens = connect(application)
    at = long_unused(days=400)

    if asked == "own":
        assert introspect(application, tokens["access_token"])["active"] is True
    elif asked == "refresh token":
        assert introspect(service, tokens["refresh_token"])["active"] is True
    elif asked == "by a stranger":
        assert introspect(make_application("portal"), tokens["access_token"]) == INACTIVE
    else:
        suspend_application(application)
        assert introspect(service, tokens["access_token"]) == INACTIVE

    assert Connection.objects.get().last_used_at == at


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.parametrize("profile", ["connection", "customer", "portal", "service"])
@pytest.mark.spec("RFC 7662", "4")
def test_anybody_else_learns_nothing(connect, make_application, introspect, kind, profile):
    scopes = ["notification:send"] if profile == "service" else SCOPES[profile]
    caller = make_application(profile, name="Curious", scopes=scopes)

    assert introspect(caller, connect(make_application("customer"))[kind]) == INACTIVE


@pytest.mark.parametrize("token", ["unknown", "csa_x", "csr_x", "a.b.c", "\N{SNOWMAN}", "x" * 9000, " "])
def test_unknown_token_is_inactive(application, service, introspect, token):
    assert introspect(application, token) == introspect(service, token) == INACTIVE


def test_code_is_no_token(browser, application, introspect):
    assert introspect(application, browser.authorize(application)) == INACTIVE


def expire(**rows):
    AccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    RefreshToken.objects.update(created=timezone.now() - timedelta(days=800))


def suspend_user(member, **rows):
    member.is_active = False
    member.save()


def suspend_application(application, **rows):
    application.row.status = Status.SUSPENDED
    application.row.save()


def end_connection(**rows):
    Connection.objects.update(ended_at=timezone.now())


@pytest.mark.parametrize("end", [expire, suspend_user, suspend_application, end_connection])
@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_unusable_token_is_inactive_for_whatever_reason(
    connect, make_application, introspect, service, member, end, profile
):
    application = make_application(profile)
    tokens = connect(application)
    assert introspect(service, tokens["access_token"])["active"] is True

    end(application=application, member=member)

    assert introspect(service, tokens["access_token"]) == INACTIVE
    if end is not end_connection:  # which ends the families as well
        assert introspect(service, tokens["refresh_token"]) == INACTIVE


@pytest.mark.parametrize("body", [form, multipart, as_json])
def test_each_body_type_and_basic(connect, application, partner, body):
    token = connect(application)["access_token"]
    headers = basic(application.client_id, application.secret)

    assert partner.post("/oauth/introspect", **body({"token": token}), headers=headers).json()["active"] is True


@pytest.mark.parametrize("change", [{"client_secret": "wrong"}, {"client_secret": ""}, {"client_id": "unknown"}])
@pytest.mark.spec("RFC 7662", "2.3")
def test_caller_without_authentication_is_401(connect, application, partner, change):
    body = {"token": connect(application)["access_token"], **application.credentials, **change}

    assert_error(partner.post("/oauth/introspect", body), "invalid_client", status=401)


@pytest.mark.spec("RFC 7662", "2.1")
def test_public_client_cannot_ask(make_application, partner):
    body = {"token": "x", **make_application(client_type="public").credentials}

    assert_error(partner.post("/oauth/introspect", body), "invalid_client", status=401)


@pytest.mark.spec("RFC 7662", "2.1")
def test_bearer_token_is_no_authentication_of_the_caller(connect, application, partner):
    token = connect(application)["access_token"]

    response = partner.post("/oauth/introspect", {"token": token}, headers={"Authorization": f"Bearer {token}"})

    assert_error(response, "invalid_request", names="client_id")


@pytest.mark.parametrize("missing", ["token", "client_id"])
def test_missing_parameter_is_named(application, partner, missing):
    body = {"token": "x", **application.credentials}
    del body[missing]

    assert_error(partner.post("/oauth/introspect", body), "invalid_request", names=missing)


def test_suspended_caller_is_refused(make_application, partner):
    body = {"token": "x", **make_application(status=Status.SUSPENDED).credentials}

    assert_error(partner.post("/oauth/introspect", body), "unauthorized_client")


def test_answers_are_not_cached(connect, application, partner):
    response = partner.post("/oauth/introspect", {"token": "x", **application.credentials})

    assert (response["Cache-Control"], response["Content-Type"]) == ("no-store", "application/json")
