"""What a page's script sent before a form was sent, and comes after it, brings no draft back (CONTRACT section 9).

Over HTTP; the races with real threads and connections.
"""

import re
import threading
import uuid
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.developers.models import Application, Draft, EndedForm, TeamMember
from apps.developers.services import drafts
from apps.developers.services.review import change_version
from apps.developers.services.team import leave_teams
from apps.developers.tasks import delete_old_drafts
from tests.conftest import at_once
from tests.console.conftest import client_of
from tests.console.test_registering import fields
from tests.developers.conftest import DESCRIPTION, waiting
from tests.protocol.test_races import wait_until_somebody_waits_for_a_lock

__all__ = ["fields"]

pytestmark = pytest.mark.spec("CONTRACT", "9 (drafts)")

COMMITTED = pytest.mark.django_db(transaction=True)
ADD = "/developer/add"
LIVE = {"description": DESCRIPTION, "scopes": ["receipt:write"], "reason-receipt:write": "We send receipts."}
CHANGED = {**LIVE, "description": f"Other words. {DESCRIPTION}"}


def address_of(application, action=""):
    return f"/developer/apps/{application.pk}/version/{action}"


def carried_by(response) -> dict[str, str]:
    """What the form on the page carries, besides what is typed."""
    return dict(re.findall(r'name="(seen|form_key)" value="(\w*)"', response.content.decode()))


def open_form(client, application) -> dict[str, str]:
    carried = carried_by(client.get(address_of(application)))
    assert set(carried) == {"seen", "form_key"}
    return carried


ENDS = {
    "a changed version": lambda client, application, form: client.post(address_of(application), {**form, **CHANGED}),
    "what is live already": lambda client, application, form: client.post(address_of(application), {**form, **LIVE}),
    "starting afresh": lambda client, application, form: client.post(
        address_of(application, "draft"), {"action": "forget"}
    ),
}


@pytest.fixture(params=ENDS)
def end_form(request):
    """Each way in which a form is over and its draft gone."""
    return ENDS[request.param]


def test_late_save_is_refused_and_a_new_page_saves_again(team, live, end_form):
    form = open_form(team, live)
    assert team.post(address_of(live, "draft"), {**form, "description": "Almost."}).status_code == 200
    assert end_form(team, live, form).status_code == 302
    assert not Draft.objects.exists()

    late = team.post(address_of(live, "draft"), {**form, "description": "Almost."})

    assert late.status_code == 409
    assert "you have sent this form, or begun afresh" in late.json()["message"]
    assert not Draft.objects.exists()
    anew = open_form(team, live)
    assert anew["form_key"] != form["form_key"]
    assert team.post(address_of(live, "draft"), {**anew, "description": "Next."}).status_code == 200
    assert Draft.objects.get().fields["description"] == ["Next."]


def test_who_goes_on_in_another_tab_loses_nothing_there(team, live):
    form = open_form(team, live)
    assert team.post(address_of(live), {**form, **CHANGED}).status_code == 302
    typed = {"description": "Half an idea.", "action": "save"}

    by_hand = team.post(address_of(live, "draft"), {**form, **typed})

    assert by_hand.status_code == 409
    assert "Half an idea." in by_hand.content.decode()
    assert team.post(address_of(live, "draft"), {**carried_by(by_hand), **typed}).status_code == 302
    page = team.get(address_of(live)).content.decode()
    assert "Half an idea." in page
    assert "We kept what you wrote" in page


def test_who_goes_on_beside_what_has_changed_is_told_so_before_anything_is_sent(team, live):
    """The page that keeps no draft says nothing of what is live, so it stands for no look at it."""
    form = open_form(team, live)
    team.post(address_of(live, "draft"), {"action": "forget"})
    both = ["receipt:read", "receipt:write"]
    reasons = {"receipt:write": "We send receipts.", "receipt:read": "We read receipts."}
    change_version(application=live, actor=None, description=DESCRIPTION, scopes=both, reasons=reasons)

    page = team.post(address_of(live, "draft"), {**form, **LIVE, "action": "save"})
    assert page.status_code == 409
    assert "begun afresh" in page.content.decode()
    kept = team.post(address_of(live, "draft"), {**carried_by(page), **LIVE, "action": "save"})
    assert kept.status_code == 302
    refused = team.post(address_of(live), {**open_form(team, live), **LIVE})

    assert refused.status_code == 409
    assert "This application has changed since you opened the page" in refused.content.decode()
    live.refresh_from_db()
    assert set(live.scopes) == set(both)
    assert team.post(address_of(live), {**carried_by(refused), **LIVE}).status_code == 302
    live.refresh_from_db()
    assert live.scopes == ["receipt:write"]


def test_who_goes_on_beside_what_has_not_changed_may_send_it(team, live):
    form = open_form(team, live)
    team.post(address_of(live, "draft"), {"action": "forget"})

    page = team.post(address_of(live, "draft"), {**form, **CHANGED, "action": "save"})

    assert page.status_code == 409
    assert team.post(address_of(live), {**carried_by(page), **CHANGED}).status_code == 302
    assert waiting(live).description == CHANGED["description"]


@pytest.mark.parametrize("refused", [{"description": "Too short."}, {"seen": "another"}], ids=["rule", "stale"])
def test_form_that_was_refused_is_not_over(team, live, refused):
    form = open_form(team, live)
    assert team.post(address_of(live), {**form, **CHANGED, **refused}).status_code in {400, 409}

    assert team.post(address_of(live, "draft"), {**form, "description": "Mended."}).status_code == 200
    assert Draft.objects.get().fields["description"] == ["Mended."]


def test_form_of_a_colleague_is_not_over(team, live, join):
    colleague = client_of(join(live).user)
    form = open_form(colleague, live)
    team.post(address_of(live), {**open_form(team, live), **CHANGED})

    assert colleague.post(address_of(live, "draft"), {**form, "description": "Mine."}).status_code == 200


@pytest.mark.parametrize("key", ["", "another", "\u0000", "x" * 5000])
def test_key_of_no_form_is_refused(team, live, key):
    TeamMember.objects.update(form_key=uuid.uuid4().hex)

    assert team.post(address_of(live, "draft"), {"form_key": key, "description": "Mine."}).status_code == 409
    assert not Draft.objects.exists()


def test_who_is_taken_off_the_team_at_that_moment_keeps_nothing_and_gets_an_answer(join, live, monkeypatch):
    member = join(live)
    client, address = client_of(member.user), address_of(live, "draft")
    form = open_form(client, live)
    lock = drafts.lock_person

    def lock_and_take_off(user) -> None:
        lock(user)
        member.delete()

    monkeypatch.setattr(drafts, "lock_person", lock_and_take_off)
    answer = client.post(address, {**form, "description": "Mine.", "action": "save"})

    assert answer.status_code == 409
    assert "not on the team of this application any more" in answer.content.decode()
    assert not Draft.objects.exists()


# --- of a new application ------------------------------------------------------------------------------


def test_late_save_of_what_is_registered_is_refused_and_may_go_on_in_a_form_of_its_own(member, fields):
    client = client_of(member)
    assert client.post(ADD, fields).status_code == 200

    late = client.post(f"{ADD}/draft", fields)
    by_hand = client.post(f"{ADD}/draft", {**fields, "name": "Another", "action": "save"})

    assert late.status_code == by_hand.status_code == 409
    assert "Not kept as a draft" in late.json()["message"]
    assert not Draft.objects.exists()
    page = by_hand.content.decode()
    assert 'value="Another"' in page
    key = re.search(r'name="form_key" value="([^"]+)"', page)[1]
    assert key != fields["form_key"]
    assert client.post(f"{ADD}/draft", {**fields, "name": "Another", "form_key": key}).status_code == 200
    assert Draft.objects.get().fields["name"] == ["Another"]


def forget(client):
    return client.post(f"{ADD}/draft", {"action": "forget"})


def save_new(client, fields, **changed):
    return client.post(f"{ADD}/draft", {**fields, **changed})


def key_on(page: str) -> str:
    return re.search(r'name="form_key" value="([^"]+)"', page)[1]


def test_late_save_of_a_new_application_thrown_away_is_refused_and_a_new_page_saves_again(member, fields):
    client = client_of(member)
    assert save_new(client, fields).status_code == 200
    assert forget(client).status_code == 302

    late = save_new(client, fields)

    assert late.status_code == 409
    assert "you have sent this form, or begun afresh" in late.json()["message"]
    assert not Draft.objects.exists()
    anew = key_on(client.get(ADD).content.decode())
    assert anew != fields["form_key"]
    assert save_new(client, fields, form_key=anew, name="Next").status_code == 200
    assert save_new(client, fields).status_code == 409
    assert Draft.objects.get().fields["name"] == ["Next"]


def test_who_goes_on_with_a_new_application_thrown_away_does_so_in_a_form_of_its_own(member, fields):
    client = client_of(member)
    save_new(client, fields)
    forget(client)

    by_hand = save_new(client, fields, name="Another", action="save")

    assert by_hand.status_code == 409
    page = by_hand.content.decode()
    assert 'value="Another"' in page
    assert save_new(client, fields, name="Another", form_key=key_on(page)).status_code == 200


def test_form_written_otherwise_is_the_same_form(member, fields):
    """A UUID may be in capitals; it is the same one."""
    client = client_of(member)
    save_new(client, fields, form_key=fields["form_key"].upper())
    forget(client)

    assert save_new(client, fields).status_code == 409


def test_new_application_thrown_away_may_still_be_sent(member, fields):
    client = client_of(member)
    save_new(client, fields)
    forget(client)

    assert client.post(ADD, fields).status_code == 200
    assert Application.objects.count() == 1


def test_throwing_away_ends_nobody_elses_form_and_no_other_form_of_theirs(member, owner, fields):
    client, other = client_of(member), client_of(owner)
    save_new(client, fields)
    save_new(other, fields)
    forget(client)

    assert save_new(other, fields, name="Mine").status_code == 200
    assert save_new(client, fields, form_key=str(uuid.uuid4())).status_code == 200


def test_throwing_away_what_was_never_kept_ends_nothing(member, fields):
    client = client_of(member)

    assert forget(client).status_code == 302
    assert save_new(client, fields).status_code == 200


@pytest.mark.parametrize("key", ["", "nonsense"])
def test_draft_of_no_form_can_be_thrown_away(member, fields, key):
    Draft.objects.create(user=member, application=None, fields={"form_key": [key]})

    assert forget(client_of(member)).status_code == 302
    assert not Draft.objects.exists()


def test_keys_of_forms_thrown_away_are_few_and_go_with_the_account_and_with_old_drafts(member, owner, fields):
    for user in (member, owner):
        client = client_of(user)
        for _time in range(3):
            assert save_new(client, fields, form_key=str(uuid.uuid4())).status_code == 200
            forget(client)
    assert EndedForm.objects.count() == 2

    leave_teams(user=owner)
    assert EndedForm.objects.get().user == member
    assert delete_old_drafts(0) == 0
    EndedForm.objects.update(ended_at=timezone.now() - timedelta(days=91))
    assert delete_old_drafts(0) == 1
    assert not EndedForm.objects.exists()


def test_who_closes_the_account_at_that_moment_throws_nothing_away_and_gets_an_answer(member, fields, monkeypatch):
    client = client_of(member)
    save_new(client, fields)
    lock = drafts.lock_person

    def close_and_lock(user) -> None:
        User.objects.filter(pk=user.pk).update(is_active=False)
        lock(user)

    monkeypatch.setattr(drafts, "lock_person", close_and_lock)

    answer = forget(client)

    assert answer.status_code == 302
    assert not EndedForm.objects.exists()


# --- at the same moment --------------------------------------------------------------------------------


def in_a_thread(call):
    """Begin `call` with a connection of its own; return the thread and the list that its result goes to."""
    results = []

    def run() -> None:
        try:
            results.append(call())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


@COMMITTED
def test_save_that_comes_while_the_form_is_being_sent_waits_and_is_refused(owner, team, live, end_form):
    form = open_form(team, live)
    other = client_of(owner)
    with transaction.atomic():
        assert end_form(team, live, form).status_code == 302
        thread, statuses = in_a_thread(
            lambda: other.post(address_of(live, "draft"), {**form, "description": "Almost."}).status_code
        )
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [409]
    assert not Draft.objects.exists()


@COMMITTED
def test_save_that_is_under_way_when_the_form_is_sent_leaves_no_draft(owner, team, live, end_form):
    form = open_form(team, live)
    other = client_of(owner)
    with transaction.atomic():
        assert other.post(address_of(live, "draft"), {**form, "description": "Almost."}).status_code == 200
        thread, statuses = in_a_thread(lambda: end_form(team, live, form).status_code)
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [302]
    assert not Draft.objects.exists()


@COMMITTED
@pytest.mark.parametrize("version", [CHANGED, LIVE], ids=["changed", "as it is live"])
def test_of_saves_and_a_sending_at_the_same_moment_no_draft_is_left(owner, live, version):
    clients = [client_of(owner) for _ in range(6)]
    for _time in range(5):
        form = open_form(clients[0], live)

        answers = at_once(
            partial(clients[0].post, address_of(live), {**form, **version}),
            *[
                partial(client.post, address_of(live, "draft"), {**form, "description": "Almost."})
                for client in clients[1:]
            ],
        )

        statuses = Counter(answer.status_code for answer in answers)
        assert statuses[302] == 1
        assert statuses[200] + statuses[409] == 5
        assert not Draft.objects.exists()
    assert waiting(live) if version is CHANGED else live.submissions.count() == 1


@COMMITTED
def test_of_saves_and_a_registration_at_the_same_moment_no_draft_is_left(member, fields):
    clients = [client_of(member) for _ in range(6)]

    answers = at_once(
        partial(clients[0].post, ADD, fields),
        *[partial(client.post, f"{ADD}/draft", fields) for client in clients[1:]],
    )

    assert answers[0].status_code == 200
    assert {answer.status_code for answer in answers[1:]} <= {200, 409}
    assert Application.objects.count() == 1
    assert not Draft.objects.exists()


@COMMITTED
def test_save_that_comes_while_the_form_is_being_registered_waits_and_is_refused(member, fields):
    registering, saving = client_of(member), client_of(member)
    with transaction.atomic():
        assert registering.post(ADD, fields).status_code == 200
        thread, statuses = in_a_thread(lambda: saving.post(f"{ADD}/draft", fields).status_code)
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [409]
    assert not Draft.objects.exists()


@COMMITTED
def test_save_that_comes_while_a_new_application_is_thrown_away_waits_and_is_refused(member, fields):
    throwing, saving = client_of(member), client_of(member)
    assert save_new(saving, fields).status_code == 200
    with transaction.atomic():
        assert forget(throwing).status_code == 302
        thread, statuses = in_a_thread(lambda: save_new(saving, fields).status_code)
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [409]
    assert not Draft.objects.exists()


@COMMITTED
def test_save_that_is_under_way_when_a_new_application_is_thrown_away_leaves_no_draft(member, fields):
    throwing, saving = client_of(member), client_of(member)
    with transaction.atomic():
        assert save_new(saving, fields).status_code == 200
        thread, statuses = in_a_thread(lambda: forget(throwing).status_code)
        wait_until_somebody_waits_for_a_lock()
    thread.join()

    assert statuses == [302]
    assert not Draft.objects.exists()
    assert save_new(saving, fields).status_code == 409


@COMMITTED
def test_of_saves_and_throwing_away_at_the_same_moment_no_draft_is_left(member, fields):
    clients = [client_of(member) for _ in range(6)]
    for _time in range(5):
        form = {**fields, "form_key": str(uuid.uuid4())}
        assert save_new(clients[0], form).status_code == 200

        answers = at_once(
            partial(forget, clients[0]),
            *[partial(save_new, client, form) for client in clients[1:]],
        )

        assert answers[0].status_code == 302
        assert {answer.status_code for answer in answers[1:]} <= {200, 409}
        assert not Draft.objects.exists()
