"""The authorization request: what is refused where, and what goes back to the client (CONTRACT section 2)."""

import pytest

from apps.developers.models import Status
from apps.tokens.models import Grant
from tests.conftest import AUTHORIZE_DOORS, CALLBACK, Browser, query_of

pytestmark = pytest.mark.spec("CONTRACT", "2")

OTHER = "https://partner.example/other"


@pytest.fixture
def visitor(db):
    """A browser in which nobody is logged in."""
    return Browser()


def assert_refused_here(response):
    """A page here that says what is wrong: no redirect, no log-in, no consent, no code."""
    assert response.status_code == 400
    assert response["Content-Type"].startswith("text/html")
    assert "Location" not in response
    assert b'type="password"' not in response.content
    assert b'name="decision"' not in response.content
    assert not Grant.objects.exists()


def error_of(response, uri=CALLBACK):
    """Return the query of an error that went back to the client."""
    assert response.status_code == 302
    assert response["Location"].startswith(uri)
    query = query_of(response)
    assert "code" not in query
    assert query["error_description"]
    assert query["iss"] == "https://receipts.example"
    return query


@pytest.mark.parametrize("client_id", [None, "", "unknown", "x" * 5000, "a\x00b", "\N{SNOWMAN}"])
@pytest.mark.spec("RFC 6749", "4.1.2.1")
def test_unknown_client_is_refused_on_a_page_before_log_in(visitor, browser, application, client_id):
    for door in AUTHORIZE_DOORS.values():
        for anyone in (visitor, browser):
            assert_refused_here(anyone.ask(application, door=door, client_id=client_id, redirect_uri=CALLBACK))


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.APPROVED])
def test_application_that_is_not_approved_is_refused_on_a_page(visitor, browser, make_application, status):
    application = make_application(status=status)

    for anyone in (visitor, browser):
        assert_refused_here(anyone.ask(application))


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/callback",
        "https://partner.example/callback/",
        "https://partner.example/callback?x=1",
        "https://partner.example/callback#",
        "https://partner.example/callback#fragment",
        "https://partner.example/callbac",
        "https://partner.example/Callback",
        "https://PARTNER.example/callback",
        "HTTPS://partner.example/callback",
        "http://partner.example/callback",
        "https://partner.example:443/callback",
        "https://partner.example:8443/callback",
        "https://partner.example./callback",
        "https://partner.example//callback",
        "https://partner.example/./callback",
        "https://partner.example/x/../callback",
        "https://partner.example/%63allback",
        "https://partner.example%2fcallback",
        "https://partner.example\\@evil.example/callback",
        "https://partner.example@evil.example/callback",
        "https://user:pass@partner.example/callback",
        "https://partner.example.evil.example/callback",
        "https://evil.example/https://partner.example/callback",
        "//partner.example/callback",
        "/callback",
        "partner.example/callback",
        " https://partner.example/callback",
        "https://partner.example/callback ",
        "https://partner.example/callback\n",
        "https://partner.example/call\tback",
        "https://partner.example/callback\r\nX-Header: 1",
        "https://partner.example/callback\x00",
        "https://partner.example/callback https://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "*",
    ],
)
@pytest.mark.spec("RFC 9700", "2.1")
def test_redirect_uri_that_is_not_character_for_character_registered_never_gets_a_redirect(
    visitor, browser, application, redirect_uri
):
    for anyone in (visitor, browser):
        assert_refused_here(anyone.ask(application, redirect_uri=redirect_uri))


@pytest.mark.spec("RFC 9700", "2.1")
def test_registered_redirect_uri_is_accepted(browser, make_application):
    application = make_application(redirect_uris=f"{CALLBACK} {OTHER}")

    page = browser.ask(application, redirect_uri=OTHER)

    assert browser.answer(page)["Location"].startswith(f"{OTHER}?code=")


def test_redirect_uri_left_out_means_the_first_registered_one(browser, make_application):
    application = make_application(redirect_uris=f"{OTHER} {CALLBACK}")

    assert browser.answer(browser.ask(application))["Location"].startswith(f"{OTHER}?code=")


@pytest.mark.spec("RFC 6749", "3.1.2")
def test_query_of_the_redirect_uri_is_kept(browser, make_application):
    uri = "https://partner.example/callback?tenant=7&x=a%20b&empty="
    application = make_application(redirect_uris=uri)

    allowed = browser.answer(browser.ask(application, redirect_uri=uri, state="s", scope="receipt:read"))
    refused = browser.ask(application, redirect_uri=uri, response_type="token")

    for response in (allowed, refused):
        assert response["Location"].startswith(f"{uri}&")
        assert query_of(response)["iss"] == "https://receipts.example"


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_repeated_parameter_that_names_the_receiver_is_refused_on_a_page(browser, application, name):
    address = f"/auth?client_id={application.client_id}&redirect_uri={CALLBACK}&{name}=https://evil.example/"

    assert_refused_here(browser.client.get(address))


@pytest.mark.parametrize(
    "repeated",
    ["scope=receipt:read", "state=2", "response_type=code", "prompt=none", "approval_prompt=auto"],
)
@pytest.mark.spec("RFC 6749", "3.1")
def test_other_repeated_parameter_is_an_error_for_the_client(browser, application, repeated):
    name = repeated.split("=")[0]
    query = f"client_id={application.client_id}&{name}=first&{repeated}"

    error = error_of(browser.client.get(f"/auth?{query}"))

    assert error["error"] == "invalid_request"
    assert name in error["error_description"]


def test_unknown_parameters_are_ignored(browser, application):
    """RFC 6749 3.1. An unknown one must not become an attribute of anything either."""
    extra = {"user": "x", "client": "x", "scopes": "x", "claims": "x", "resource": "x", "nonce": "x", "utm": "a\x00"}

    assert browser.authorize(application, **extra, response_mode="fragment", request="x", granted_scopes="x")


@pytest.mark.parametrize("response_type", [None, "", "code"])
def test_response_type_defaults_to_code(browser, any_application, response_type):
    assert browser.authorize(any_application, response_type=response_type)


@pytest.mark.parametrize("response_type", ["token", "id_token", "code token", "code id_token", "none", "CODE", "x"])
@pytest.mark.spec("RFC 6749", "4.1.2.1")
def test_other_response_type_goes_back_as_unsupported(visitor, browser, application, response_type):
    for anyone in (visitor, browser):
        error = error_of(anyone.ask(application, response_type=response_type, state="s"))

        assert error["error"] == "unsupported_response_type"
        assert error["state"] == "s"


@pytest.mark.parametrize(
    ("profile", "scope"),
    [
        ("connection", "person.full_name"),
        ("connection", "receipt:read unknown"),
        ("connection", "introspect"),
        ("customer", "receipt:read"),
        ("portal", "student.branch"),
        ("portal", "notification:send"),
    ],
)
@pytest.mark.spec("RFC 6749", "4.1.2.1")
def test_scope_that_the_application_did_not_register_is_invalid_scope(browser, make_application, profile, scope):
    error = error_of(browser.ask(make_application(profile), scope=scope, state="s"))

    assert error["error"] == "invalid_scope"
    assert error["state"] == "s"


@pytest.mark.spec("RFC 6749", "3.3")
def test_scope_left_out_means_all_that_the_application_registered(connect, make_application):
    application = make_application("portal")

    assert connect(application)["scope"].split() == application.row.scopes


@pytest.mark.spec("RFC 6749", "3.3")
def test_scope_asked_for_is_the_scope_granted(connect, make_application):
    assert connect(make_application("portal"), scope="person.full_name")["scope"] == "person.full_name"


@pytest.mark.parametrize(
    "state",
    [
        "xyz",
        "cmVjZWlwdGhlcm9yb2Nrcw==",
        "a b+c%20d&e=f#g?h/i",
        "\N{SNOWMAN} <b>\"'",
        "line\r\nSet-Cookie: x=1",
        "0",
        "s" * 4096,
        "\N{SNOWMAN}" * 4096,
    ],
)
def test_state_comes_back_unchanged_with_the_code_and_with_an_error(browser, application, state):
    """RFC 6749 4.1.2: the exact value, whatever characters it has."""
    refused = browser.ask(application, state=state, scope="unknown")
    allowed = browser.answer(browser.ask(application, state=state))

    assert query_of(refused)["state"] == query_of(allowed)["state"] == state
    assert query_of(allowed)["code"]


@pytest.mark.parametrize("state", [None, ""])
def test_no_state_comes_back_as_none(browser, application, state):
    response = browser.answer(browser.ask(application, state=state))

    assert set(query_of(response)) == {"code", "iss"}


def test_state_over_4096_characters_is_an_invalid_request(browser, any_application):
    error = error_of(browser.ask(any_application, state="s" * 4097))

    assert error["error"] == "invalid_request"
    assert "state" in error["error_description"]


@pytest.mark.parametrize("bad", ["state=a%00b", "state=%FF%FE", "scope=receipt:read%00", "code_challenge=%ED%A0%80"])
def test_parameter_that_is_not_text_is_an_invalid_request(browser, application, bad):
    error = error_of(browser.client.get(f"/auth?client_id={application.client_id}&{bad}"))

    assert error["error"] == "invalid_request"
    assert bad.split("=")[0] in error["error_description"]


@pytest.mark.parametrize("state", ["s p", "s" * 4096, "\N{SNOWMAN}" * 4096])
def test_visitor_is_sent_to_log_in_and_then_back_to_the_request(visitor, any_application, member, password, state):
    answer = visitor.ask(any_application, state=state)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/?next=")

    login = visitor.client.post(answer["Location"], {"login": member.email, "password": password})
    page = visitor.client.get(login["Location"], follow=True)

    assert page.status_code == 200
    assert query_of(visitor.answer(page))["state"] == state


def test_wrong_password_does_not_get_to_the_request(visitor, application, member):
    address = visitor.ask(application)["Location"]

    response = visitor.client.post(address, {"login": member.email, "password": "wrong password"})

    assert response.status_code == 200
    assert "_auth_user_id" not in visitor.client.session
    assert not Grant.objects.exists()


def test_authorization_page_is_never_cached(browser, application):
    assert "no-store" in browser.ask(application)["Cache-Control"]


def test_service_has_no_authorization_request(browser, make_application):
    """`client_credentials` is all that a service may use (CONTRACT section 1)."""
    for redirect_uri in (None, CALLBACK):
        assert_refused_here(browser.ask(make_application("service"), door="/auth", redirect_uri=redirect_uri))


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
def test_authorize_door_takes_get_and_post_only(visitor, browser, application, method):
    for anyone in (visitor, browser):
        response = getattr(anyone.client, method)(f"/auth?client_id={application.client_id}")

        assert response.status_code == 405
        assert "GET" in response["Allow"]


def test_consent_cannot_be_given_from_another_site(member, application):
    """The form needs the CSRF token (RFC 6749 10.12)."""
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(member)

    response = client.post(f"/auth?client_id={application.client_id}", {"decision": "allow"})

    assert response.status_code == 403
    assert not Grant.objects.exists()
