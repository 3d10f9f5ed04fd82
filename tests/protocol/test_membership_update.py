"""The page a partner sends a user to, to change or remove their connection (CONTRACT section 7)."""

import uuid

import pytest
from django.test import Client

from apps.connections.models import Connection
from apps.developers.scopes import ALL
from tests.conftest import CALLBACK, Browser, query_of
from tests.protocol.test_consent import words_of

pytestmark = pytest.mark.spec("CONTRACT", "7")


@pytest.fixture
def tokens(connect, application):
    return connect(application)


@pytest.fixture
def connection(tokens):
    return Connection.objects.get()


@pytest.fixture
def address(connection):
    return f"/membership?receipthero_id={connection.pk}&redirect_uri={CALLBACK}"


def open_page(browser, connection_id, redirect_uri=CALLBACK):
    query = {"receipthero_id": connection_id, "redirect_uri": redirect_uri}
    return browser.client.get("/membership", {name: value for name, value in query.items() if value is not None})


def assert_back(response, status, connection):
    assert response.status_code == 302
    assert response["Location"].startswith(f"{CALLBACK}?")
    assert query_of(response) == {"status": status, "receipthero_id": str(connection.pk)}


def test_visitor_logs_in_first_and_comes_back(address, member, password):
    client = Client()
    answer = client.get(address)
    assert answer["Location"].startswith("/account/login/?next=")

    response = client.post(answer["Location"], {"login": member.email, "password": password})

    assert response["Location"] == address
    assert client.get(address).status_code == 200


def test_page_shows_the_application_since_when_its_use_and_its_scopes(browser, address, connection, application):
    words = words_of(browser.client.get(address))

    for fact in (
        application.row.name,
        str(connection.created_at.year),
        "Last used",
        "Save changes",
        "Remove connection",
        "Cancel",
    ):
        assert fact in words
    assert all(str(ALL[name].label) in words for name in application.row.scopes)


def test_saving_a_changed_scope_is_modified(browser, address, connection):
    response = browser.client.post(address, {"action": "save", "scopes": ["receipt:read"]})

    assert_back(response, "modified", connection)
    connection.refresh_from_db()
    assert connection.scopes == ["receipt:read"]


def test_saving_without_a_change_is_cancelled(browser, address, connection):
    response = browser.client.post(address, {"action": "save", "scopes": ["receipt:write", "receipt:read"]})

    assert_back(response, "cancelled", connection)


def test_saving_without_a_change_is_cancelled_although_the_application_gave_a_scope_up(
    browser, address, connection, application
):
    application.row.scopes = ["receipt:read"]
    application.row.save()

    assert_back(browser.client.post(address, {"action": "save", "scopes": ["receipt:read"]}), "cancelled", connection)


def test_page_leads_back_also_while_another_authorization_is_open(browser, address, application, make_application):
    """Chromium applies `form-action` to the redirect that follows the form."""
    browser.ask(make_application(name="Other", redirect_uris="https://other.example/cb"))

    policy = browser.client.get(address)["Content-Security-Policy"]

    form_action = next(part for part in policy.split(";") if part.strip().startswith("form-action"))
    assert "https://partner.example" in form_action


def test_cancel_changes_nothing(browser, address, connection):
    response = browser.client.post(address, {"action": "cancel", "scopes": ["receipt:read"]})

    assert_back(response, "cancelled", connection)
    connection.refresh_from_db()
    assert set(connection.scopes) == {"receipt:write", "receipt:read"}


def test_remove_asks_once_more(browser, address, connection):
    page = browser.client.post(address, {"action": "remove"})

    assert "Yes, remove" in words_of(page)
    connection.refresh_from_db()
    assert connection.is_active


def test_confirmed_removal_ends_the_tokens(browser, address, connection, tokens, application, introspect):
    response = browser.client.post(address, {"action": "confirm-remove"})

    assert_back(response, "removed", connection)
    connection.refresh_from_db()
    assert (connection.is_active, connection.end_reason) == (False, "user")
    assert introspect(application, tokens["access_token"]) == {"active": False}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"action": "x"},
        {"action": "save"},
        {"action": "save", "scopes": ["introspect"]},
        {"action": "save", "scopes": ["\x00"]},
    ],
)
def test_any_other_answer_is_a_400_that_changes_nothing(browser, address, connection, fields):
    response = browser.client.post(address, fields)

    assert response.status_code == 400
    connection.refresh_from_db()
    assert connection.is_active
    assert set(connection.scopes) == {"receipt:write", "receipt:read"}


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        "https://evil.example/",
        CALLBACK + "/",
        CALLBACK + "?a=1",
        "//partner.example/callback",
        "javascript:alert(1)",
        "https://partner.example@evil.example/callback",
        CALLBACK + "\n",
        CALLBACK + "\x00",
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_redirect_uri_that_is_not_registered_is_a_400_page(browser, connection, redirect_uri, method):
    query = {"receipthero_id": str(connection.pk)} | ({} if redirect_uri is None else {"redirect_uri": redirect_uri})

    response = getattr(browser.client, method)(
        "/membership",
        {"action": "confirm-remove"} if method == "post" else query,
        **({"query_params": query} if method == "post" else {}),
    )

    assert response.status_code == 400
    assert "Location" not in response
    connection.refresh_from_db()
    assert connection.is_active


def test_redirect_uri_of_another_application_is_a_400_page(browser, connection, make_application):
    make_application(name="Other", redirect_uris="https://other.example/")

    assert open_page(browser, connection.pk, "https://other.example/").status_code == 400


def test_query_of_the_redirect_uri_is_kept(browser, connection, application):
    uri = "https://partner.example/members?tenant=7"
    application.row.redirect_uris = uri
    application.row.save()

    response = browser.client.post(
        f"/membership?receipthero_id={connection.pk}&redirect_uri={uri}", {"action": "cancel"}
    )

    assert response["Location"].startswith(f"{uri}&status=cancelled&")


@pytest.mark.parametrize("connection_id", ["unknown", "x" * 500, "0", "%", "\N{SNOWMAN}", str(uuid.UUID(int=0))])
def test_unknown_connection_is_a_404_page(browser, connection, connection_id):
    assert open_page(browser, connection_id).status_code == 404


def test_404_says_nothing_about_why(browser, connection, make_user, make_application, exchange):
    """Unknown, ended, or another user's: the same page."""
    stranger = Browser(make_user("bob@example.com"))
    another_user_s = open_page(stranger, connection.pk)
    unknown = open_page(stranger, uuid.uuid4())
    browser.client.post(
        f"/membership?receipthero_id={connection.pk}&redirect_uri={CALLBACK}", {"action": "confirm-remove"}
    )
    ended = open_page(browser, connection.pk)

    assert {page.status_code for page in (another_user_s, unknown, ended)} == {404}
    assert words_of(another_user_s) == words_of(unknown)
    assert connection.application.name not in words_of(ended)


def test_stranger_cannot_remove_the_connection(address, connection, make_user):
    response = Browser(make_user("bob@example.com")).client.post(address, {"action": "confirm-remove"})

    assert response.status_code == 404
    connection.refresh_from_db()
    assert connection.is_active


@pytest.mark.parametrize("query", ["", "receipthero_id=", "receipthero_id=a&receipthero_id=b", "receipthero_id=%00"])
def test_request_without_one_connection_is_a_400_page(browser, connection, query):
    assert browser.client.get(f"/membership?redirect_uri={CALLBACK}&{query}").status_code == 400


def test_removal_cannot_come_from_another_site(address, connection, member):
    client = Client(enforce_csrf_checks=True)
    client.force_login(member)

    assert client.post(address, {"action": "confirm-remove"}).status_code == 403
    connection.refresh_from_db()
    assert connection.is_active


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_other_method_is_405(browser, address, method):
    assert getattr(browser.client, method)(address).status_code == 405
    assert getattr(Client(), method)(address).status_code == 405


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_every_profile_s_connections_have_the_page(browser, make_application, connect, profile):
    connect(make_application(profile))

    assert open_page(browser, Connection.objects.get().pk).status_code == 200


# --- narrowed scopes ----------------------------------------------------------------------------------


@pytest.fixture
def narrow(browser):
    """Switch all but these scopes of the member's one connection off."""

    def call(*scopes):
        connection = Connection.objects.get()
        address = f"/membership?receipthero_id={connection.pk}&redirect_uri={CALLBACK}"
        assert browser.client.post(address, {"action": "save", "scopes": scopes}).status_code == 302

    return call


def test_narrowed_scopes_take_effect_at_once_everywhere(
    make_application, connect, introspect, call_with, refresh, narrow
):
    application = make_application("portal")
    tokens = connect(application)

    narrow("person.full_name")

    assert introspect(application, tokens["access_token"])["scope"] == "person.full_name"
    assert introspect(application, tokens["refresh_token"])["scope"] == "person.full_name"
    answer = call_with("/open_auth/get_user_data/", tokens["access_token"]).json()
    assert set(answer) == {"userId", "username", "person"}
    assert refresh(application, tokens["refresh_token"]).json()["scope"] == "person.full_name"


def test_refresh_cannot_ask_for_what_was_narrowed(make_application, connect, refresh, narrow):
    application = make_application("portal")
    token = connect(application)["refresh_token"]

    narrow("person.full_name")

    assert refresh(application, token, scope="student.enrolment_number").json()["error"] == "invalid_scope"


def test_widening_gives_no_token_more_than_its_code_granted(make_application, connect, introspect, refresh, narrow):
    application = make_application("portal")
    tokens = connect(application, scope="person.full_name")

    narrow(*application.row.scopes)

    assert introspect(application, tokens["access_token"])["scope"] == "person.full_name"
    assert refresh(application, tokens["refresh_token"]).json()["scope"] == "person.full_name"
