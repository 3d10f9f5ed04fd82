"""Proof Key for Code Exchange: S256 from everyone, required of public clients, nothing weaker (CONTRACT section 2)."""

import base64
import hashlib
import secrets

import pytest

from apps.tokens.models import Grant
from tests.conftest import query_of

pytestmark = pytest.mark.spec("RFC 7636", "4")


def challenge_of(verifier):
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def verifier():
    return secrets.token_urlsafe(48)


@pytest.fixture
def pkce(verifier):
    """The parameters of an authorization request that uses PKCE."""
    return {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}


@pytest.fixture(params=["connection", "customer", "portal"])
def public_client(request, make_application):
    return make_application(request.param, client_type="public")


@pytest.mark.spec("RFC 7636", "4.6")
def test_the_example_of_appendix_b_matches(browser, application, exchange):
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    code = browser.authorize(application, code_challenge=challenge, code_challenge_method="S256")

    response = exchange(application, code, code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")

    assert response.status_code == 200


def test_confidential_client_may_use_s256(browser, any_application, exchange, verifier, pkce):
    code = browser.authorize(any_application, **pkce)

    assert exchange(any_application, code, code_verifier=verifier).status_code == 200


@pytest.mark.spec("RFC 9700", "2.1.1")
def test_public_client_gets_its_tokens_with_a_verifier_and_no_secret(browser, public_client, exchange, verifier, pkce):
    code = browser.authorize(public_client, **pkce)

    assert exchange(public_client, code, code_verifier=verifier).status_code == 200


@pytest.mark.spec("RFC 9700", "2.1.1")
def test_public_client_without_a_challenge_is_refused(browser, public_client):
    error = query_of(browser.ask(public_client, state="s"))

    assert (error["error"], error["state"]) == ("invalid_request", "s")
    assert "code_challenge" in error["error_description"]


@pytest.mark.spec("RFC 9700", "2.1.1")
def test_public_client_refreshes_without_a_secret(browser, make_application, exchange, refresh, verifier, pkce):
    application = make_application("customer", client_type="public")
    tokens = exchange(application, browser.authorize(application, **pkce), code_verifier=verifier).json()

    assert refresh(application, tokens["refresh_token"]).status_code == 200


def test_public_client_that_sends_a_wrong_secret_is_refused(browser, public_client, exchange, verifier, pkce):
    code = browser.authorize(public_client, **pkce)

    response = exchange(public_client, code, code_verifier=verifier, client_secret="guess")

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("method", ["plain", None, "s256", "S512", "none", "S256 plain"])
@pytest.mark.parametrize("client_type", ["confidential", "public"])
@pytest.mark.spec("RFC 7636", "4.4.1")
def test_other_method_is_refused(browser, make_application, verifier, method, client_type):
    """Without a method the RFC means `plain`."""
    application = make_application(client_type=client_type)

    error = query_of(browser.ask(application, code_challenge=challenge_of(verifier), code_challenge_method=method))

    assert error["error"] == "invalid_request"
    assert not Grant.objects.exists()


@pytest.mark.parametrize(
    "challenge",
    ["", "short", "a" * 42, "a" * 44, "a" * 128, "a" * 42 + "=", "a" * 42 + "+", "a" * 43 + "\n", "\N{SNOWMAN}" * 43],
)
@pytest.mark.spec("RFC 7636", "4.2")
def test_malformed_challenge_is_refused(browser, application, challenge):
    error = query_of(browser.ask(application, code_challenge=challenge, code_challenge_method="S256"))

    assert error["error"] == "invalid_request"
    assert "code_challenge" in error["error_description"]


def test_repeated_challenge_is_refused(browser, application, pkce):
    query = f"client_id={application.client_id}&code_challenge={'a' * 43}&code_challenge={pkce['code_challenge']}"

    assert query_of(browser.client.get(f"/auth?{query}&code_challenge_method=S256"))["error"] == "invalid_request"


@pytest.mark.spec("RFC 7636", "4.6")
def test_wrong_verifier_is_an_invalid_grant_and_leaves_the_code_good(
    browser, any_application, exchange, verifier, pkce
):
    code = browser.authorize(any_application, **pkce)

    for wrong in (secrets.token_urlsafe(48), pkce["code_challenge"], verifier + "a", verifier[:-1], "\N{SNOWMAN}" * 43):
        response = exchange(any_application, code, code_verifier=wrong)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")

    assert exchange(any_application, code, code_verifier=verifier).status_code == 200


@pytest.mark.spec("RFC 7636", "4.6")
def test_missing_verifier_is_named(browser, any_application, exchange, pkce):
    response = exchange(any_application, browser.authorize(any_application, **pkce))

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert "code_verifier" in response.json()["error_description"]


@pytest.mark.parametrize("verifier", ["a", "a" * 42, "a" * 129, "a" * 42 + "!"])
@pytest.mark.spec("RFC 7636", "4.1")
def test_verifier_that_is_too_short_to_be_secret_is_refused(browser, application, exchange, verifier, pkce):
    code = browser.authorize(application, **pkce)

    assert exchange(application, code, code_verifier=verifier).json()["error"] == "invalid_grant"


@pytest.mark.spec("RFC 9700", "4.8.2")
def test_verifier_without_a_challenge_is_refused(browser, any_application, exchange, verifier):
    """The challenge was stripped on the way, or the code is from elsewhere."""
    response = exchange(any_application, browser.authorize(any_application), code_verifier=verifier)

    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_code_challenge_method_without_a_challenge_is_refused(browser, application):
    assert query_of(browser.ask(application, code_challenge_method="S256"))["error"] == "invalid_request"
