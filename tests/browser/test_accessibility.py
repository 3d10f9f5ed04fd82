"""Every page, light and dark, on a phone: axe finds nothing serious, nothing sticks out, one h1 (section 12)."""

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.audit import trail
from apps.connections.models import Connection
from apps.developers.models import Role, TeamMember
from apps.housekeeping.models import HousekeepingRun
from apps.webhooks.models import Endpoint, Notification
from tests.conftest import queue_mails

pytestmark = pytest.mark.django_db(transaction=True)

ANONYMOUS_PAGES = [
    "/",
    "/account/login/",
    "/account/signup/",
    "/account/password/reset/",
    "/account/password/reset/done/",
    "/account/confirm-email/",
    "/auth",
    "/auth?client_id=nobody",
    "/membership/",
    "/no-such-page",
]
MEMBERS_PAGES = [
    "/",
    "/account/",
    "/account/connections/",
    "/account/email/",
    "/account/password/change/",
    "/account/logout/",
    "/account/2fa/",
    "/account/sessions/",
    "/membership?receipthero_id=nothing",
    "/membership",
]


@pytest.fixture
def assert_accessible(complaints: list[str]) -> Callable[[Page], None]:
    def check(page: Page) -> None:
        page.wait_for_load_state()  # a click that leads to a page waits for its beginning only
        assert complaints == []
        results = Axe().run(page)
        # axe tries an inline style of its own, which our policy forbids.
        complaints.clear()
        serious = [
            f"{violation['id']}: {violation['help']} {[node['html'] for node in violation['nodes']]}"
            for violation in results.response["violations"]
            if violation["impact"] in {"serious", "critical"}
        ]
        assert serious == []
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    return check


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def phone(page: Page, theme: str) -> Page:
    """The narrowest screen there is: 320 px, also what 200 % zoom makes of a small laptop."""
    page.set_viewport_size({"width": 320, "height": 700})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    return page


@pytest.mark.parametrize("path", ANONYMOUS_PAGES)
def test_pages_for_everyone(phone, assert_accessible, organisation, path):
    phone.goto(path)

    assert_accessible(phone)


def test_page_that_turns_dark_while_it_is_open_can_be_read_at_once(page, log_in, organisation):
    """In the evening, by itself, for whoever has not asked for less motion: no colour is on its way to another."""
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    page.goto("/account/login/")
    log_in()
    page.wait_for_url("**/")
    colours = """() => [...document.querySelectorAll("header, header *, nav, nav *, main *")].map((element) => {
        const { color, backgroundColor, borderTopColor } = getComputedStyle(element);
        return [color, backgroundColor, borderTopColor].join(" ");
    })"""

    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    at_once = page.evaluate(colours)
    page.wait_for_timeout(500)

    assert light != at_once
    assert at_once == page.evaluate(colours)


def test_pages_for_members(phone, assert_accessible, log_in, organisation):
    phone.goto("/account/login/")
    log_in()
    phone.wait_for_url("**/")
    for path in MEMBERS_PAGES:
        phone.goto(path)
        assert_accessible(phone)


def test_audit_trail(phone, assert_accessible, log_in, member, application):
    member.is_staff = member.is_superuser = True
    member.save()
    trail.record("user:connection:granted", actor=member, application=application.row, scopes=["receipt:read"])
    phone.goto("/account/login/?next=/audit/")
    log_in()
    phone.wait_for_url("**/audit/")
    phone.get_by_text("Details").first.click()
    assert_accessible(phone)
    phone.goto("/audit/?tag=user:&user=nobody")
    assert_accessible(phone)


def test_operations_page(phone, assert_accessible, log_in, member, application):
    member.is_staff = member.is_superuser = True
    member.save()
    queue_mails("somebody@example.com")
    endpoint = Endpoint.objects.create(
        application=application.row, url="https://partner.example/", failing_since=timezone.now()
    )
    Notification.objects.create(application=application.row, endpoint=endpoint, body="{}", state="failed")
    HousekeepingRun.objects.create(task="apps.tokens.tasks.delete_dead_codes", error="OperationalError")
    phone.goto("/account/login/?next=/operations/")
    log_in()
    phone.wait_for_url("**/operations/")
    assert_accessible(phone)
    ProcrastinateJob.objects.all().delete()


@pytest.mark.parametrize("path", ["totp/activate/", "webauthn/", "recovery-codes/generate/", "webauthn/add/"])
def test_pages_of_two_factor_authentication(phone, assert_accessible, log_in, organisation, path):
    phone.goto("/account/login/")
    log_in()
    phone.wait_for_url("**/")
    phone.goto(f"/account/2fa/{path}")

    assert_accessible(phone)


@pytest.mark.parametrize("profile", ["connection", "customer", "portal"])
def test_consent_pages(phone, assert_accessible, log_in, make_application, profile):
    application = make_application(profile, name="An application with an uncommonly long name & <b>markup</b>")
    doors = {"connection": "/auth", "customer": "/oauth/authorize", "portal": "/oauth/authorise/"}
    phone.goto(f"{doors[profile]}?{urlencode({'client_id': application.client_id, 'prompt': 'consent'})}")
    assert_accessible(phone)
    log_in()
    phone.get_by_role("button", name="Allow", exact=True).wait_for()

    assert_accessible(phone)


def test_login_page_of_a_trusted_application(phone, assert_accessible, make_application):
    application = make_application("customer", is_trusted=True)
    phone.goto(f"/oauth/authorize?client_id={application.client_id}")

    assert_accessible(phone)


def test_pages_of_a_connection(phone, assert_accessible, log_in, application, connect, member):
    connect(application)
    connection = Connection.objects.get(user=member)
    query = urlencode({"receipthero_id": connection.id, "redirect_uri": application.row.redirect_uris})
    phone.goto(f"/membership?{query}")
    log_in()
    phone.get_by_role("button", name="Save changes").wait_for()
    assert_accessible(phone)
    phone.get_by_role("button", name="Remove connection").click()
    phone.get_by_role("button", name="Yes, remove").wait_for()
    assert_accessible(phone)
    phone.goto("/account/connections/")
    assert_accessible(phone)
    phone.goto(f"/account/connections/{connection.id}/")
    assert_accessible(phone)
    phone.get_by_role("switch").first.uncheck()
    phone.get_by_role("switch").last.uncheck()
    phone.get_by_role("button", name="Save changes").click()
    phone.get_by_text("Leave at least one on").wait_for()
    assert_accessible(phone)
    phone.goto("/account/connections/remove/")
    assert_accessible(phone)
    phone.goto(f"/account/connections/{connection.id}/remove/")
    assert_accessible(phone)
    phone.get_by_role("button", name="Yes, remove").click()
    phone.get_by_role("heading", name="Ended").wait_for()

    assert_accessible(phone)


def test_leaving_for_good(phone, assert_accessible, log_in, application, connect, member, password):
    """Log-in, proof, file, closing: each page, and what the buttons do."""
    connect(application)
    phone.goto("/account/login/?next=/account/")
    log_in()
    phone.wait_for_url("**/account/")
    phone.get_by_role("link", name="Download your data").click()
    phone.get_by_label("Password", exact=True).fill(password)
    phone.get_by_role("button", name="Continue").click()
    phone.wait_for_url("**/account/data/")
    assert_accessible(phone)
    with phone.expect_download() as download:
        phone.get_by_role("button", name="Download").click()
    assert json.loads(download.value.path().read_text())["account"]["email"] == member.email
    owned = TeamMember.objects.create(application=application.row, user=member, role=Role.OWNER)
    phone.goto("/account/close/")
    phone.get_by_text("You are the only owner").wait_for()
    assert_accessible(phone)
    owned.delete()
    phone.goto("/account/close/")
    assert_accessible(phone)
    phone.get_by_role("button", name="Close the account for good").click()
    phone.get_by_text("Your account is closed.").wait_for()
    assert_accessible(phone)

    member.refresh_from_db()
    assert member.closed_at
    assert not Connection.objects.active().exists()


def test_pages_that_say_to_wait(phone, assert_accessible, log_in, application, member, settings):
    """The form shown again, the page that keeps what was typed, and the page that leads back."""
    phone.goto("/account/login/")
    log_in()
    phone.wait_for_url("**/")
    settings.RATE_LIMITS = True
    off = dict.fromkeys(settings.RATE_LIMIT_RATES, "0")
    settings.RATE_LIMIT_RATES = {**off, "login": "1/h", "account": "1/h", "authorize": "1/h"}
    wait = phone.get_by_role("heading", name="Please wait a little")

    for _ in range(2):
        phone.goto(f"/auth?client_id={application.client_id}&state=kept")
    assert_accessible(phone)
    assert "state=kept" in str(wait.locator("..").get_by_role("link", name="Try again").get_attribute("href"))

    settings.RATE_LIMIT_RATES["authorize"] = "2/h"
    phone.get_by_role("link", name="Try again").click()
    phone.get_by_role("button", name="Allow").wait_for()

    for _ in range(2):
        phone.goto("/account/email/")
        phone.locator("main input[type=email]").last.fill("bea@example.com")
        with phone.expect_navigation():
            phone.keyboard.press("Enter")
    wait.wait_for()
    assert_accessible(phone)
    settings.RATE_LIMIT_RATES["account"] = "0"
    phone.get_by_role("button", name="Try again").click()
    phone.get_by_text("bea@example.com").first.wait_for()

    phone.goto("/account/reauthenticate/")
    for _ in range(2):
        phone.get_by_label("Password").fill("wrong")
        with phone.expect_navigation():
            phone.keyboard.press("Enter")
    phone.get_by_text("There were too many wrong passwords.").wait_for()
    assert_accessible(phone)
