"""Partners' unmodified client libraries against the running server, over HTTP."""

import base64
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urljoin, urlsplit

import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from requests_oauthlib import OAuth2Session

from apps.accounts.models import User
from tests.conftest import CALLBACK, RegisteredApplication

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the libraries talk to a server on this machine without TLS."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def person(live_server, member: User, password: str) -> Callable[[str], str]:
    """A person who opens a partner's link, logs in if asked, presses Allow, and lands at the partner's callback."""
    session = requests.Session()

    def post(page: requests.Response, **fields: str) -> requests.Response:
        token = session.cookies.get("countersign_csrf")
        return session.post(page.url, {"csrfmiddlewaretoken": token, **fields}, allow_redirects=False)

    def follow(page: requests.Response) -> requests.Response:
        """Follow redirects as long as they stay on our server."""
        while page.is_redirect and not page.headers["Location"].startswith(CALLBACK):
            page = session.get(urljoin(page.url, page.headers["Location"]), allow_redirects=False)
        return page

    def open_link(address: str) -> str:
        page = session.get(address)
        if urlsplit(page.url).path == "/account/login/":
            next_page = parse_qs(urlsplit(page.url).query)["next"][0]
            answer = post(page, login=member.email, password=password, next=next_page)
            page = follow(answer)
        if page.status_code == 200:
            page = post(page, decision="allow")
        assert page.status_code == 302, page.text
        assert page.headers["Location"].startswith(CALLBACK)
        return page.headers["Location"]

    return open_link


def test_requests_oauthlib_runs_the_receipts_programme(live_server, person, application):
    state = base64.b64encode(json.dumps({"message": "Welcome"}).encode()).decode()
    session = OAuth2Session(application.client_id, redirect_uri=CALLBACK, scope="receipt:write", state=state)
    address, _state = session.authorization_url(f"{live_server.url}/auth")

    token = session.fetch_token(
        f"{live_server.url}/api/oauth/token",
        authorization_response=person(address),
        client_secret=application.secret,
        include_client_id=True,
    )

    assert token["token_type"] == "Bearer"
    revoked = session.delete(f"{live_server.url}/api/oauth/revoke")
    assert (revoked.status_code, revoked.json()) == (200, {})


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_requests_oauthlib_connects_calls_and_refreshes(live_server, person, make_application, profile):
    application: RegisteredApplication = make_application(profile)
    paths = {
        "customer": ("/oauth/authorize", "/oauth/token", "/oauth/user"),
        "portal": ("/oauth/authorise/", "/open_auth/token/", "/open_auth/get_user_data/"),
    }
    authorize, token_door, resource = (live_server.url + path for path in paths[profile])
    session = OAuth2Session(application.client_id, redirect_uri=CALLBACK)
    address, _state = session.authorization_url(authorize)

    session.fetch_token(token_door, authorization_response=person(address), client_secret=application.secret)
    first = session.get(resource)
    session.refresh_token(token_door, client_id=application.client_id, client_secret=application.secret)

    assert first.status_code == 200
    assert session.get(resource).json() == first.json()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("profile", ["connection", "customer", "portal"])
def test_authlib_connects_with_pkce_from_the_published_metadata(live_server, person, make_application, profile, method):
    application: RegisteredApplication = make_application(profile)
    metadata = requests.get(f"{live_server.url}/.well-known/oauth-authorization-server", timeout=10).json()
    session = AuthlibSession(
        application.client_id,
        application.secret,
        redirect_uri=CALLBACK,
        token_endpoint_auth_method=method,
        code_challenge_method="S256",
    )
    verifier = "v" * 64
    address, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    assert create_s256_code_challenge(verifier) in address

    token = session.fetch_token(
        metadata["token_endpoint"], authorization_response=person(address), state=state, code_verifier=verifier
    )

    introspected = session.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
    assert introspected.json()["active"] is True
    revoked = session.revoke_token(metadata["revocation_endpoint"], token=token["access_token"])
    assert revoked.status_code == 200
    introspected = session.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
    assert introspected.json() == {"active": False}


def test_authlib_refreshes_a_customer_token(live_server, person, make_application):
    application: RegisteredApplication = make_application("customer")
    session = AuthlibSession(application.client_id, application.secret, redirect_uri=CALLBACK)
    address, _state = session.create_authorization_url(f"{live_server.url}/oauth/authorize")
    first = session.fetch_token(f"{live_server.url}/oauth/token", authorization_response=person(address))

    second = session.refresh_token(f"{live_server.url}/oauth/token", refresh_token=first["refresh_token"])

    assert second["refresh_token"] != first["refresh_token"]
    assert session.get(f"{live_server.url}/oauth/user?include=memberships").status_code == 200


def test_a_jwks_client_verifies_the_customer_token(live_server, person, make_application, member, organisation):
    """With nothing but the published keys (CONTRACT section 5)."""
    application: RegisteredApplication = make_application("customer")
    session = OAuth2Session(application.client_id, redirect_uri=CALLBACK)
    address, _state = session.authorization_url(f"{live_server.url}/oauth/authorize")
    token = session.fetch_token(
        f"{live_server.url}/oauth/token",
        authorization_response=person(address),
        client_secret=application.secret,
    )["access_token"]

    key = jwt.PyJWKClient(f"{live_server.url}/.well-known/jwks.json").get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=application.client_id, issuer=organisation.issuer)

    assert claims["sub"] == str(member.id)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(f"{token[:-8]}AAAAAAAA", key, algorithms=["RS256"], audience=application.client_id)


def test_service_introspects_for_its_resource_server_with_authlib(live_server, person, make_application):
    application: RegisteredApplication = make_application("connection")
    service: RegisteredApplication = make_application("service")
    partner = OAuth2Session(application.client_id, redirect_uri=CALLBACK, scope="receipt:read")
    address, _state = partner.authorization_url(f"{live_server.url}/auth")
    token = partner.fetch_token(
        f"{live_server.url}/api/oauth/token",
        authorization_response=person(address),
        client_secret=application.secret,
    )["access_token"]
    backend = AuthlibSession(service.client_id, service.secret, scope="introspect")

    assert backend.fetch_token(f"{live_server.url}/oauth/token")["expires_in"] == 3600
    answer = backend.introspect_token(f"{live_server.url}/oauth/introspect", token=token).json()

    assert answer["active"] is True
    assert answer["scope"] == "receipt:read"


@pytest.mark.spec("CONTRACT", "2")
def test_longest_state_comes_back_from_a_browser_that_had_to_log_in(live_server, person, application):
    """4 096 characters, of the kind that percent-encoding makes longest."""
    session = OAuth2Session(application.client_id, redirect_uri=CALLBACK, state="+" * 4096)
    address, _state = session.authorization_url(f"{live_server.url}/auth")

    landed = person(address)

    assert parse_qs(urlsplit(landed).query)["state"] == ["+" * 4096]
