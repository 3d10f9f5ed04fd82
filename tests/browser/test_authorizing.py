"""Users who log in, allow, deny and change their minds, in Chromium (CONTRACT sections 2, 3, 7 and 12)."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

from apps.connections.models import Connection
from tests.conftest import AUTHORIZE_DOORS

pytestmark = pytest.mark.django_db(transaction=True)


def link(application, callback, **parameters: str) -> str:
    """Return the partner's link to the authorization page."""
    query = {"client_id": application.client_id, "redirect_uri": callback.url, "state": "s-1", **parameters}
    return f"{AUTHORIZE_DOORS[application.row.profile]}?{urlencode(query)}"


def landing(page: Page, callback) -> dict[str, str]:
    """Wait until the browser is back at the partner and return the query it came with."""
    expect(page.get_by_role("heading", name="Back at the partner")).to_be_visible()
    return {name: values[0] for name, values in parse_qs(urlsplit(callback.landed[-1]).query).items()}


@pytest.fixture
def partner_application(make_application, callback):
    def make(profile: str, **fields):
        return make_application(profile, name="Example Receipts", redirect_uris=callback.registered, **fields)

    return make


@pytest.mark.parametrize("profile", ["connection", "customer", "portal"])
def test_user_logs_in_and_allows(page, log_in, callback, partner_application, exchange, organisation, profile):
    application = partner_application(profile)

    page.goto(link(application, callback))
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in to connect to Example Receipts")
    log_in()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Example Receipts")
    page.get_by_role("button", name="Allow", exact=True).click()

    answer = landing(page, callback)
    assert answer["state"] == "s-1"
    assert answer["iss"] == organisation.issuer
    assert exchange(application, answer["code"], redirect_uri=callback.url).status_code == 200


@pytest.mark.parametrize("profile", ["connection", "customer"])
def test_user_who_denies_goes_back_with_an_error(page, log_in, callback, partner_application, profile):
    page.goto(link(partner_application(profile), callback))
    log_in()
    page.get_by_role("button", name="Deny", exact=True).click()

    answer = landing(page, callback)
    assert answer["error"] == "access_denied"
    assert answer["state"] == "s-1"
    assert not Connection.objects.exists()


def test_campus_user_who_denies_is_told_so_at_home_and_may_go_back(page, log_in, callback, partner_application):
    page.goto(link(partner_application("portal"), callback))
    log_in()
    page.get_by_role("button", name="Deny", exact=True).click()

    expect(page.get_by_text("You did not authorise Example Receipts")).to_be_visible()
    assert callback.landed == []
    page.get_by_role("link", name=re.compile("Back to Example Receipts")).click()
    assert landing(page, callback)["error"] == "access_denied"


def test_user_of_a_trusted_application_goes_straight_back_after_logging_in(page, log_in, callback, partner_application):
    """The log-in page says what is shared; its form leads on to another site without a page between."""
    page.goto(link(partner_application("customer", is_trusted=True), callback))
    expect(page.get_by_text("Example Receipts").first).to_be_visible()
    log_in()

    assert "code" in landing(page, callback)


def test_logged_in_user_of_a_trusted_application_confirms_once(page, log_in, callback, partner_application):
    application = partner_application("customer", is_trusted=True)
    page.goto("/account/login/")
    log_in()
    page.wait_for_url("**/")

    page.goto(link(application, callback))
    page.get_by_role("button", name="Allow", exact=True).click()
    assert "code" in landing(page, callback)
    page.goto(link(application, callback))
    assert "code" in landing(page, callback)
    assert len(callback.landed) == 2


def test_user_unticks_an_optional_scope(page, log_in, callback, partner_application, member):
    application = partner_application("portal", optional_scopes=["contact_information.email_address"])
    page.goto(link(application, callback))
    log_in()

    page.get_by_role("checkbox", name=re.compile("e-mail address")).uncheck()
    page.get_by_role("button", name="Allow", exact=True).click()
    landing(page, callback)

    granted = Connection.objects.get(user=member).scopes
    assert sorted(granted) == ["person.full_name", "student.enrolment_number"]


def test_somebody_else_takes_over_at_the_consent_page(page, log_in, callback, partner_application, make_user, password):
    other = make_user("grace@example.com", first_name="Grace", last_name="Hopper")
    page.goto(link(partner_application("connection"), callback))
    log_in()
    expect(page.get_by_text("Ada Byron")).to_be_visible()

    page.get_by_role("button", name="Not you?").click()
    page.get_by_label("Email").fill(other.email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("Grace Hopper")).to_be_visible()
    page.get_by_role("button", name="Allow", exact=True).click()
    landing(page, callback)

    assert Connection.objects.get().user == other


def test_everything_works_by_keyboard_alone(page, member, password, callback, partner_application):
    page.goto(link(partner_application("connection"), callback))
    page.get_by_label("Email").focus()
    page.keyboard.type(member.email)
    page.get_by_label("Password", exact=True).focus()
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    allow = page.get_by_role("button", name="Allow", exact=True)
    expect(allow).to_be_visible()
    page.wait_for_load_state()
    for _ in range(40):
        page.keyboard.press("Tab")
        if allow.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")

    assert "code" in landing(page, callback)


def test_everything_works_without_javascript(
    chromium_browser, live_server, member, password, callback, partner_application
):
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(link(partner_application("connection"), callback))
    page.get_by_label("Email").fill(member.email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Allow", exact=True).click()

    assert "code" in landing(page, callback)
    context.close()


class TestMembershipUpdate:
    """The page where a user changes or removes a connection, in all its outcomes."""

    @pytest.fixture
    def connection(self, page, log_in, callback, partner_application, connect, member) -> Connection:
        application = partner_application("connection")
        connect(application, redirect_uri=None)
        connection = Connection.objects.get(user=member)
        query = urlencode({"receipthero_id": connection.id, "redirect_uri": callback.url})
        page.goto(f"/membership?{query}")
        log_in()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Example Receipts")
        return connection

    def test_narrowed_scopes_are_saved(self, page, callback, connection):
        page.get_by_role("switch", name=re.compile("Reading receipts")).uncheck()
        page.get_by_role("button", name="Save changes").click()

        assert landing(page, callback) == {"status": "modified", "receipthero_id": str(connection.id)}
        connection.refresh_from_db()
        assert connection.scopes == ["receipt:write"]

    def test_saving_without_a_change_counts_as_cancelled(self, page, callback, connection):
        page.get_by_role("button", name="Save changes").click()

        assert landing(page, callback)["status"] == "cancelled"

    def test_cancelling_changes_nothing(self, page, callback, connection):
        page.get_by_role("button", name="Cancel").click()

        assert landing(page, callback)["status"] == "cancelled"
        connection.refresh_from_db()
        assert connection.is_active

    def test_removing_asks_once_more(self, page, callback, connection):
        page.get_by_role("button", name="Remove connection").click()
        connection.refresh_from_db()
        assert connection.is_active
        page.get_by_role("button", name="Yes, remove").click()

        assert landing(page, callback) == {"status": "removed", "receipthero_id": str(connection.id)}
        connection.refresh_from_db()
        assert not connection.is_active

    def test_the_last_scope_stays_or_the_connection_is_removed(self, page, callback, connection):
        for switch in page.get_by_role("switch").all():
            switch.uncheck()
        page.get_by_role("button", name="Save changes").click()

        expect(page.get_by_text("Leave at least one on, or remove the connection.")).to_be_visible()
        assert callback.landed == []
