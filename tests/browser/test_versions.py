"""The next version of an application and those before it, in Chromium: what is sent, what goes, and what comes late."""

import time

import pytest
from playwright.sync_api import expect

from apps.accounts.models import User
from apps.developers.models import Draft, Outcome, Role, TeamMember
from apps.developers.services import review
from apps.developers.services.terms import agree_to_terms, current_terms
from apps.organisations.models import Reviewer
from tests.browser.test_accessibility import assert_accessible, phone, theme
from tests.browser.test_registering import _nothing_under_way
from tests.developers.conftest import DESCRIPTION, REASONS, waiting

__all__ = ["_nothing_under_way", "assert_accessible", "phone", "theme"]

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = f"Other words. {DESCRIPTION}"


def submit(application, member, description=OTHER, scopes=("receipt:write", "receipt:read")):
    return review.submit_version(
        application=application, actor=member, description=description, scopes=scopes, reasons=REASONS
    ).submission


@pytest.fixture
def live(application, member, organisation):
    """An approved application that `member` owns, with a description and reasons, and an update that was rejected."""
    row = application.row
    agree_to_terms(user=member, terms=current_terms(organisation))
    TeamMember.objects.create(application=row, user=member, role=Role.OWNER)
    reviewer = User.objects.create_user("rita@example.com", "rita", first_name="Rita", last_name="Reviewer")
    Reviewer.objects.create(user=reviewer, organisation=organisation)
    submit(row, member, DESCRIPTION, ["receipt:write"])
    if row.submissions.filter(outcome=Outcome.WAITING).exists():
        review.approve_submission(submission=waiting(row), actor=reviewer)
    submit(row, member)
    review.reject_submission(submission=waiting(row), actor=reviewer, reason="Say who runs it, and from where.")
    row.refresh_from_db()
    return row


@pytest.fixture
def open_page(page, log_in, live):
    """Log in as the owner and open a page about the application's versions."""

    def call(name="version/"):
        page.goto(f"/developer/apps/{live.pk}/{name}")
        if "/login/" in page.url:
            log_in()
        expect(page.get_by_role("navigation", name="Application")).to_be_visible()

    return call


def description(page):
    return page.get_by_label("Description", exact=True)


def wait_until(is_so):
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_from_a_rejected_version_back_to_what_is_live(page, open_page, live):
    open_page()
    expect(description(page)).to_have_value(OTHER)
    description(page).fill("Something half written.")
    expect(page.locator("[data-draft-status]")).to_contain_text("Draft saved")

    page.get_by_role("link", name="Start from what is live").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start from what is live?")
    page.get_by_text("What is replaced", exact=True).click()
    expect(page.get_by_text("Something half written.")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    expect(description(page)).to_have_value("Something half written.")

    page.get_by_role("link", name="Start from what is live").click()
    page.get_by_role("button", name="Yes, start from what is live").click()
    expect(page.get_by_role("status").filter(has_text="The form holds what is live.")).to_be_visible()
    expect(description(page)).to_have_value(DESCRIPTION)
    expect(page.get_by_role("checkbox", name="Sending receipts", exact=True)).to_be_checked()
    expect(page.get_by_role("checkbox", name="Reading receipts", exact=True)).not_to_be_checked()
    expect(page.get_by_text("Nothing is different from what is live")).to_be_visible()

    page.get_by_role("button", name="Start from version").click()
    expect(description(page)).to_have_value(OTHER)
    assert not Draft.objects.exists()


def test_what_was_typed_just_before_starting_afresh_stays_forgotten(page, open_page, live):
    """Pressed before the moment is over after which it is saved."""
    Draft.objects.create(user=live.team.get().user, application=live, fields={"description": ["An older draft."]})
    open_page()
    sent = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/draft") else None)
    description(page).fill("Typed in the last moment.")
    page.get_by_role("button", name="Start afresh").click()

    expect(description(page)).to_have_value(OTHER)
    page.wait_for_timeout(1500)  # over the moment after which a change is saved
    assert len(sent) == 1
    assert not Draft.objects.exists()


def test_save_that_arrives_after_the_form_was_sent_is_refused(page, open_page, live):
    """The script's own request, held up on its way until the answer to the form is there."""
    open_page()
    held = []
    page.route("**/version/draft", lambda route: held.append(route.request) if not held else route.continue_())
    description(page).fill(f"Newer words. {DESCRIPTION}")
    wait_until(lambda: held or page.wait_for_timeout(50))
    late = held[0]
    page.get_by_role("button", name="Send for review").click()
    expect(page.get_by_text("waits for the review. What is live goes on")).to_be_visible()
    assert not Draft.objects.exists()

    answer = page.context.request.post(
        late.url,
        data=late.post_data_buffer,
        headers={"Content-Type": late.headers["content-type"], "Referer": page.url},
    )

    assert answer.status == 409
    assert "Not kept as a draft" in answer.json()["message"]
    assert not Draft.objects.exists()
    page.reload()
    expect(page.get_by_text("We kept what you wrote")).not_to_be_visible()


def test_other_tab_is_told_that_the_form_was_sent_and_goes_on(page, open_page, live):
    open_page()
    other = page.context.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Send for review").click()
    expect(page.get_by_text("waits for the review. What is live goes on")).to_be_visible()

    description(other).fill("A thought in the other tab.")
    expect(other.locator("[data-draft-status]")).to_contain_text("Not kept as a draft")
    assert not Draft.objects.exists()

    other.get_by_role("button", name="Save draft").click()
    expect(other.get_by_role("alert")).to_contain_text("Not kept as a draft")
    expect(description(other)).to_have_value("A thought in the other tab.")
    other.get_by_role("button", name="Save draft").click()
    expect(other.get_by_text("Your draft is saved.")).to_be_visible()
    expect(description(other)).to_have_value("A thought in the other tab.")


def test_versions_are_read_one_by_one(page, open_page, live):
    open_page("")
    page.get_by_role("link", name="Versions sent for review").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Versions")
    newest = page.locator(".sent-versions > li").first
    expect(newest).to_contain_text("Rejected")
    expect(newest).to_contain_text("Decided by Rita Reviewer, reviewer")
    expect(newest).to_contain_text("Say who runs it, and from where.")

    newest.get_by_role("link").click()
    number = live.submissions.order_by("-number").first().number
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Version {number}")
    expect(page.get_by_role("region", name="What it said")).to_contain_text("Other words. word word")
    expect(page.get_by_role("region", name="What is different from").locator("ins").first).to_contain_text(
        "Other words."
    )
    page.get_by_role("navigation", name="Versions").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Versions")


def test_all_of_it_works_without_a_script(chromium_browser, live_server, live, member, password):
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/developer/apps/{live.pk}/version/")
    page.get_by_label("Email").fill(member.email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()

    page.get_by_role("link", name="Start from what is live").click()
    page.get_by_role("button", name="Yes, start from what is live").click()
    expect(description(page)).to_have_value(DESCRIPTION)
    page.get_by_role("link", name="All versions that were sent for review").click()
    page.locator(".sent-versions > li").first.get_by_role("link").click()
    expect(page.get_by_role("region", name="What it said")).to_contain_text("Other words.")
    context.close()


def test_pages_are_accessible(phone, assert_accessible, open_page, live, member):
    Draft.objects.create(user=member, application=live, fields={"description": ["A draft. " * 30]})
    number = live.submissions.order_by("-number").first().number
    for name in ("versions/", f"versions/{number}/", "versions/1/", "version/live", "version/"):
        open_page(name)
        assert_accessible(phone)
