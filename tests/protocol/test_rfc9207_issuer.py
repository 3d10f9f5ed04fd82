"""Every redirect says which authorization server it is from (CONTRACT section 2)."""

import pytest

from tests.conftest import Browser, query_of

pytestmark = pytest.mark.spec("RFC 9207", "2")

ISSUER = "https://receipts.example"


def test_success_carries_iss(browser, any_application):
    assert query_of(browser.answer(browser.ask(any_application)))["iss"] == ISSUER


@pytest.mark.parametrize("profile", ["connection", "customer"])
def test_denial_carries_iss(browser, make_application, profile):
    answer = browser.answer(browser.ask(make_application(profile)), "deny")

    assert query_of(answer)["error"] == "access_denied"
    assert query_of(answer)["iss"] == ISSUER


@pytest.mark.parametrize("bad", [{"response_type": "token"}, {"scope": "x"}, {"state": "s" * 5000}, {"prompt": "none"}])
def test_every_error_carries_iss(browser, any_application, bad):
    assert query_of(browser.ask(any_application, **bad))["iss"] == ISSUER


def test_log_in_required_carries_iss(any_application):
    assert query_of(Browser().ask(any_application, prompt="none"))["iss"] == ISSUER


def test_remembered_consent_carries_iss(browser, any_application):
    browser.authorize(any_application)

    assert query_of(browser.ask(any_application))["iss"] == ISSUER


@pytest.mark.spec("RFC 9207", "2.4")
def test_iss_is_the_issuer_of_the_metadata_and_of_the_tokens(browser, make_application, exchange, partner):
    import jwt

    application = make_application("customer")
    answer = query_of(browser.answer(browser.ask(application)))
    claims = jwt.decode(
        exchange(application, answer["code"]).json()["access_token"], options={"verify_signature": False}
    )
    metadata = partner.get("/.well-known/oauth-authorization-server").json()

    assert answer["iss"] == claims["iss"] == metadata["issuer"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


def test_iss_is_the_organisation_s_own(other_organisation, make_application, member, settings):
    settings.ALLOWED_HOSTS = ["*"]
    application = make_application("customer", organisation=other_organisation)
    browser = Browser(member, host=other_organisation.domain)

    assert query_of(browser.answer(browser.ask(application)))["iss"] == "https://campus.localhost"
    assert query_of(browser.ask(application, scope="x"))["iss"] == "https://campus.localhost"
