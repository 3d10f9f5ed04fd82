"""Native applications: the port of a loopback IP is free, and nothing else is (CONTRACT section 2)."""

import pytest

from tests.conftest import query_of
from tests.protocol.test_rfc7636_pkce import challenge_of

pytestmark = pytest.mark.spec("RFC 8252", "7.3")

VERIFIER = "v" * 43
PKCE = {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}


@pytest.fixture
def native(make_application):
    """Make a public client with these redirect URIs."""
    return lambda *uris: make_application("customer", client_type="public", redirect_uris=" ".join(uris))


@pytest.mark.parametrize(
    ("registered", "presented"),
    [
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb"),
        ("http://127.0.0.1:8000/cb", "http://127.0.0.1:51004/cb"),
        ("http://127.0.0.1:8000/cb", "http://127.0.0.1/cb"),
        ("http://[::1]/cb", "http://[::1]:51004/cb"),
        ("http://127.0.0.1/cb?a=1", "http://127.0.0.1:9/cb?a=1"),
        ("http://127.0.0.1", "http://127.0.0.1:51004"),
    ],
)
def test_port_of_a_loopback_ip_may_differ(browser, native, exchange, registered, presented):
    application = native(registered)

    answer = browser.answer(browser.ask(application, redirect_uri=presented, **PKCE))

    assert answer["Location"].startswith(presented)
    code = query_of(answer)["code"]
    assert exchange(application, code, redirect_uri=presented, code_verifier=VERIFIER).status_code == 200


def test_redirect_uri_of_the_token_request_has_the_same_port(browser, native, exchange):
    """RFC 6749 4.1.3: identical to the one of the authorization request."""
    application = native("http://127.0.0.1/cb")
    code = browser.authorize(application, redirect_uri="http://127.0.0.1:51004/cb", **PKCE)

    response = exchange(application, code, redirect_uri="http://127.0.0.1:51005/cb", code_verifier=VERIFIER)

    assert response.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("registered", "presented"),
    [
        ("http://localhost/cb", "http://localhost:51004/cb"),
        ("http://localhost:8000/cb", "http://localhost:8001/cb"),
        ("http://127.0.0.1/cb", "http://localhost/cb"),
        ("http://127.0.0.1/cb", "http://[::1]/cb"),
        ("http://127.0.0.1/cb", "https://127.0.0.1/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.2/cb"),
        ("http://127.0.0.1/cb", "http://127.1/cb"),
        ("http://127.0.0.1/cb", "http://2130706433/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb?a=1"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:x/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:123456/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004@evil.example/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb"),
        ("http://127.0.0.1/cb", "http://[::1]:51004/cb"),
        ("http://127.0.0.1/cb", "http://127.0.0.1:\N{ARABIC-INDIC DIGIT ONE}/cb"),
        ("http://127.0.0.1", "http://127.0.0.1:51004/"),
        ("https://partner.example/cb", "https://partner.example:8443/cb"),
    ],
)
def test_nothing_but_the_port_and_only_of_an_ip_literal(browser, native, registered, presented):
    response = browser.ask(native(registered), redirect_uri=presented, **PKCE)

    assert response.status_code == 400
    assert "Location" not in response


@pytest.mark.spec("RFC 8252", "7.1")
def test_public_client_is_reached_by_its_own_scheme(browser, native, exchange):
    uri = "com.example.app:/callback"
    application = native(uri)

    answer = browser.answer(browser.ask(application, redirect_uri=uri, **PKCE))

    assert answer["Location"].startswith(f"{uri}?code=")
    code = query_of(answer)["code"]
    assert exchange(application, code, redirect_uri=uri, code_verifier=VERIFIER).status_code == 200


@pytest.mark.spec("RFC 8252", "7.1")
def test_another_scheme_of_the_same_path_is_refused(browser, native):
    application = native("com.example.app:/callback")

    assert browser.ask(application, redirect_uri="com.example.evil:/callback", **PKCE).status_code == 400
