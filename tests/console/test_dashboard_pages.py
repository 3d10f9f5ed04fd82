"""Each page of an application's dashboard: who sees what, and at what cost."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.activity.models import ActivityCount, RedirectMismatch
from apps.connections.models import Connection
from apps.console.timeline import SENTENCES
from apps.console.views import overview
from apps.developers import rules
from apps.developers.history import note
from apps.developers.models import HistoryKind, Invitation, Role, Status
from apps.developers.services import review
from tests.developers.conftest import waiting

PAGES = ["", "credentials/", "branding/", "redirects/", "team/", "webhook/", "activity/", "delete/"]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


@pytest.fixture
def team_client(owner):
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def viewer_client(live, join):
    client = Client()
    client.force_login(join(live, role=Role.VIEWER, email="vera@example.com").user)
    return client


def address(application, page=""):
    return f"/developer/apps/{application.pk}/{page}"


def text_of(response):
    return " ".join(response.content.decode().split())


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_one_click_away_and_says_where_one_is(team_client, live, page):
    response = team_client.get(address(live, page))

    assert response.status_code == 200
    assert response.content.count(b"<h1") == 1
    assert 'aria-current="page"' in response.content.decode()
    for other in PAGES:
        assert f'href="{address(live, other)}"' in response.content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_reads_every_page_and_has_no_form_on_it(viewer_client, live, page):
    response = viewer_client.get(address(live, page))

    assert response.status_code == 200
    assert f'action="{address(live)}' not in response.content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_strangers_get_404_and_signed_out_visitors_log_in(browser, live, page):
    assert browser.client.get(address(live, page)).status_code == 404
    response = Client().get(address(live, page))
    assert response.status_code == 302
    assert response["Location"].startswith("/account/login/?next=/developer/apps/")


@pytest.mark.parametrize("page", PAGES)
def test_the_number_of_queries_does_not_grow_with_what_there_is(
    team_client, live, owner, join, make_user, page, django_assert_max_num_queries
):
    """The issue: 100 000 connections, any number of events; here enough to tell "one each" from "one for all"."""
    team_client.get(address(live, page))
    _fill(live, owner, join, make_user, several=2)
    with django_assert_max_num_queries(20) as few:
        team_client.get(address(live, page))
    _fill(live, owner, join, make_user, several=9)
    with django_assert_max_num_queries(len(few)):
        response = team_client.get(address(live, page))
    assert response.status_code == 200


def _fill(application, owner, join, make_user, *, several):
    now = timezone.now()
    for number in range(several):
        name = f"{several}-{number}"
        user = join(application, email=f"m{name}@example.com").user
        Connection.objects.create(user=user, application=application)
        Invitation.objects.create(
            application=application,
            email=f"i{name}@example.com",
            role="viewer",
            invited_by=user,
            expires_at=now + timedelta(days=1),
        )
        note(application, HistoryKind.COMMENTED, actor=user, text=name)
        RedirectMismatch.objects.create(
            application=application,
            presented=f"https://{name}.example/",
            differs="host",
            count=1,
            first_seen_at=now,
            last_seen_at=now,
        )
        ActivityCount.objects.create(
            application=application, day=now.date(), kind="error", code=f"invalid-{name}", count=5
        )


def test_many_connections_are_counted_up_to_a_limit(team_client, live, make_user, monkeypatch):
    monkeypatch.setattr(overview, "MOST_CONNECTIONS_COUNTED", 2)
    for number in range(2):
        Connection.objects.create(user=make_user(f"c{number}@example.com"), application=live)
    assert "over 2" not in text_of(team_client.get(address(live)))
    Connection.objects.create(user=make_user("c2@example.com"), application=live)

    assert "over 2" in text_of(team_client.get(address(live)))


def test_the_overview_says_where_the_application_is_in_the_review(team_client, pending, reviewer, submit):
    assert "Version 1 is being reviewed since" in text_of(team_client.get(address(pending)))

    review.request_changes(submission=waiting(pending), actor=reviewer, reason="Say <b>who</b> you are.\nAnd why.")
    page = text_of(team_client.get(address(pending)))
    assert "ask for changes before" in page
    assert "<p>Say &lt;b&gt;who&lt;/b&gt; you are.<br>And why.</p>" in page

    submit(pending)
    review.reject_submission(submission=waiting(pending), actor=reviewer, reason="No.")
    assert "The application was rejected" in text_of(team_client.get(address(pending)))

    submit(pending)
    review.approve_submission(submission=waiting(pending), actor=reviewer)
    page = text_of(team_client.get(address(pending)))
    assert "users can authorise it" in page
    assert f'href="{address(pending, "integrate/")}"' in page

    submit(pending, scopes=["receipt:write", "receipt:read"])
    assert "Version 4 waits for review" in text_of(team_client.get(address(pending)))
    review.request_changes(submission=waiting(pending), actor=reviewer, reason="Why reading?")
    page = text_of(team_client.get(address(pending)))
    assert "changes to version 4; the live version goes on" in page
    assert "Why reading?" in page

    review.suspend_application(application=pending, actor=reviewer, reason="Complaints.")
    page = text_of(team_client.get(address(pending)))
    assert "The application is suspended" in page
    assert "Complaints." in page


def test_a_comment_is_on_the_timeline_with_its_author_and_its_lines(team_client, live, mails):
    mails()
    response = team_client.post(address(live, "comment"), {"text": f"One\r\nTwo {EVIL}"}, follow=True)

    assert response.redirect_chain == [(address(live), 302)]
    page = text_of(response)
    assert "One<br>Two &lt;script&gt;" in page
    assert "Olive Owner ·" in page
    assert "<script>alert" not in page
    assert [message.to for message in mails()] == [["rita@example.com"]]


def test_a_reviewer_s_entry_says_that_it_is_one(team_client, live):
    assert "Rita Reviewer, reviewer ·" in text_of(team_client.get(address(live)))


@pytest.mark.parametrize(
    ("typed", "message"),
    [("", "Write something first."), (" \r\n ", "Write something first."), ("x" * 5001, "at most 5")],
)
def test_a_comment_that_is_none_is_refused_and_kept(team_client, live, typed, message):
    before = live.history.count()
    response = team_client.post(address(live, "comment"), {"text": typed})

    assert response.status_code == 400
    assert message in text_of(response)
    assert typed.strip() in response.content.decode()
    assert live.history.count() == before


def test_a_line_end_of_a_comment_counts_as_one_character(team_client, live):
    """Browsers send two."""
    longest = "\n".join(["x" * 49] * 100)
    assert len(longest) == rules.MAX_COMMENT_LENGTH - 1

    team_client.post(address(live, "comment"), {"text": longest.replace("\n", "\r\n") + "y"})
    assert live.history.latest("pk").text == longest + "y"
    assert team_client.post(address(live, "comment"), {"text": longest + "yz"}).status_code == 400


def test_a_character_that_cannot_be_stored_is_refused(team_client, live):
    response = team_client.post(address(live, "comment"), {"text": "a\x00b"})

    assert response.status_code == 400


def test_a_viewer_sends_no_comment(viewer_client, live):
    assert viewer_client.post(address(live, "comment"), {"text": "Hello"}).status_code == 403


def test_a_long_timeline_has_pages(team_client, live, owner):
    for number in range(60):
        note(live, HistoryKind.COMMENTED, actor=owner, text=f"Comment number {number}.")

    first, second = team_client.get(address(live)), team_client.get(f"{address(live)}?page=2")

    assert "Comment number 59." in text_of(first)
    assert "Comment number 9." not in text_of(first)
    assert "Comment number 9." in text_of(second)
    assert team_client.get(f"{address(live)}?page=nonsense").status_code == 200
    assert team_client.get(f"{address(live)}?page=999").status_code == 200


@pytest.mark.parametrize("kind", HistoryKind.values)
def test_everything_that_can_happen_has_a_sentence(team_client, live, owner, kind):
    assert kind in SENTENCES
    details = {
        "email": EVIL,
        "member": EVIL,
        "role": "viewer",
        "old_role": "owner",
        "number": 1,
        "fields": ["name", EVIL],
        "overlap_seconds": 259_200,
        "added": [EVIL],
        "removed": [EVIL],
        "scopes": [EVIL],
        "changed": [EVIL],
        "description": True,
        "url": EVIL,
    }
    note(live, HistoryKind(kind), actor=owner, text=EVIL, **details)
    note(live, HistoryKind(kind), actor=None)

    response = team_client.get(address(live))

    assert response.status_code == 200
    assert "<script>alert" not in response.content.decode()
    assert "<img src=x" not in response.content.decode()


def test_text_in_the_application_s_own_fields_is_harmless(team_client, live):
    live.name = live.description = EVIL
    live.website_url = "https://penni.example/?<script>alert(1)</script>"
    live.save()

    for page in PAGES:
        content = team_client.get(address(live, page)).content.decode()
        assert "<script>alert" not in content
        assert "<img src=x" not in content


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.DELETED])
def test_every_status_is_a_word_at_the_top_of_every_page(team_client, live, status):
    live.status = status
    live.save()

    for page in PAGES:
        assert str(Status(status).label) in text_of(team_client.get(address(live, page)))


@pytest.mark.parametrize(
    ("action", "page"),
    [
        ("comment", ""),
        ("credentials/new", "credentials/"),
        ("credentials/end", "credentials/"),
        ("team/invite", "team/"),
        ("team/1/role", "team/"),
        ("team/transfer", "team/"),
        ("team/invitations/5a1d3a67-6f4b-4a3e-8d5e-0c3b2a190817/cancel", "team/"),
    ],
)
def test_the_address_of_a_form_leads_to_its_page(team_client, live, browser, action, page):
    """After a log-in in between, people come back to the address that the form was sent to."""
    response = team_client.get(address(live, action))

    assert (response.status_code, response["Location"]) == (302, address(live, page))
    assert browser.client.get(address(live, action)).status_code == 404


def test_the_activity_page_draws_and_tells_the_same_numbers(team_client, live):
    today = timezone.now().date()
    for kind, code, count in [
        ("authorisation", "", 1234),
        ("denial", "", 3),
        ("token", "authorization_code", 1200),
        ("error", "invalid_grant", 7),
        ("error", "something_new", 1),
    ]:
        ActivityCount.objects.create(application=live, day=today, kind=kind, code=code, count=count)
    ActivityCount.objects.create(
        application=live, day=today - timedelta(days=1), kind="authorisation", code="", count=1
    )

    page = text_of(team_client.get(address(live, "activity/")))

    assert 'aria-label="Authorisations: 1,235 in 30 days, at most 1,234 on ' in page
    assert "<td>1,234</td>" in page
    assert page.count('<svg class="chart-bars') == 4
    assert "Redeem each code once" in page
    assert "something_new" in page
    assert "style=" not in page


def test_an_application_that_has_done_nothing_has_no_empty_charts(team_client, live):
    page = text_of(team_client.get(address(live, "activity/")))

    assert "Nothing has happened" in page
    assert "<svg" not in page.partition("<h1")[2]
