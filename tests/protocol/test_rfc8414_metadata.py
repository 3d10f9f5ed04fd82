"""The authorization server's metadata (CONTRACT section 1, "Standard addresses")."""

import pytest

from apps.developers.scopes import ALL
from tests.conftest import query_of

pytestmark = pytest.mark.spec("RFC 8414", "2")

ADDRESS = "/.well-known/oauth-authorization-server"


@pytest.fixture
def metadata(partner, organisation):
    return partner.get(ADDRESS).json()


@pytest.mark.spec("RFC 8414", "3.2")
def test_metadata_is_public_json(partner, organisation):
    response = partner.get(ADDRESS)

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Set-Cookie" not in response


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_metadata_is_read_only(partner, organisation, method):
    assert getattr(partner, method)(ADDRESS).status_code == 405


def test_metadata_says_what_is_true(metadata):
    assert metadata == {
        "issuer": "https://receipts.example",
        "authorization_endpoint": "http://testserver/oauth/authorize",
        "token_endpoint": "http://testserver/oauth/token",
        "revocation_endpoint": "http://testserver/oauth/revoke",
        "introspection_endpoint": "http://testserver/oauth/introspect",
        "jwks_uri": "http://testserver/.well-known/jwks.json",
        "scopes_supported": list(ALL),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "authorization_response_iss_parameter_supported": True,
    }


def test_every_advertised_address_answers(metadata, partner, browser, make_application):
    application = make_application("customer")
    page = browser.client.get(metadata["authorization_endpoint"], {"client_id": application.client_id})
    code = query_of(browser.answer(page))["code"]
    body = {"grant_type": "authorization_code", "code": code, **application.credentials}
    token = partner.post(metadata["token_endpoint"], body).json()["access_token"]

    asked = partner.post(metadata["introspection_endpoint"], {"token": token, **application.credentials})
    assert asked.json()["active"] is True
    assert partner.post(metadata["revocation_endpoint"], {"token": token, **application.credentials}).status_code == 200
    assert partner.get(metadata["jwks_uri"]).json()["keys"]


def test_response_type_that_is_not_advertised_is_refused(metadata, browser, application):
    assert "token" not in metadata["response_types_supported"]
    assert query_of(browser.ask(application, response_type="token"))["error"] == "unsupported_response_type"


@pytest.mark.spec("RFC 8414", "3.3")
def test_each_organisation_has_an_issuer_of_its_own(partner, other_organisation, settings):
    settings.ALLOWED_HOSTS = ["*"]

    document = partner.get(ADDRESS, headers={"Host": other_organisation.domain}).json()

    assert document["issuer"] == "https://campus.localhost"
    assert document["token_endpoint"] == "http://campus.localhost/oauth/token"
