"""After a version that was sent back, the team may begin again with what is live (CONTRACT section 9)."""

import html
import re
import threading

import pytest
from django.db import connection, transaction
from django.test import Client

from apps.developers.models import Draft, HistoryEntry, Role, Submission
from apps.developers.services import drafts, review
from tests.conftest import at_once
from tests.console.conftest import client_of
from tests.console.test_late_saves import carried_by
from tests.console.test_version import differences, is_ticked, typed_description
from tests.developers.conftest import DESCRIPTION, REASONS, waiting
from tests.protocol.test_races import wait_until_somebody_waits_for_a_lock

pytestmark = pytest.mark.spec("CONTRACT", "9 (versions)")

OTHER = f"Other words. {DESCRIPTION}"
BOTH = ["receipt:write", "receipt:read"]
NOTHING = "Nothing is different from what is live, so nothing would have to be reviewed."
OFFER = "Start from what is live"


def address_of(application, action="") -> str:
    return f"/developer/apps/{application.pk}/version/{action}"


def page_of(client, application, action="") -> str:
    response = client.get(address_of(application, action))
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def is_offered(page: str, application) -> bool:
    return f'href="{address_of(application, "live")}"' in page


def send_back(application, outcome, *, reviewer, owner):
    """Let the version that waits come to that end."""
    if outcome == "rejected":
        review.reject_submission(submission=waiting(application), actor=reviewer, reason="Say who runs it.")
    elif outcome == "changes_requested":
        review.request_changes(submission=waiting(application), actor=reviewer, reason="Say who runs it.")
    elif outcome == "withdrawn":
        review.withdraw_submission(submission=waiting(application), actor=owner)


@pytest.fixture(params=["rejected", "changes_requested", "withdrawn", "waiting"])
def sent_back(request, live, submit, reviewer, owner):
    """An approved application whose next version begins with something else than what is live."""
    submit(live, description=OTHER, scopes=BOTH, optional_scopes=["receipt:read"])
    send_back(live, request.param, reviewer=reviewer, owner=owner)
    return live


def test_form_is_made_equal_to_what_is_live_and_nothing_else_changes(team, sent_back):
    before = list(Submission.objects.order_by("pk").values()), HistoryEntry.objects.count()
    page = page_of(team, sent_back)
    assert typed_description(page) == OTHER
    assert is_offered(page, sent_back)

    question = page_of(team, sent_back, "live")
    assert "is replaced, and is kept nowhere else" in question
    response = team.post(address_of(sent_back, "live"))

    assert response.status_code == 302
    page = page_of(team, sent_back)
    assert "The form holds what is live." in page
    assert typed_description(page) == DESCRIPTION
    assert is_ticked(page, "receipt:write")
    assert not is_ticked(page, "receipt:read")
    assert not re.search(r'name="optional"\s+value="receipt:read"\s+checked', page)
    assert REASONS["receipt:write"] in page
    assert differences(page) == [NOTHING]
    assert not is_offered(page, sent_back)
    assert (list(Submission.objects.order_by("pk").values()), HistoryEntry.objects.count()) == before
    sent_back.refresh_from_db()
    assert sent_back.description == DESCRIPTION


def test_asking_alone_changes_nothing(team, sent_back):
    page_of(team, sent_back, "live")

    assert typed_description(page_of(team, sent_back)) == OTHER


def test_what_was_typed_is_shown_before_it_is_replaced(team, live, submit, reviewer, owner):
    submit(live, description=OTHER)
    send_back(live, "rejected", reviewer=reviewer, owner=owner)
    carried = carried_by(team.get(address_of(live)))
    typed = {"description": "Half <b>an</b> idea.", "scopes": BOTH, "reason-receipt:read": "We show them."}
    team.post(address_of(live, "draft"), {**carried, **typed})

    response = team.get(address_of(live, "live"))

    page = response.content.decode()
    assert "You wrote this on" in page
    assert "Half &lt;b&gt;an&lt;/b&gt; idea." in page
    assert "Reading receipts" in page
    assert "We show them." in page
    assert "Version 2 stays to be read as you sent it" in page
    team.post(address_of(live, "live"))
    assert Draft.objects.get().fields["description"] == [DESCRIPTION]


def test_version_that_was_sent_back_can_be_begun_with_again(team, live, submit, reviewer, owner):
    submit(live, description=OTHER)
    send_back(live, "rejected", reviewer=reviewer, owner=owner)
    team.post(address_of(live, "live"))
    assert "Start from version 2" in page_of(team, live)

    team.post(address_of(live, "draft"), {"action": "forget"})

    assert typed_description(page_of(team, live)) == OTHER


def test_what_comes_of_it_can_be_changed_and_sent(team, sent_back):
    team.post(address_of(sent_back, "live"))
    carried = carried_by(team.get(address_of(sent_back)))

    typed = {"description": f"Mended. {DESCRIPTION}", "scopes": ["receipt:write"]}
    sent = team.post(address_of(sent_back), {**carried, **typed, "reason-receipt:write": REASONS["receipt:write"]})

    assert sent.status_code == 302
    assert waiting(sent_back).description == f"Mended. {DESCRIPTION}"
    assert not Draft.objects.exists()


def test_drafts_of_others_and_of_other_applications_stay(team, live, submit, owner, join, register, reviewer):
    other, _secret = register(name="Another")
    colleague = join(live).user
    submit(live, description=OTHER)
    send_back(live, "rejected", reviewer=reviewer, owner=owner)
    for user, application in ((colleague, live), (owner, other), (owner, None)):
        drafts.save_draft(user=user, application=application, fields={"description": ["Mine."]})

    team.post(address_of(live, "live"))

    kept = Draft.objects.exclude(user=owner, application=live)
    assert kept.count() == 3
    assert all(draft.fields == {"description": ["Mine."]} for draft in kept)


def test_it_is_offered_only_where_the_form_holds_something_else(team, live, pending):
    assert not is_offered(page_of(team, live), live)
    carried = carried_by(team.get(address_of(live)))
    refused = team.post(address_of(live), {**carried, "description": "short", "scopes": ["receipt:write"]})
    assert is_offered(refused.content.decode(), live)


@pytest.mark.parametrize("outcome", ["rejected", "changes_requested", "waiting"])
def test_where_nothing_is_live_it_is_neither_offered_nor_done(team, pending, reviewer, owner, outcome):
    send_back(pending, outcome, reviewer=reviewer, owner=owner)
    assert OFFER not in page_of(team, pending)

    assert team.get(address_of(pending, "live")).status_code == 302
    response = team.post(address_of(pending, "live"), follow=True)

    assert "Nothing of this application is live." in response.content.decode()
    assert not Draft.objects.exists()


def test_suspended_application_is_not_begun_with(team, sent_back, reviewer):
    kept = list(Draft.objects.values())
    review.suspend_application(application=sent_back, actor=reviewer, reason="Complaints.")

    assert OFFER not in page_of(team, sent_back)
    assert (
        "Nothing of this application is live." in team.post(address_of(sent_back, "live"), follow=True).content.decode()
    )
    assert list(Draft.objects.values()) == kept


def test_form_without_its_token_is_refused(owner, sent_back):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    kept = list(Draft.objects.values())

    assert client.post(address_of(sent_back, "live")).status_code == 403
    assert list(Draft.objects.values()) == kept


def test_viewers_and_strangers_are_refused(sent_back, join, make_user):
    viewer = client_of(join(sent_back, Role.VIEWER).user)
    stranger = client_of(make_user("stranger@example.com"))

    assert not is_offered(page_of(viewer, sent_back), sent_back)
    for method in ("get", "post"):
        assert getattr(viewer, method)(address_of(sent_back, "live")).status_code == 403
        assert getattr(stranger, method)(address_of(sent_back, "live")).status_code == 404


# --- what comes late -------------------------------------------------------------------------------------


def test_late_save_of_what_was_replaced_is_refused(team, sent_back):
    carried = carried_by(team.get(address_of(sent_back)))
    team.post(address_of(sent_back, "live"))

    late = team.post(address_of(sent_back, "draft"), {**carried, "description": "Almost."})

    assert late.status_code == 409
    assert Draft.objects.get().fields["description"] == [DESCRIPTION]


@pytest.mark.django_db(transaction=True)
def test_save_under_way_is_replaced_and_one_that_waits_is_refused(owner, live, submit, reviewer):
    submit(live, description=OTHER)
    send_back(live, "rejected", reviewer=reviewer, owner=owner)
    first, second = client_of(owner), client_of(owner)
    carried = carried_by(first.get(address_of(live)))
    statuses = []

    def save() -> None:
        try:
            answer = second.post(address_of(live, "draft"), {**carried, "description": "Almost."})
            statuses.append(answer.status_code)
        finally:
            connection.close()

    with transaction.atomic():
        assert first.post(address_of(live, "live")).status_code == 302
        thread = threading.Thread(target=save)
        thread.start()
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [409]
    for _time in range(5):
        carried = carried_by(first.get(address_of(live)))
        at_once(
            lambda: first.post(address_of(live, "live")),
            lambda carried=carried: second.post(address_of(live, "draft"), {**carried, "description": "Almost."}),
        )
        assert Draft.objects.get().fields["description"] == [DESCRIPTION]
