"""What each request of a partner or a user counts: on the wire, accepting and refusing."""

import base64
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.activity import recorder
from apps.activity.models import ActivityCount, Kind, RedirectMismatch
from apps.developers.models import Application, Status
from apps.tokens.errors import DESCRIPTIONS
from tests.conftest import CALLBACK, TOKEN_DOORS, Browser


@pytest.fixture
def counted():
    """Return what has been counted since the last call, by kind and code."""

    def take() -> dict[str, int]:
        recorder.flush()
        counts = {f"{row.kind} {row.code}".strip(): row.count for row in ActivityCount.objects.all()}
        ActivityCount.objects.all().delete()
        return counts

    return take


# --- the token endpoint ----------------------------------------------------------------------------------


def test_tokens_are_counted_by_grant_type(browser, any_application, exchange, refresh, counted):
    code = browser.authorize(any_application)
    tokens = exchange(any_application, code).json()
    assert counted() == {"authorisation": 1, "token authorization_code": 1}

    if "refresh_token" in tokens:
        assert refresh(any_application, tokens["refresh_token"]).status_code == 200
        assert counted() == {"token refresh_token": 1}


def test_service_tokens_are_counted(make_application, partner, counted):
    service = make_application("service")

    assert partner.post("/oauth/token", {"grant_type": "client_credentials", **service.credentials}).status_code == 200

    assert counted() == {"token client_credentials": 1}


def test_a_code_that_comes_twice_is_an_error(browser, application, exchange, counted):
    code = browser.authorize(application)
    exchange(application, code)
    counted()

    assert exchange(application, code).status_code == 400

    assert counted() == {"error invalid_grant": 1}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code": "wrong"}, "invalid_grant"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "client_credentials"}, "unauthorized_client"),
        ({"grant_type": "refresh_token", "refresh_token": "wrong"}, "unauthorized_client"),
    ],
)
def test_errors_of_a_known_client_are_counted_by_code(application, exchange, counted, change, error):
    response = exchange(application, **{"code": "any", **change})

    assert response.json()["error"] == error
    assert counted() == {f"error {error}": 1}


def test_errors_of_a_suspended_application_are_counted(application, exchange, counted):
    Application.objects.filter(pk=application.row.pk).update(status=Status.SUSPENDED)

    assert exchange(application, "any").json()["error"] == "unauthorized_client"

    assert counted() == {"error unauthorized_client": 1}


def test_a_client_that_nobody_knows_is_not_counted(db, partner, counted):
    body = {"grant_type": "authorization_code", "code": "x", "client_id": "unknown", "client_secret": "x"}

    assert partner.post("/oauth/token", body).status_code == 401
    assert partner.post("/oauth/token", {"grant_type": "authorization_code", "code": "x"}).status_code == 400
    assert partner.post("/oauth/token", "[]", content_type="application/json").status_code == 400

    assert counted() == {}


def test_counts_are_of_the_application_that_asked(make_application, exchange):
    first, second = make_application("portal"), make_application("customer")
    exchange(first, "wrong")
    recorder.flush()

    assert ActivityCount.objects.get().application == first.row
    assert not ActivityCount.objects.filter(application=second.row).exists()


# --- the client's secret ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
@pytest.mark.parametrize("is_basic", [True, False])
def test_a_right_secret_is_noted_as_used(make_application, partner, path, is_basic):
    application = make_application("portal")
    body = {"grant_type": "authorization_code", "code": "x", "token": "x"}
    if is_basic:
        partner.post(path, body, headers={"Authorization": basic(application.client_id, application.secret)})
    else:
        partner.post(path, {**body, **application.credentials})
    recorder.flush()

    application.row.refresh_from_db()
    assert timezone.now() - application.row.client_secret_used_at < timedelta(seconds=10)
    assert application.row.previous_client_secret_used_at is None


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
def test_a_wrong_secret_is_not(make_application, partner, path):
    application = make_application("portal")
    wrong = {"client_id": application.client_id, "client_secret": "wrong"}
    partner.post(path, {"grant_type": "authorization_code", "code": "x", "token": "x", **wrong})
    partner.post(path, {"token": "x"}, headers={"Authorization": basic(application.client_id, "wrong")})
    recorder.flush()

    application.row.refresh_from_db()
    assert application.row.client_secret_used_at is None


def test_a_public_client_has_no_secret_to_use(make_application, partner):
    application = make_application("portal", client_type="public")
    body = {"grant_type": "authorization_code", "code": "x", "code_verifier": "x" * 43}
    partner.post(TOKEN_DOORS["portal"], {**body, **application.credentials})
    recorder.flush()

    application.row.refresh_from_db()
    assert application.row.client_secret_used_at is None


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


# --- the authorization endpoint --------------------------------------------------------------------------


def test_looking_at_the_consent_page_is_no_authorisation(browser, application, counted):
    assert browser.ask(application).status_code == 200

    assert counted() == {}


def test_an_authorisation_without_a_page_is_one_too(browser, application, counted):
    browser.authorize(application)
    counted()

    assert browser.ask(application).status_code == 302

    assert counted() == {"authorisation": 1}


def test_a_denial_is_a_denial_and_no_error(browser, any_application, counted):
    assert browser.answer(browser.ask(any_application), "deny").status_code == 302

    assert counted() == {"denial": 1}


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"scope": "unknown"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
        ({"prompt": "none login"}, "invalid_request"),
    ],
)
def test_errors_sent_back_are_counted_by_code(browser, application, counted, parameters, error):
    response = browser.ask(application, **parameters)

    assert f"error={error}" in response["Location"]
    assert counted() == {f"error {error}": 1}


def test_login_required_is_counted(application, counted):
    assert "error=login_required" in Browser().ask(application, prompt="none")["Location"]

    assert counted() == {"error login_required": 1}


def test_an_application_that_is_not_approved_is_counted(browser, make_application, counted):
    application = make_application("portal", status=Status.PENDING)

    assert browser.ask(application).status_code == 400

    assert counted() == {"error unauthorized_client": 1}


@pytest.mark.parametrize(
    ("presented", "differs"), [(CALLBACK + "/", "trailing_slash"), ("callback", "scheme"), ("//evil.example", "scheme")]
)
def test_a_redirect_uri_that_does_not_match_is_counted_and_kept(browser, application, counted, presented, differs):
    assert browser.ask(application, redirect_uri=presented).status_code == 400

    assert counted() == {"error redirect_uri_mismatch": 1}
    row = RedirectMismatch.objects.get()
    assert (row.application, row.presented, row.closest) == (application.row, presented, CALLBACK)
    assert row.differs == differs


def test_a_redirect_uri_that_matches_is_not_kept(browser, application):
    browser.authorize(application, redirect_uri=CALLBACK)
    recorder.flush()

    assert not RedirectMismatch.objects.exists()


def test_what_a_stranger_presents_is_not_shown_on_the_page(browser, application):
    page = browser.ask(application, redirect_uri="https://evil.example/<script>").content.decode()
    recorder.flush()

    assert CALLBACK not in page
    assert RedirectMismatch.objects.get().presented == "https://evil.example/<script>"


@pytest.mark.parametrize("query", ["", "client_id=unknown", "client_id=%00", "client_id=a&client_id=b"])
def test_a_request_of_no_known_application_is_not_counted(db, organisation, counted, query):
    assert Client().get(f"/oauth/authorize?{query}&redirect_uri=https://evil.example/").status_code == 400

    assert counted() == {}
    assert not RedirectMismatch.objects.exists()


def test_an_application_of_another_organisation_is_not_counted(make_application, other_organisation, counted):
    application = make_application("portal", organisation=other_organisation)

    assert Browser().ask(application, redirect_uri="https://evil.example/").status_code == 400

    assert counted() == {}
    assert not RedirectMismatch.objects.exists()


def test_every_error_we_describe_has_its_counter():
    assert set(DESCRIPTIONS) <= recorder.CODES[Kind.ERROR]


def test_the_database_is_not_asked_more_than_without_counting(application, partner, django_assert_num_queries):
    body = {**application.credentials, "grant_type": "authorization_code", "code": uuid.uuid4().hex}

    with django_assert_num_queries(2):
        partner.post("/api/oauth/token", body)
