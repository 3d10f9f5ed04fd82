"""Description and scopes of a registered application: the draft against what is live (CONTRACT section 9)."""

import html
import re

import pytest
from django.test import Client

from apps.developers.models import Application, Draft, Outcome, Role, Status
from apps.developers.services import review
from tests.console.conftest import client_of
from tests.developers.conftest import DESCRIPTION, waiting

OTHER_DESCRIPTION = "other " * 130
WRITE = {"scopes": ["receipt:write"], "reason-receipt:write": "We send receipts."}
BOTH = {
    "scopes": ["receipt:write", "receipt:read"],
    "reason-receipt:write": "We send receipts.",
    "reason-receipt:read": "We show receipts.",
}


def address_of(application: Application, action: str = "") -> str:
    return f"/developer/apps/{application.pk}/version/{action}"


def page_of(client: Client, application: Application) -> str:
    response = client.get(address_of(application))
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def differences(page: str) -> list[str]:
    shown = re.search(r'<ul class="differences".*?</ul>', page, re.DOTALL)[0]
    return [item.strip() for item in re.findall(r"<li[^>]*>(.*?)</li>", shown, re.DOTALL)]


def typed_description(page: str) -> str:
    return re.search(r"<textarea id=\"id_description\"[^>]*>\s*(.*?)</textarea>", page, re.DOTALL)[1].strip()


def seen_on(page: str) -> str:
    """The mark that the form sends along."""
    return carried_by(page)["seen"]


def carried_by(page: str) -> dict[str, str]:
    """What the form sends along with what is typed."""
    return dict(re.findall(r'name="(seen|form_key)" value="(\w*)"', page))


def is_ticked(page: str, scope: str) -> bool:
    return bool(re.search(rf'id="id_scope-{scope}"[^>]*checked', page))


# --- what the page begins with ------------------------------------------------------------------------


def test_page_begins_with_the_live_version(team, live):
    page = page_of(team, live)

    assert typed_description(page) == DESCRIPTION
    assert is_ticked(page, "receipt:write")
    assert not is_ticked(page, "receipt:read")
    assert "We send receipts." in page
    assert differences(page) == ["Nothing is different from what is live, so nothing would have to be reviewed."]


def test_page_begins_with_what_waits(team, live, submit):
    submit(live, description=OTHER_DESCRIPTION)

    page = page_of(team, live)

    assert "Version 2 waits for the review" in page
    assert typed_description(page) == OTHER_DESCRIPTION.strip()
    assert differences(page) == ["The description is another: it waits for the review."]


def test_page_begins_with_the_version_that_changes_were_asked_for(team, live, submit, reviewer):
    submit(live, description=OTHER_DESCRIPTION)
    review.request_changes(submission=waiting(live), actor=reviewer, reason="Say <b>why</b>.")

    page = team.get(address_of(live)).content.decode()

    assert typed_description(page) == OTHER_DESCRIPTION.strip()
    assert "The reviewers asked for changes to version 2" in page
    assert "Say &lt;b&gt;why&lt;/b&gt;." in page


def test_what_the_reviewers_asked_for_stays_in_sight_until_a_version_is_sent(team, live, submit, reviewer):
    submit(live, description=OTHER_DESCRIPTION)
    review.request_changes(submission=waiting(live), actor=reviewer, reason="Say who runs it.")
    carried = carried_by(page_of(team, live))

    short = team.post(address_of(live), {**carried, "description": "short", **WRITE})
    stale = team.post(address_of(live), {"seen": "another", "description": OTHER_DESCRIPTION, **WRITE})
    saved = team.post(address_of(live, "draft"), {**carried, "description": "My draft."})
    with_draft = team.get(address_of(live))

    assert [each.status_code for each in (short, stale, saved, with_draft)] == [400, 409, 200, 200]
    for response in (short, stale, with_draft):
        assert "Say who runs it." in response.content.decode()
    assert "Say who runs it." not in send(team, live, **WRITE, description=OTHER_DESCRIPTION)


def test_page_begins_with_an_update_that_was_rejected_and_says_why(team, live, submit, reviewer):
    submit(live, description=OTHER_DESCRIPTION)
    review.reject_submission(submission=waiting(live), actor=reviewer, reason="Say who runs it.")

    page = page_of(team, live)

    assert typed_description(page) == OTHER_DESCRIPTION.strip()
    assert "The reviewers rejected version 2:" in page
    assert "Say who runs it." in page


def test_page_begins_with_the_live_version_again_once_the_next_update_is_approved(team, live, submit, reviewer):
    submit(live, description=OTHER_DESCRIPTION)
    review.reject_submission(submission=waiting(live), actor=reviewer, reason="Say who runs it.")
    submit(live, description=f"We run it. {DESCRIPTION}")
    review.approve_submission(submission=waiting(live), actor=reviewer)

    page = page_of(team, live)

    assert typed_description(page) == f"We run it. {DESCRIPTION}"
    assert "Say who runs it." not in page


def test_draft_comes_before_all_of_them(team, live, submit):
    submit(live, description=OTHER_DESCRIPTION)
    carried = carried_by(page_of(team, live))
    team.post(address_of(live, "draft"), {**carried, "description": "My draft.", "scopes": ["receipt:read"]})

    page = page_of(team, live)

    assert typed_description(page) == "My draft."
    assert differences(page) == [
        "“Sending receipts” ends at once, for everybody who has connected.",
        "“Reading receipts” is new: it waits for the review.",
        "The description is another: it waits for the review.",
    ]


# --- sending -------------------------------------------------------------------------------------------


def send(client: Client, application: Application, **fields) -> str:
    typed = {"seen": seen_on(page_of(client, application)), "description": DESCRIPTION, **fields}
    response = client.post(address_of(application), typed, follow=True)
    assert response.redirect_chain == [(address_of(application), 302)], response.content.decode()
    return html.unescape(response.content.decode())


def test_added_scope_waits_and_the_live_version_goes_on(team, live):
    page = send(team, live, **BOTH)

    live.refresh_from_db()
    assert live.scopes == ["receipt:write"]
    assert waiting(live).scope_names == ["receipt:write", "receipt:read"]
    assert "Version 2 waits for the review. What is live goes on until it is approved." in page
    assert "Ended at once" not in page


def test_removed_scope_ends_at_once_and_nothing_waits(team, live, submit, reviewer):
    submit(live, scopes=["receipt:write", "receipt:read"])
    review.approve_submission(submission=waiting(live), actor=reviewer)

    page = send(team, live, **WRITE)

    live.refresh_from_db()
    assert live.scopes == ["receipt:write"]
    assert not live.submissions.filter(outcome=Outcome.WAITING).exists()
    assert "Ended at once: “Reading receipts”." in page
    assert "nothing waits for the review" in page


def test_removed_and_changed_at_once_says_both(team, live, submit, reviewer):
    submit(live, scopes=["receipt:write", "receipt:read"])
    review.approve_submission(submission=waiting(live), actor=reviewer)

    page = send(team, live, **{**WRITE, "description": OTHER_DESCRIPTION})

    assert "Ended at once: “Reading receipts”." in page
    assert "Version 3 waits for the review." in page


def test_what_is_sent_unchanged_is_not_reviewed(team, live):
    assert "nothing waits for the review" in send(team, live, **WRITE)
    assert live.submissions.count() == 1


def test_line_ends_of_a_browser_are_no_change(team, live, submit, reviewer):
    submit(live, description="First line.\n" + DESCRIPTION, reasons={"receipt:write": "One.\nTwo three."})
    review.approve_submission(submission=waiting(live), actor=reviewer)

    page = send(
        team, live, scopes=["receipt:write"], description="First line.\r\n" + DESCRIPTION,
        **{"reason-receipt:write": "One.\r\nTwo three."},
    )  # fmt: skip

    assert "nothing waits for the review" in page


def test_pending_application_is_sent_anew(team, pending):
    page = page_of(team, pending)
    assert "Nobody can connect yet." in page
    assert differences(page) == ["Nothing is different from what you sent last."]

    page = send(team, pending, **BOTH)

    pending.refresh_from_db()
    assert pending.scopes == ["receipt:write", "receipt:read"]
    assert "Version 2 is sent for review." in page
    assert "goes on until" not in page


def test_sending_forgets_the_draft(team, live):
    team.post(address_of(live, "draft"), {**carried_by(page_of(team, live)), "description": "My draft."})

    send(team, live, **BOTH)

    assert not Draft.objects.exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**WRITE, "description": "word " * 126}, "Use at least 127 words (you wrote 126)."),
        ({**WRITE, "description": "word " * 512}, "Use at most 511 words (you wrote 512)."),
        ({"scopes": []}, "Choose at least one scope."),
        ({"scopes": ["person.full_name"]}, "Select a valid choice."),
        ({**WRITE, "reason-receipt:write": "short"}, "Say why in 10 to 280 characters."),
        ({**WRITE, "reason-receipt:write": "r" * 281}, "Say why in 10 to 280 characters."),
        ({**WRITE, "description": "\x00" + "word " * 127}, "Null characters are not allowed."),
    ],
)
def test_version_that_breaks_a_rule_is_refused_and_kept(team, live, fields, message):
    seen = seen_on(page_of(team, live))
    response = team.post(address_of(live), {"seen": seen, "description": DESCRIPTION, **fields})

    assert response.status_code == 400
    assert seen_on(response.content.decode()) == seen
    assert message in html.unescape(response.content.decode())
    assert live.submissions.count() == 1


def test_suspended_application_shows_no_form_and_takes_none(team, live, reviewer):
    review.suspend_application(application=live, actor=reviewer, reason="Complaints.")

    assert "<textarea" not in page_of(team, live)
    response = team.post(address_of(live), {"description": DESCRIPTION, **WRITE})

    assert response.status_code == 409
    assert "The application is suspended." in response.content.decode()


# --- a form that is older than what is live -----------------------------------------------------------


def test_scope_that_was_approved_meanwhile_does_not_end_because_an_older_form_does_not_have_it(
    team, live, submit, reviewer
):
    seen = seen_on(page_of(team, live))
    submit(live, scopes=["receipt:write", "receipt:read"])
    review.approve_submission(submission=waiting(live), actor=reviewer)
    typed = {"description": OTHER_DESCRIPTION, **WRITE}

    response = team.post(address_of(live), {"seen": seen, **typed})

    page = html.unescape(response.content.decode())
    assert response.status_code == 409
    assert "This application has changed since you opened the page" in page
    live.refresh_from_db()
    assert live.scopes == ["receipt:write", "receipt:read"]
    assert not live.submissions.filter(outcome=Outcome.WAITING).exists()
    # What was typed is kept, beside what is live now.
    assert typed_description(page) == OTHER_DESCRIPTION.strip()
    assert "“Reading receipts” ends at once, for everybody who has connected." in differences(page)

    # Whoever has read that may mean it.
    response = team.post(address_of(live), {"seen": seen_on(page), **typed})
    assert response.status_code == 302
    live.refresh_from_db()
    assert live.scopes == ["receipt:write"]


@pytest.mark.parametrize("seen", ["", "something", "\u0000"])
def test_form_with_no_mark_or_another_is_not_sent(team, live, seen):
    response = team.post(address_of(live), {"seen": seen, "description": OTHER_DESCRIPTION, **WRITE})

    assert response.status_code in {400, 409}
    assert live.submissions.count() == 1


def test_form_does_not_take_the_place_of_a_version_that_a_colleague_has_sent_since(team, live, submit, join):
    seen = seen_on(page_of(team, live))
    submit(live, actor=join(live).user, scopes=["receipt:write", "receipt:read"])

    response = team.post(address_of(live), {"seen": seen, "description": OTHER_DESCRIPTION, **WRITE})

    assert response.status_code == 409
    assert "Version 2 waits for the review" in response.content.decode()
    assert waiting(live).number == 2


def test_draft_that_is_older_than_what_is_live_says_so_when_it_is_sent(team, live, submit, join, reviewer):
    typed = {"description": OTHER_DESCRIPTION, **WRITE}
    team.post(address_of(live, "draft"), {**carried_by(page_of(team, live)), **typed})
    submit(live, actor=join(live).user, scopes=["receipt:write", "receipt:read"])
    review.approve_submission(submission=waiting(live), actor=reviewer)

    page = page_of(team, live)
    assert typed_description(page) == OTHER_DESCRIPTION.strip()
    response = team.post(address_of(live), {"seen": seen_on(page), **typed})

    assert response.status_code == 409
    live.refresh_from_db()
    assert live.scopes == ["receipt:write", "receipt:read"]


# --- taking back ---------------------------------------------------------------------------------------


def test_update_that_waits_can_be_taken_back(team, live, submit):
    submit(live, description=OTHER_DESCRIPTION)
    assert "Take it back" in page_of(team, live)

    response = team.post(address_of(live, "withdraw"), {"number": "2"}, follow=True)

    assert "Version 2 is taken back. What is live goes on." in response.content.decode()
    assert live.submissions.get(number=2).outcome == Outcome.WITHDRAWN


def test_text_of_an_update_that_was_taken_back_is_still_in_the_form_and_can_be_sent(team, live):
    optional = {"optional": ["receipt:read"]}
    send(team, live, **BOTH, **optional, description=OTHER_DESCRIPTION)

    team.post(address_of(live, "withdraw"), {"number": "2"})

    page = page_of(team, live)
    assert "We kept what you wrote" in page
    assert typed_description(page) == OTHER_DESCRIPTION.strip()
    assert is_ticked(page, "receipt:write")
    assert is_ticked(page, "receipt:read")
    assert re.search(r'name="optional"\s+value="receipt:read"\s+checked', page)
    assert "We show receipts." in page
    send(team, live, **BOTH, **optional, description=OTHER_DESCRIPTION)
    assert waiting(live).scopes == live.submissions.get(number=2).scopes


def test_update_that_was_decided_meanwhile_is_not_taken_back(team, live, submit, reviewer):
    submit(live, description=OTHER_DESCRIPTION)
    review.approve_submission(submission=waiting(live), actor=reviewer)

    response = team.post(address_of(live, "withdraw"), {"number": "2"}, follow=True)

    assert "Somebody else was faster." in response.content.decode()
    assert live.submissions.get(number=2).outcome == Outcome.APPROVED


def test_first_version_is_not_taken_back(team, pending):
    assert "Take it back" not in page_of(team, pending)

    response = team.post(address_of(pending, "withdraw"), {"number": "1"}, follow=True)

    assert "first version" in response.content.decode()
    assert waiting(pending).number == 1


@pytest.mark.parametrize("number", ["", "3", "-1", "٢", "9" * 30, "one"])
def test_version_that_is_none_is_not_found(team, live, number):
    assert team.post(address_of(live, "withdraw"), {"number": number}).status_code == 404


# --- who -----------------------------------------------------------------------------------------------


def test_viewer_reads_and_changes_nothing(live, join, submit):
    submit(live, description=OTHER_DESCRIPTION)
    viewer = client_of(join(live, Role.VIEWER).user)

    page = page_of(viewer, live)

    assert "What is live" in page
    assert "Version 2 waits for the review" in page
    assert "<textarea" not in page
    assert "Take it back" not in page
    assert viewer.post(address_of(live), {"description": DESCRIPTION, **BOTH}).status_code == 403
    assert viewer.post(address_of(live, "withdraw"), {"number": "2"}).status_code == 403
    assert waiting(live).number == 2


def test_stranger_finds_nothing(live, make_user):
    stranger = client_of(make_user("stranger@example.com"))

    assert stranger.get(address_of(live)).status_code == 404
    assert stranger.post(address_of(live), {"description": DESCRIPTION, **BOTH}).status_code == 404
    assert stranger.post(address_of(live, "withdraw"), {"number": "1"}).status_code == 404


def test_service_is_no_business_of_the_portal(make_application, join):
    service = make_application("service").row
    client = client_of(join(service, Role.OWNER).user)

    assert client.get(address_of(service)).status_code == 404
    assert client.post(address_of(service), {"description": DESCRIPTION, "scopes": ["introspect"]}).status_code == 404


def test_page_takes_a_constant_number_of_queries(team, live, submit, django_assert_max_num_queries):
    for _version in range(5):
        submit(live, description=OTHER_DESCRIPTION)
    team.get(address_of(live))

    with django_assert_max_num_queries(16):
        team.get(address_of(live))


def test_status_of_the_application_stays_as_it_is(team, live):
    send(team, live, **BOTH)

    live.refresh_from_db()
    assert live.status == Status.APPROVED
