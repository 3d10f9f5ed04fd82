"""A reviewer at the review desk in a real browser: reads, asks for changes, is overtaken, suspends."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from apps.accounts.models import User
from apps.developers.models import Application, Role, Status, TeamMember
from apps.developers.services import review
from apps.developers.services.applications import register_application
from apps.developers.services.terms import current_terms, publish_terms
from apps.organisations.models import Organisation, Reviewer

pytestmark = pytest.mark.django_db(transaction=True)

DESCRIPTION = "Penni sorts receipts into a budget. " * 26
REASONS = {"receipt:write": "We file what you photograph.", "receipt:read": "We sort what you bought."}


@pytest.fixture
def owner(make_user: Callable[..., User]) -> User:
    return make_user("owner@example.com", first_name="Olive", last_name="Owner")


@pytest.fixture
def application(organisation: Organisation, owner: User) -> Application:
    """It waits for its first review."""
    application, _secret = register_application(
        actor=owner,
        terms=current_terms(organisation),
        name="Penni Budget",
        profile="connection",
        organisation=organisation,
        redirect_uris=["https://penni.example/callback", "https://xn--pypal-4ve.example/callback"],
        scopes=["receipt:write"],
        reasons=REASONS,
        description=DESCRIPTION,
        website_url="https://penni.example/",
        privacy_policy_url="https://penni.example/privacy",
    )
    return application


@pytest.fixture
def reviewer(member: User, organisation: Organisation) -> User:
    Reviewer.objects.create(user=member, organisation=organisation)
    return member


@pytest.fixture
def desk(page: Page, log_in: Any, reviewer: User, application: Application) -> Page:
    """The queue, open in the reviewer's browser."""
    page.goto("/review/")
    log_in()
    expect(page.get_by_role("heading", name="Review desk", level=1)).to_be_visible()
    return page


@pytest.fixture
def assert_accessible(complaints: list[str]) -> Callable[[Page], None]:
    def check(page: Page) -> None:
        page.wait_for_load_state()  # a click that leads to a page waits for its beginning only
        assert complaints == []
        results = Axe().run(page)
        # axe tries an inline style of its own, which our policy forbids.
        complaints.clear()
        serious = [
            f"{violation['id']}: {[node['html'] for node in violation['nodes']]}"
            for violation in results.response["violations"]
            if violation["impact"] in {"serious", "critical"}
        ]
        assert serious == []
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    return check


def update(application: Application, owner: User) -> None:
    """Send an update of what is live: one scope more, other words."""
    review.submit_version(
        application=application,
        actor=owner,
        description=DESCRIPTION.replace("a budget", "one budget", 1),
        scopes=["receipt:write", "receipt:read"],
        reasons=REASONS,
        optional_scopes=["receipt:read"],
    )


def test_reviewer_asks_for_changes_then_approves_then_suspends(desk, application, owner):
    desk.get_by_role("link", name="Penni Budget").click()
    expect(desk.get_by_role("heading", name="Penni Budget", level=1)).to_be_visible()

    # A reason is needed, and what was typed stays.
    desk.get_by_role("button", name="Request changes", exact=True).click()
    expect(desk.get_by_text("Say why, so that the team knows what to do.")).to_be_visible()
    desk.get_by_label("Note to the team").fill("Say which receipts.")
    desk.get_by_role("button", name="Request changes", exact=True).click()
    expect(desk.get_by_role("status").filter(has_text="You have asked the team")).to_be_visible()
    expect(desk.get_by_text("Nothing waits for a decision.")).to_be_visible()
    assert Application.objects.get().status == Status.CHANGES_REQUESTED

    update(application, owner)
    desk.get_by_role("link", name="Applications", exact=True).click()
    desk.get_by_role("link", name="Penni Budget").click()
    expect(desk.get_by_text("Compared with version 1, which was sent back.")).to_be_visible()
    expect(desk.locator("ins").first).to_contain_text("one")
    desk.get_by_role("button", name="Approve", exact=True).click()
    expect(desk.get_by_role("status").filter(has_text="You have approved Penni Budget.")).to_be_visible()

    desk.get_by_role("link", name="Suspend…").click()
    desk.get_by_label("Reason").fill("It sends spam.")
    desk.get_by_role("button", name="Yes, suspend").click()
    expect(desk.get_by_role("status").filter(has_text="No token of it works any more.")).to_be_visible()
    assert Application.objects.get().status == Status.SUSPENDED


def test_reviewer_who_is_overtaken_keeps_what_they_wrote(desk, application, owner):
    desk.get_by_role("link", name="Penni Budget").click()
    desk.get_by_label("Note to the team").fill("Fine with me.")
    update(application, owner)

    desk.get_by_role("button", name="Approve", exact=True).click()

    expect(desk.get_by_role("alert")).to_contain_text("Somebody else was faster.")
    expect(desk.get_by_label("Note to the team")).to_have_value("Fine with me.")
    expect(desk.get_by_text("About version 2")).to_be_visible()
    assert Application.objects.get().status == Status.PENDING


def test_desk_is_worked_by_keyboard(desk, application):
    desk.get_by_label("Search").focus()
    desk.keyboard.type("nothing like it")
    desk.keyboard.press("Enter")
    expect(desk.get_by_text("No application is like that.")).to_be_visible()
    expect(desk.get_by_label("Search")).to_have_value("nothing like it")
    desk.get_by_role("link", name="Clear the filters").press("Enter")
    desk.get_by_role("link", name="Penni Budget").press("Enter")

    desk.get_by_label("Note to the team").focus()
    desk.wait_for_load_state()
    desk.keyboard.type("Welcome.")
    desk.keyboard.press("Tab")
    expect(desk.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    desk.keyboard.press("Tab")
    expect(desk.get_by_role("button", name="Request changes", exact=True)).to_be_focused()
    desk.keyboard.press("Tab")
    expect(desk.get_by_role("button", name="Reject", exact=True)).to_be_focused()
    desk.keyboard.press("Shift+Tab")
    desk.keyboard.press("Shift+Tab")
    desk.keyboard.press("Enter")

    expect(desk.get_by_role("status").filter(has_text="You have approved")).to_be_visible()
    assert Application.objects.get().status == Status.APPROVED


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible_on_the_narrowest_screen(
    desk, application, owner, reviewer, organisation, assert_accessible, theme
):
    desk.set_viewport_size({"width": 320, "height": 700})
    desk.emulate_media(color_scheme=theme, reduced_motion="reduce")
    assert_accessible(desk)
    address = f"/review/apps/{application.pk}/"
    # The first review, then an update with marks in it.
    desk.goto(address)
    assert_accessible(desk)
    review.approve_submission(submission=application.submissions.get(), actor=reviewer, reason="Welcome.")
    update(application, owner)
    publish_terms(organisation=organisation, text="New ones.")
    for path in (address, f"{address}suspend", f"{address}trust", "/review/terms/", "/review/?q=nobody"):
        desk.goto(path)
        assert_accessible(desk)
    desk.goto(address)
    desk.get_by_role("button", name="Reject", exact=True).click()
    assert_accessible(desk)
    review.suspend_application(application=application, actor=reviewer, reason="It sends spam.")
    for path in (address, f"{address}reinstate", "/review/?status=suspended"):
        desk.goto(path)
        assert_accessible(desk)


def test_page_works_without_scripts(chromium_browser, live_server, application, reviewer, password):
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/review/?status=all")
    page.get_by_label("Email").fill(reviewer.email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="Penni Budget").click()
    page.get_by_label("Note to the team").fill("Not for us.")
    page.get_by_role("button", name="Reject", exact=True).click()

    expect(page.get_by_text("You have rejected this version of Penni Budget.")).to_be_visible()
    context.close()
    assert Application.objects.get().status == Status.REJECTED


def test_reviewer_on_the_team_has_no_buttons(desk, application, reviewer):
    TeamMember.objects.create(application=application, user=reviewer, role=Role.VIEWER)

    desk.get_by_role("link", name="Penni Budget").click()

    expect(desk.get_by_text("another reviewer has to decide")).to_be_visible()
    for name in ("Approve", "Request changes", "Reject"):
        expect(desk.get_by_role("button", name=name, exact=True)).to_have_count(0)
