"""A team reads what it has sent for review, and what came of it (CONTRACT section 9)."""

import html
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.console.views import sent_versions
from apps.developers.models import Role, Submission
from apps.developers.services import review
from apps.developers.services.applications import create_application
from apps.developers.services.terms import agree_to_terms, current_terms
from tests.console.conftest import client_of
from tests.developers.conftest import DESCRIPTION, REASONS, waiting

pytestmark = pytest.mark.spec("CONTRACT", "9 (versions)")

BOTH = ["receipt:write", "receipt:read"]


def address_of(application, number="") -> str:
    return f"/developer/apps/{application.pk}/versions/{f'{number}/' if number else ''}"


def text_of(response) -> str:
    """What a person reads on the page, besides its navigation."""
    assert response.status_code == 200
    page = response.content.decode()
    main = page.partition("<h1")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", f"<h1{main}")).split())


def entries_of(response) -> list[str]:
    """The versions of the list, each as it is read."""
    listed = response.content.decode().partition('<ul class="rows sent-versions">')[2].partition("</main>")[0]
    parts = re.split(r"<strong>Version ", listed)[1:]
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", f"Version {part}")).split()) for part in parts]


@pytest.fixture
def with_history(live, submit, join, reviewer):
    """An approved application with a version of each outcome."""
    dora = join(live, email="dora@example.com").user
    submit(live, description=f"Second. {DESCRIPTION}")
    review.reject_submission(submission=waiting(live), actor=reviewer, reason="Say <b>who</b> runs it.")
    submit(live, actor=dora, description=f"Third. {DESCRIPTION}")
    review.request_changes(submission=waiting(live), actor=reviewer, reason="Nearly there: mend the end.")
    submit(live, description=f"Fourth. {DESCRIPTION}")
    review.withdraw_submission(submission=waiting(live), actor=dora)
    submit(live, description=f"Fifth. {DESCRIPTION}")
    submit(live, actor=dora, description=f"Sixth. {DESCRIPTION}", scopes=BOTH)
    return live


def test_list_says_who_sent_what_and_what_came_of_it(team, with_history):
    day = timezone.now().strftime("%-d %B %Y")
    sixth, fifth, fourth, third, second, first = entries_of(team.get(address_of(with_history)))

    assert sixth.startswith("Version 6 Waiting for review Sent by Dora, ")
    assert "Decided" not in sixth
    assert fifth.startswith("Version 5 Withdrawn Sent by Olive Owner, ")
    assert "A later version took its place, " in fifth
    assert fourth.startswith("Version 4 Withdrawn Sent by Olive Owner, ")
    assert "Taken back by Dora, " in fourth
    assert third.startswith("Version 3 Changes requested Sent by Dora, ")
    assert third.endswith("Nearly there: mend the end.")
    assert second.startswith("Version 2 Rejected Sent by Olive Owner, ")
    assert "Decided by Rita Reviewer, reviewer, " in second
    assert "Say <b>who</b> runs it." in second
    assert first.startswith("Version 1 Approved Sent by Olive Owner, ")
    assert all(day in entry for entry in (sixth, fifth, fourth, third, second, first))


def test_note_of_a_reviewer_is_escaped(team, with_history):
    page = team.get(address_of(with_history)).content.decode()

    assert "Say &lt;b&gt;who&lt;/b&gt; runs it." in page
    assert "Say <b>who" not in page


def test_each_version_has_a_page_that_says_what_it_said(team, with_history):
    for number, word in enumerate(["Second.", "Third.", "Fourth.", "Fifth.", "Sixth."], start=2):
        assert f'href="{address_of(with_history, number)}"' in team.get(address_of(with_history)).content.decode()
        said = text_of(team.get(address_of(with_history, number))).partition("What it said ")[2]
        assert said.startswith(f"{word} word word")


def test_page_of_a_version_shows_scopes_reasons_and_the_note_as_they_were(team, live, submit, reviewer):
    reasons = {**REASONS, "receipt:read": "We count <i>rolls</i>."}
    submit(live, scopes=BOTH, reasons=reasons, optional_scopes=["receipt:read"])
    review.reject_submission(submission=waiting(live), actor=reviewer, reason="Not so many.")
    submit(live, scopes=BOTH, reasons={**REASONS, "receipt:read": "We count buns."})
    review.approve_submission(submission=waiting(live), actor=reviewer)

    response = team.get(address_of(live, 2))

    text = text_of(response)
    assert text.startswith("Version 2 What came of it Rejected Sent by Olive Owner, ")
    assert "Not so many." in text
    assert "Reading receipts Optional We count <i>rolls</i>." in text
    assert "We count &lt;i&gt;rolls&lt;/i&gt;." in response.content.decode()
    assert "We count buns." not in text


def test_page_of_a_version_marks_what_is_different_from_the_one_before(team, live, submit):
    submit(live, description=f"We bake. {DESCRIPTION}", scopes=BOTH)
    submit(live, description=f"We roast. {DESCRIPTION}", scopes=["receipt:read"])

    page = team.get(address_of(live, 3)).content.decode()
    changes = text_of(team.get(address_of(live, 3))).partition("What is different from version 2")[2]

    assert re.search(r"<del><span[^>]*>\[removed: </span>bake\.", page)
    assert re.search(r"<ins><span[^>]*>\[added: </span>roast\.", page)
    assert "Sending receipts receipt:write Removed" in changes
    assert "comparable" not in changes


def test_version_with_the_same_words_says_so(team, live, submit):
    submit(live, scopes=BOTH)
    submit(live, scopes=BOTH, optional_scopes=["receipt:read"])

    changes = text_of(team.get(address_of(live, 3))).partition("What is different from version 2 ")[2]

    assert changes.startswith("The description is the same.")
    assert "It was not optional before." in changes


def test_first_version_is_compared_with_nothing(team, live):
    assert "What is different" not in text_of(team.get(address_of(live, 1)))


def test_overview_and_version_page_lead_to_the_list(team, live):
    for page in ("", "version/"):
        assert f'href="{address_of(live)}"' in team.get(f"/developer/apps/{live.pk}/{page}").content.decode()


def test_nothing_that_only_reviewers_see_is_on_the_pages(team, with_history, organisation, owner, join):
    """What a reviewer's page has besides: the terms, who has not agreed to them, other applications' numbers."""
    texts = [text_of(team.get(address_of(with_history, number))) for number in ("", 1, 2, 6)]

    for text in texts:
        assert "agreed" not in text
        assert "comparable" not in text
        assert "rita@example.com" not in text
        assert "owner@example.com" not in text


# --- how many ------------------------------------------------------------------------------------------


def test_list_has_pages(team, live, submit, monkeypatch):
    monkeypatch.setattr(sent_versions, "PAGE_SIZE", 2)
    for number in range(4):
        submit(live, description=f"Number {number}. {DESCRIPTION}")

    first, last = team.get(address_of(live)), team.get(f"{address_of(live)}?page=3")

    assert [entry[:9] for entry in entries_of(first)] == ["Version 5", "Version 4"]
    assert "Page 1 of 3" in text_of(first)
    assert "?page=2" in first.content.decode()
    assert [entry[:9] for entry in entries_of(last)] == ["Version 1"]


@pytest.mark.parametrize("page", ["0", "99", "x", "-1", "٢"])
def test_page_that_is_none_gives_the_nearest(team, live, page):
    assert entries_of(team.get(address_of(live), {"page": page}))[0].startswith("Version 1 ")


def fill(application, submit, number: int) -> None:
    """Let there be versions of every outcome, each sent by somebody, with notes of who took them back."""
    for each in range(number):
        sent = submit(application, description=f"{each}. {DESCRIPTION}").submission
        if each % 2:
            review.withdraw_submission(submission=sent, actor=sent.submitted_by)
    Submission.objects.update(submitted_at=timezone.now() - timedelta(days=1))


@pytest.mark.parametrize("number", ["", 2])
def test_number_of_queries_does_not_grow_with_the_versions(
    team, live, submit, number, django_assert_num_queries, django_assert_max_num_queries
):
    fill(live, submit, 2)
    with CaptureQueriesContext(connection) as few:
        team.get(address_of(live, number))
    fill(live, submit, 12)
    fill(live, submit, 12)

    with django_assert_num_queries(len(few)):
        response = team.get(address_of(live, number))

    assert response.status_code == 200
    assert len(few) <= 12


# --- who -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["", 1])
@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEVELOPER, Role.OWNER])
def test_everybody_on_the_team_reads_them(live, join, organisation, role, number):
    user = join(live, role).user
    agree_to_terms(user=user, terms=current_terms(organisation))

    assert client_of(user).get(address_of(live, number)).status_code == 200


@pytest.mark.parametrize("number", ["", 1])
def test_for_everybody_else_there_is_nothing(live, reviewer, make_user, join, number):
    former = join(live, email="fred@example.com")
    former.delete()

    for user in (make_user("stranger@example.com"), reviewer, former.user):
        assert client_of(user).get(address_of(live, number)).status_code == 404
    assert Client().get(address_of(live, number)).status_code == 302


def test_version_of_another_application_is_not_found(team, live, register, submit):
    other, _secret = register(name="Another")
    submit(other)

    assert team.get(address_of(other, 2)).status_code == 200
    assert team.get(address_of(live, 2)).status_code == 404


@pytest.mark.parametrize("number", ["0", "2", "99999999999999999999", "9" * 400])
def test_number_of_no_version_is_not_found(team, live, number):
    assert team.get(address_of(live, number)).status_code == 404


@pytest.mark.parametrize("number", ["", 1])
def test_service_is_no_business_of_the_portal(make_application, join, number):
    service = make_application("service").row
    client = client_of(join(service, Role.OWNER).user)

    assert client.get(address_of(service, number)).status_code == 404
    assert address_of(service) not in client.get(f"/developer/apps/{service.pk}/").content.decode()


def test_version_of_an_administrator_was_sent_and_decided_by_nobody(organisation, join):
    application, _secret = create_application(
        name="Made here",
        profile="connection",
        organisation=organisation,
        redirect_uris=["https://made.example/callback"],
        scopes=["receipt:write"],
        is_approved=True,
    )

    (entry,) = entries_of(client_of(join(application).user).get(address_of(application)))

    assert entry.startswith("Version 1 Approved Sent ")
    assert "Sent by" not in entry
    assert "Decided by" not in entry


def test_where_nothing_was_sent_the_page_says_so(make_application, join):
    row = make_application("connection").row

    assert "No version has been sent yet" in text_of(client_of(join(row).user).get(address_of(row)))


@pytest.mark.parametrize("number", ["", 1])
def test_pages_take_no_form(team, live, number):
    assert team.post(address_of(live, number), {}).status_code == 405
