"""The host chooses the organisation, and nothing of one is to be had at another (CONTRACT section 11)."""

import pytest
from django.test import Client

from apps.connections.models import Connection
from tests.conftest import CALLBACK, TOKEN_DOORS, Browser, query_of
from tests.protocol.test_consent import words_of

pytestmark = pytest.mark.spec("CONTRACT", "11")

CAMPUS = "campus.localhost"


@pytest.fixture(autouse=True)
def _any_host(settings):
    settings.ALLOWED_HOSTS = ["*"]


@pytest.fixture
def campus_application(make_application, other_organisation):
    """Make an application of the other organisation."""
    return lambda profile="customer", **fields: make_application(profile, organisation=other_organisation, **fields)


@pytest.fixture
def campus_tokens(member):
    """Connect an application at the campus, and return its tokens."""

    def call(application):
        code = Browser(member, host=CAMPUS).authorize(application)
        body = {"grant_type": "authorization_code", "code": code, **application.credentials}
        return Client(SERVER_NAME=CAMPUS).post(TOKEN_DOORS[application.row.profile], body).json()

    return call


@pytest.mark.parametrize(
    ("host", "issuer"),
    [
        ("receipts.example", "https://receipts.example"),
        ("campus.localhost", "https://campus.localhost"),
        ("campus.localhost:8000", "https://campus.localhost"),
        ("CAMPUS.localhost", "https://campus.localhost"),
        ("campus.localhost.", "https://campus.localhost"),
        ("localhost", "https://receipts.example"),
        ("127.0.0.1:8000", "https://receipts.example"),
        ("[::1]:8000", "https://receipts.example"),
        ("unknown.example", "https://receipts.example"),
        ("x.campus.localhost", "https://receipts.example"),
        ("campus.localhost.evil.example", "https://receipts.example"),
    ],
)
def test_host_chooses_the_organisation_and_an_unknown_one_means_the_default(other_organisation, host, issuer):
    document = Client().get("/.well-known/oauth-authorization-server", headers={"Host": host})

    assert document.json()["issuer"] == issuer


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "campus.localhost@evil.example", "", "a\x00b"])
def test_malformed_host_is_a_400(other_organisation, host):
    assert Client().get("/.well-known/oauth-authorization-server", headers={"Host": host}).status_code in {200, 400}
    assert Client(raise_request_exception=False).get("/auth", headers={"Host": host}).status_code == 400


def test_pages_show_the_organisation_s_own_name(other_organisation, application, campus_application, member):
    here = words_of(Browser(member).ask(application))
    there = words_of(Browser(member, host=CAMPUS).ask(campus_application()))

    assert ("Kuittila" in here, "Aldermoor" in here) == (True, False)
    assert ("Kuittila" in there, "Aldermoor" in there) == (False, True)


@pytest.mark.parametrize("user", [True, False])
def test_authorization_request_of_another_organisation_s_application_is_an_unknown_client(
    campus_application, application, member, user
):
    for host, foreign in (("testserver", campus_application()), (CAMPUS, application)):
        response = Browser(member if user else None, host=host).ask(foreign, redirect_uri=CALLBACK)

        assert response.status_code == 400
        assert "Location" not in response
        assert foreign.row.name not in words_of(response)


@pytest.mark.parametrize(
    "door",
    [
        "/api/oauth/token",
        "/oauth/token",
        "/open_auth/token/",
        "/oauth/revoke",
        "/open_auth/revoke_token/",
        "/oauth/introspect",
    ],
)
def test_every_client_endpoint_answers_another_organisation_s_application_as_an_unknown_one(
    campus_application, partner, door
):
    application = campus_application()
    fields = {"grant_type": "authorization_code", "code": "x", "token": "x"}

    foreign = partner.post(door, {**fields, **application.credentials})
    unknown = partner.post(door, {**fields, "client_id": "unknown", "client_secret": "x"})

    assert (foreign.status_code, foreign.json()["error"]) == (401, "invalid_client")
    assert foreign.content == unknown.content


def test_code_is_redeemed_at_its_organisation_s_host_only(campus_application, member, exchange):
    application = campus_application()
    code = Browser(member, host=CAMPUS).authorize(application)

    assert exchange(application, code).status_code == 401
    body = {"grant_type": "authorization_code", "code": code, **application.credentials}
    assert Client(SERVER_NAME=CAMPUS).post("/oauth/token", body).status_code == 200


@pytest.mark.parametrize(("profile", "path"), [("customer", "/oauth/user"), ("portal", "/open_auth/get_user_data/")])
def test_resource_endpoint_takes_tokens_of_its_organisation_only(
    campus_application, campus_tokens, call_with, profile, path
):
    token = campus_tokens(campus_application(profile))["access_token"]
    headers = {"Authorization": f"Bearer {token}"}

    assert call_with(path, token).status_code == 401
    assert Client(SERVER_NAME=CAMPUS).get(path, headers=headers).status_code == 200


def test_token_is_not_revoked_at_another_organisation_s_host(campus_application, campus_tokens, call_with):
    token = campus_tokens(campus_application())["access_token"]

    assert call_with("/api/oauth/revoke", token, method="delete").status_code == 404
    assert Connection.objects.get().is_active


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_introspection_scope_ends_at_the_organisation(
    campus_application, campus_tokens, make_application, introspect, kind
):
    token = campus_tokens(campus_application())[kind]

    assert introspect(make_application("service"), token) == {"active": False}


def test_membership_page_of_another_organisation_s_connection_is_a_404(campus_application, campus_tokens, member):
    campus_tokens(campus_application())
    address = f"/membership?receipthero_id={Connection.objects.get().pk}&redirect_uri={CALLBACK}"

    assert Browser(member).client.get(address).status_code == 404
    assert Browser(member, host=CAMPUS).client.get(address).status_code == 200


def test_connections_page_lists_this_organisation_s_only(
    campus_application, campus_tokens, connect, application, member
):
    campus_tokens(campus_application(name="Campus App"))
    connect(application)

    here = words_of(Browser(member).client.get("/account/connections/"))

    assert application.row.name in here
    assert "Campus App" not in here


def test_denial_carries_its_organisation_s_issuer(campus_application, member):
    browser = Browser(member, host=CAMPUS)

    assert query_of(browser.answer(browser.ask(campus_application()), "deny"))["iss"] == "https://campus.localhost"
