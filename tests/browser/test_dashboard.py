"""An application's team at work in Chromium: secrets, invitations, logo, deletion; every page is accessible."""

import io
import re
import uuid
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core import mail
from django.test import Client
from django.utils import timezone
from PIL import Image
from playwright.sync_api import expect
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.activity.models import ActivityCount, RedirectMismatch
from apps.developers.models import Invitation, Role, TeamMember
from tests.conftest import run_job

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ["", "credentials/", "branding/", "redirects/", "team/", "webhook/", "activity/", "delete/"]


@pytest.fixture
def team_application(application, member):
    """An approved application that `member` owns."""
    TeamMember.objects.create(application=application.row, user=member, role=Role.OWNER)
    return application


@pytest.fixture
def dashboard(page, log_in, team_application):
    """Log in as the owner and open a page of the dashboard."""

    def open_page(name=""):
        page.goto(f"/developer/apps/{team_application.row.pk}/{name}")
        if "/login/" in page.url:
            log_in()
        expect(page.get_by_role("navigation", name="Application")).to_be_visible()

    return open_page


def may_authenticate(application, secret):
    """Say whether the token door takes the secret: what it says of the code comes after."""
    answer = Client().post(
        "/api/oauth/token",
        {"grant_type": "authorization_code", "code": "x", "client_id": application.client_id, "client_secret": secret},
    )
    return answer.json()["error"] == "invalid_grant"


def send_mails():
    """Do the worker's part: send what is queued."""
    for row in ProcrastinateJob.objects.filter(queue_name="mail", status="todo"):
        run_job(row)
        ProcrastinateJob.objects.filter(pk=row.pk).delete()


def test_the_old_secret_works_on_beside_the_new_one(page, dashboard, team_application):
    dashboard("credentials/")
    page.get_by_label("The old secret works on for").select_option("1 hour")
    page.get_by_role("button", name="Make a new secret").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new client secret")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the client secret").click()
    new = page.evaluate("navigator.clipboard.readText()")
    assert new not in page.url
    assert may_authenticate(team_application, team_application.secret)
    assert may_authenticate(team_application, new)

    # Loading the answer again sends the form again, and must not lose the secret that was just copied.
    page.reload()
    expect(page.get_by_text("Nothing was changed now")).to_be_visible()
    assert may_authenticate(team_application, new)

    dashboard("credentials/")
    page.get_by_role("button", name="End the previous secret now").click()
    expect(page.get_by_text("The previous client secret works no more.")).to_be_visible()
    assert not may_authenticate(team_application, team_application.secret)
    assert may_authenticate(team_application, new)
    assert new not in page.content()


def test_somebody_without_an_account_follows_an_invitation_onto_the_team(
    page, dashboard, team_application, live_server
):
    dashboard("team/")
    page.get_by_label("E-mail address").fill("nora@example.com")
    page.get_by_label("Role", exact=True).select_option("Viewer")
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.get_by_text("The invitation is on its way to nora@example.com.")).to_be_visible()
    send_mails()
    [message] = [message for message in mail.outbox if message.to == ["nora@example.com"]]
    path = re.search(r"/developer/invitations/[0-9a-f-]+/", message.body)[0]
    page.context.clear_cookies()

    page.goto(path)
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("First name").fill("Nora")
    page.get_by_label("Last name").fill("Newcomer")
    page.get_by_label("Email").fill("nora@example.com")
    page.get_by_label("Password", exact=True).fill(f"p-{uuid.uuid4()}")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url("**/confirm-email/")
    send_mails()
    confirmation = next(message.body for message in reversed(mail.outbox) if "/confirm-email/" in message.body)
    page.goto(re.search(r"/account/confirm-email/[^/\s]+/", confirmation)[0])
    page.get_by_role("button", name="Yes, confirm it").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(f"Join the team of {team_application.row.name}?")
    expect(page.get_by_text("You see everything and change nothing.")).to_be_visible()
    page.get_by_role("button", name="Join the team").click()
    expect(page.get_by_text(f"Welcome to the team of {team_application.row.name}.")).to_be_visible()
    assert team_application.row.team.get(user__email="nora@example.com").role == Role.VIEWER
    expect(page.get_by_role("button", name="Send the comment")).to_have_count(0)


def test_a_logo_is_uploaded_and_shown(page, dashboard, team_application, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    output = io.BytesIO()
    Image.new("RGB", (640, 480), "#7c3aed").save(output, "WEBP")
    dashboard("branding/")
    page.get_by_label("New logo", exact=True).set_input_files(
        {"name": "logo.webp", "mimeType": "image/webp", "buffer": output.getvalue()}
    )
    page.get_by_role("button", name="Upload the logo").click()

    expect(page.get_by_text("The new logo is there.")).to_be_visible()
    # Pictures arrive after their page.
    expect(page.locator("img.logo")).to_have_count(3)
    for logo in page.locator("img.logo").all():
        expect(logo).to_have_js_property("naturalWidth", 480)
    page.get_by_role("button", name="Remove the logo").click()
    expect(page.locator("img.logo")).to_have_count(0)


def test_an_address_that_did_not_match_is_added(page, dashboard, team_application):
    now = timezone.now()
    RedirectMismatch.objects.create(
        application=team_application.row,
        presented="https://partner.example/other",
        differs="path",
        closest=team_application.row.redirect_uris,
        count=2,
        first_seen_at=now,
        last_seen_at=now,
    )
    dashboard("redirects/")
    page.get_by_role("link", name="Add this URL").click()
    expect(page.get_by_label("Redirect URLs")).to_have_value(
        f"{team_application.row.redirect_uris}\nhttps://partner.example/other"
    )
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Registered since")).to_be_visible()
    team_application.row.refresh_from_db()
    assert "https://partner.example/other" in team_application.row.redirect_uri_list


def test_an_application_is_deleted_by_typing_its_name(page, dashboard, team_application):
    dashboard("delete/")
    page.get_by_label("Name of the application").fill("Something else")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("This is not the name.")).to_be_visible()
    page.get_by_label("Name of the application").fill(team_application.row.name)
    page.get_by_role("button", name="Delete for good").click()

    expect(page.get_by_text(f"{team_application.row.name} is deleted.")).to_be_visible()
    assert not may_authenticate(team_application, team_application.secret)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_on_a_phone(page, dashboard, team_application, member, make_user, complaints, theme):
    row, now = team_application.row, timezone.now()
    row.name, row.brand_colour = "An uncommonly long name " + "w" * 60, "#ffdd00"
    row.save()
    other = TeamMember.objects.create(application=row, user=make_user("x" * 60 + "@example.com"), role="viewer")
    invitation = Invitation.objects.create(
        application=row, email=member.email, role="viewer", invited_by=member, expires_at=now + timedelta(days=1)
    )
    RedirectMismatch.objects.create(
        application=row,
        presented="https://partner.example/" + "x" * 400,
        differs="path",
        closest=row.redirect_uris,
        count=2,
        first_seen_at=now,
        last_seen_at=now,
    )
    for kind, code in [("authorisation", ""), ("error", "invalid_grant"), ("error", "redirect_uri_mismatch")]:
        ActivityCount.objects.create(application=row, day=now.date(), kind=kind, code=code, count=1_234_567)
    page.set_viewport_size({"width": 320, "height": 700})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")

    dashboard("")
    page.get_by_label("Comment").fill("One line " + "x" * 200)
    page.get_by_role("button", name="Send the comment").click()
    expect(page.get_by_text("Your comment is on the timeline")).to_be_visible()
    assert_accessible(page, complaints)
    for name in [*PAGES, f"team/{other.pk}/remove"]:
        dashboard(name)
        for summary in page.locator("main summary").all():
            summary.click()
        assert_accessible(page, complaints)
    dashboard("credentials/")
    page.get_by_role("button", name="Make a new secret").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your new client secret")
    assert_accessible(page, complaints)
    dashboard("credentials/")
    assert_accessible(page, complaints)
    page.goto(f"/developer/invitations/{invitation.pk}/")
    assert_accessible(page, complaints)


def assert_accessible(page, complaints):
    page.wait_for_load_state()  # a click that leads to a page waits for its beginning only
    assert complaints == []
    results = Axe().run(page)
    # axe tries an inline style of its own, which our policy forbids.
    complaints.clear()
    found = [
        f"{violation['id']}: {[node['html'] for node in violation['nodes']]}"
        for violation in results.response["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
    assert found == [], page.url
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page.url
