"""Deciding, commenting, suspending, trusting; and what happens when somebody else is faster."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client

from apps.developers.errors import AlreadyDecidedError, OwnApplicationError, RefusedError
from apps.developers.models import Application, Outcome, Role, Status, TeamMember
from apps.developers.services import review
from apps.developers.services.applications import mark_deleted, set_redirect_uris
from apps.developers.services.team import accept_invitation, invite_member
from apps.organisations.models import Reviewer
from tests.developers.conftest import DESCRIPTION, kinds, waiting

pytestmark = pytest.mark.spec("CONTRACT", "9 (review)")

BOTH = ["receipt:write", "receipt:read"]


def browser_of(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def desk(reviewer):
    """The reviewer's browser."""
    return browser_of(reviewer)


@pytest.fixture
def colleague(make_user, organisation):
    """Another reviewer of the same organisation."""
    user = make_user("carl@example.com", first_name="Carl", last_name="Colleague")
    Reviewer.objects.create(user=user, organisation=organisation)
    return user


def address(application, what=""):
    return f"/review/apps/{application.pk}/{what}"


def decision(application, decision="approve", reason="", submission=None):
    """What the form sends about what waits."""
    return {
        "submission": (submission or waiting(application)).pk,
        "redirect_uris": " ".join(application.redirect_uri_list),
        "decision": decision,
        "reason": reason,
    }


def decide(client, application, *arguments, **fields):
    return client.post(address(application, "decide"), decision(application, *arguments, **fields))


def status_of(application):
    return Application.objects.get(pk=application.pk).status


# --- deciding ---------------------------------------------------------------------------------------------------


def test_approval_lets_users_authorise_it_and_tells_the_team(desk, pending, mails):
    mails()
    page = desk.post(address(pending, "decide"), decision(pending, reason="Welcome."), follow=True)

    assert page.redirect_chain == [(address(pending), 302)]
    assert "You have approved Penni Budget." in page.content.decode()
    assert status_of(pending) == Status.APPROVED
    submission = pending.submissions.get()
    assert (submission.outcome, submission.reason, submission.decided_by.first_name) == ("approved", "Welcome.", "Rita")
    assert [message.to for message in mails()] == [["owner@example.com"]]


@pytest.mark.parametrize(
    ("decision", "status"), [("request-changes", Status.CHANGES_REQUESTED), ("reject", Status.REJECTED)]
)
def test_other_decisions_need_a_reason_that_the_team_is_told(desk, pending, mails, decision, status):
    mails()
    page = decide(desk, pending, decision, "  \r\n ")
    assert page.status_code == 400
    assert "Say why, so that the team knows what to do." in page.content.decode()
    assert status_of(pending) == Status.PENDING

    assert decide(desk, pending, decision, "Say more\r\nabout receipts.").status_code == 302
    assert status_of(pending) == status
    assert pending.submissions.get().reason == "Say more\nabout receipts."
    body = mails()[0].body
    assert "Say more" in body
    assert "about receipts." in body


@pytest.mark.parametrize(
    "wrong", [{"reason": "x" * 5001}, {"reason": "a\x00b"}, {"decision": "shrug"}, {"submission": "x"}]
)
def test_what_was_typed_is_kept_when_it_is_refused(desk, pending, wrong):
    page = desk.post(address(pending, "decide"), {**decision(pending, "reject", "A good <reason>."), **wrong})

    assert page.status_code == 400
    typed = wrong.get("reason", "A good &lt;reason&gt;.")
    assert typed in page.content.decode()
    assert "errorlist" in page.content.decode()
    assert status_of(pending) == Status.PENDING


def test_approval_of_an_update_changes_what_is_live(desk, live, submit):
    submit(live, scopes=BOTH)

    decide(desk, live)

    assert Application.objects.get(pk=live.pk).scopes == BOTH


@pytest.mark.parametrize("decision", ["request-changes", "reject"])
def test_refusal_of_an_update_leaves_the_live_version(desk, live, submit, decision):
    submit(live, scopes=BOTH)

    decide(desk, live, decision, "Not this scope.")

    row = Application.objects.get(pk=live.pk)
    assert (row.status, row.scopes) == (Status.APPROVED, ["receipt:write"])


def test_suspended_application_stays_suspended_when_an_update_is_approved(desk, live, submit, reviewer):
    submit(live, scopes=BOTH)
    review.suspend_application(application=live, actor=reviewer, reason="It sends spam.")

    decide(desk, live)

    row = Application.objects.get(pk=live.pk)
    assert (row.status, row.scopes) == (Status.SUSPENDED, BOTH)


def test_whoever_logs_in_again_on_the_way_comes_back_to_the_application(desk, pending):
    assert desk.get(address(pending, "decide"))["Location"] == address(pending)
    assert desk.get(address(pending, "comment"))["Location"] == address(pending)


def test_submission_of_another_application_is_not_there(desk, pending, register):
    other = register(name="Another")[0]

    assert decide(desk, pending, submission=waiting(other)).status_code == 404
    assert status_of(other) == status_of(pending) == Status.PENDING


# --- somebody else was faster ---------------------------------------------------------------------------------------


def test_second_reviewer_is_told_who_decided_what_and_keeps_what_they_wrote(desk, pending, colleague):
    sent = decision(pending, "reject", "My <long> reason.")
    review.approve_submission(submission=waiting(pending), actor=colleague, reason="Well done.")

    page = desk.post(address(pending, "decide"), sent)

    text = " ".join(page.content.decode().split())
    assert page.status_code == 409
    assert "Somebody else was faster." in text
    assert "Carl Colleague, " in text
    assert "Well done." in text
    assert "My &lt;long&gt; reason." in text
    assert "What you wrote is kept: you can send it as a comment." in text
    assert status_of(pending) == Status.APPROVED
    assert pending.submissions.get().reason == "Well done."


@pytest.mark.parametrize("reason", ["", "x" * 5001])
def test_whoever_was_overtaken_need_not_mend_their_reason_first(desk, pending, colleague, reason):
    sent = decision(pending, "reject", reason)
    review.approve_submission(submission=waiting(pending), actor=colleague)

    page = desk.post(address(pending, "decide"), sent)

    assert page.status_code == 409
    assert "Carl Colleague, " in page.content.decode()


def test_version_that_came_meanwhile_is_shown_and_not_approved(desk, pending, submit, owner):
    sent = decision(pending, "approve", "Fine.")
    submit(pending, scopes=["receipt:read"])

    page = desk.post(address(pending, "decide"), sent)

    assert page.status_code == 409
    text = " ".join(page.content.decode().split())
    assert "About version 2" in text
    assert f'name="submission" value="{waiting(pending).pk}"' in text
    assert "Fine." in text
    assert "What you wrote is kept below." in text
    assert "Olive Owner, " in text
    assert status_of(pending) == Status.PENDING
    # They have seen it now.
    assert decide(desk, pending).status_code == 302


def test_redirect_urls_that_changed_meanwhile_are_not_approved_unseen(desk, pending, owner):
    sent = decision(pending)
    set_redirect_uris(application=pending, actor=owner, redirect_uris=["https://other.example/callback"])

    page = desk.post(address(pending, "decide"), sent)

    assert page.status_code == 409
    assert "The redirect URLs have changed since you opened the page." in page.content.decode()
    assert "other.example" in page.content.decode()
    assert waiting(pending).decided_by is None
    assert status_of(pending) == Status.PENDING


def test_application_that_was_deleted_meanwhile_leads_back_to_the_queue(desk, pending, owner, monkeypatch):
    sent = decision(pending)

    def delete_first(**arguments):
        mark_deleted(application=pending, actor=owner)
        return approve(**arguments)

    approve = review.approve_submission
    monkeypatch.setattr(review, "approve_submission", delete_first)
    page = desk.post(address(pending, "decide"), sent, follow=True)

    assert page.redirect_chain == [("/review/", 302)]
    assert "This application has been deleted." in page.content.decode()


# --- a reviewer on the team ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.OWNER, Role.DEVELOPER, Role.VIEWER])
def test_reviewer_on_the_team_decides_nothing(desk, live, submit, reviewer, role):
    TeamMember.objects.create(application=live, user=reviewer, role=role)
    submit(live, scopes=BOTH)

    for name in ("approve", "request-changes", "reject"):
        page = decide(desk, live, name, "A reason.")
        assert page.status_code == 409
        assert "You are on the team of this application" in page.content.decode()
    assert desk.post(address(live, "suspend"), {"reason": "It sends spam."}).status_code == 409
    assert desk.post(address(live, "trust"), {"is_trusted": "yes"}).status_code == 409
    assert desk.get(address(live, "suspend"))["Location"] == address(live)
    row = Application.objects.get(pk=live.pk)
    assert (row.status, row.is_trusted, row.scopes) == (Status.APPROVED, False, ["receipt:write"])
    assert waiting(live).is_waiting


def test_reviewer_on_the_team_does_not_reinstate(desk, live, reviewer, colleague):
    review.suspend_application(application=live, actor=colleague, reason="It sends spam.")
    TeamMember.objects.create(application=live, user=reviewer, role=Role.OWNER)

    assert desk.post(address(live, "reinstate"), {"reason": ""}).status_code == 409
    assert status_of(live) == Status.SUSPENDED


def test_reviewer_who_sent_it_and_left_the_team_decides_nothing_and_speaks_for_the_reviewers(
    desk, pending, reviewer, owner
):
    pending.submissions.update(submitted_by=reviewer)

    page = decide(desk, pending)
    assert page.status_code == 409
    assert "or have sent it for review: another reviewer has to decide." in page.content.decode()
    assert 'value="approve"' not in desk.get(address(pending)).content.decode()
    assert waiting(pending).is_waiting
    desk.post(address(pending, "comment"), {"text": "I sent this."})
    assert pending.history.latest("pk").is_by_reviewer


def test_services_refuse_a_reviewer_on_the_team(live, submit, reviewer):
    TeamMember.objects.create(application=live, user=reviewer, role=Role.VIEWER)
    submit(live, scopes=BOTH)
    submission = waiting(live)

    for refused in (
        lambda: review.approve_submission(submission=submission, actor=reviewer),
        lambda: review.request_changes(submission=submission, actor=reviewer, reason="Say more."),
        lambda: review.reject_submission(submission=submission, actor=reviewer, reason="No."),
        lambda: review.suspend_application(application=live, actor=reviewer),
        lambda: review.set_trusted(application=live, actor=reviewer, is_trusted=True),
    ):
        with pytest.raises(OwnApplicationError):
            refused()


def test_reviewers_of_another_organisation_and_the_team_cannot_send_any_form(
    pending, owner, make_user, other_organisation
):
    stranger = make_user("far@example.com")
    Reviewer.objects.create(user=stranger, organisation=other_organisation)

    for user in (owner, stranger):
        for what in ("decide", "comment", "suspend", "reinstate", "trust"):
            page = browser_of(user).post(
                address(pending, what), {**decision(pending), "text": "x", "is_trusted": "yes"}
            )
            assert page.status_code == 404
    assert kinds(pending) == ["registered"]


# --- comments --------------------------------------------------------------------------------------------------------


def test_comment_goes_to_the_timeline_and_to_the_team(desk, pending, mails):
    mails()
    desk.post(address(pending, "comment"), {"text": "Which\r\nreceipts?"})

    entry = pending.history.latest("pk")
    assert (entry.kind, entry.text, entry.is_by_reviewer) == ("commented", "Which\nreceipts?", True)
    assert [message.to for message in mails()] == [["owner@example.com"]]


def test_reviewer_on_the_team_speaks_for_the_team(desk, pending, reviewer):
    TeamMember.objects.create(application=pending, user=reviewer, role=Role.DEVELOPER)

    desk.post(address(pending, "comment"), {"text": "We only read them."})

    assert not pending.history.latest("pk").is_by_reviewer


@pytest.mark.parametrize("text", ["", " \r\n", "x" * 5001, "a\x00b"])
def test_comment_that_is_none_is_refused_and_kept(desk, pending, text):
    page = desk.post(address(pending, "comment"), {"text": text})

    assert page.status_code == 400
    assert "errorlist" in page.content.decode()
    assert text.strip() in page.content.decode()
    assert kinds(pending) == ["registered"]


# --- suspending and trusting -----------------------------------------------------------------------------------------


def test_suspension_asks_once_more_and_stops_every_token_at_once(
    desk, application, connect, introspect, make_application
):
    token, service = connect(application)["access_token"], make_application("service")
    row = application.row

    page = desk.get(address(row, "suspend")).content.decode()
    assert "Every token of this application stops working at once" in page
    assert introspect(service, token)["active"] is True
    assert desk.post(address(row, "suspend"), {"reason": " "}).status_code == 400
    assert status_of(row) == Status.APPROVED

    assert desk.post(address(row, "suspend"), {"reason": "It sends spam."}).status_code == 302
    assert introspect(service, token) == {"active": False}
    assert row.history.latest("pk").text == "It sends spam."

    assert "Yes, reinstate" in desk.get(address(row, "reinstate")).content.decode()
    assert desk.post(address(row, "reinstate"), {"reason": ""}).status_code == 302
    assert introspect(service, token)["active"] is True


def test_second_suspension_is_told_and_changes_nothing(desk, live, colleague):
    review.suspend_application(application=live, actor=colleague, reason="It sends spam.")

    page = desk.post(address(live, "suspend"), {"reason": "Mine <too>."})

    text = page.content.decode()
    assert page.status_code == 409
    assert "Carl Colleague" in text
    assert "It sends spam." in text
    assert "Mine &lt;too&gt;." in text
    assert kinds(live).count("suspended") == 1


def test_only_what_is_live_is_suspended_and_only_what_is_suspended_reinstated(desk, pending, live, register):
    waits = register(name="Another")[0]

    assert desk.get(address(waits, "suspend"))["Location"] == address(waits)
    assert desk.post(address(waits, "suspend"), {"reason": "It sends spam."}).status_code == 409
    assert desk.get(address(live, "reinstate"))["Location"] == address(live)
    assert desk.post(address(live, "reinstate"), {"reason": ""}).status_code == 409
    assert (status_of(waits), status_of(live)) == (Status.PENDING, Status.APPROVED)


@pytest.mark.parametrize("what", ["suspend", "reinstate"])
def test_reason_that_cannot_be_kept_is_refused(desk, live, reviewer, what):
    if what == "reinstate":
        review.suspend_application(application=live, actor=reviewer, reason="It sends spam.")

    assert desk.post(address(live, what), {"reason": "x" * 5001}).status_code == 400


def trust(client, application, **fields):
    """Mark it as trusted, as the page that shows its redirect URLs does."""
    sent = {"is_trusted": "yes", "redirect_uris": " ".join(application.redirect_uri_list)}
    return client.post(address(application, "trust"), {**sent, **fields})


def test_trust_is_explained_given_and_taken_back(desk, live):
    page = desk.get(address(live, "trust")).content.decode()
    assert "see no consent screen" in page
    assert "<code>https://penni.example/callback</code>" in page
    assert 'name="redirect_uris" value="https://penni.example/callback"' in page
    trust(desk, live)
    assert Application.objects.get(pk=live.pk).is_trusted

    assert "see the consent screen again" in desk.get(address(live, "trust")).content.decode()
    # Sent from a page that is out of date.
    assert trust(desk, live).status_code == 409
    page = desk.post(address(live, "trust"), {"is_trusted": "no"}, follow=True)
    assert "no longer trusted" in page.content.decode()
    assert not Application.objects.get(pk=live.pk).is_trusted
    assert kinds(live)[-2:] == ["trusted", "untrusted"]


def test_redirect_urls_that_the_reviewer_has_not_seen_are_not_trusted(desk, live, owner):
    set_redirect_uris(application=live, actor=owner, redirect_uris=["https://other.example/callback"])

    for seen in ("https://penni.example/callback", ""):
        page = trust(desk, live, redirect_uris=seen)
        assert page.status_code == 409
        assert "The redirect URLs have changed since you opened the page." in page.content.decode()
        assert 'name="redirect_uris" value="https://other.example/callback"' in page.content.decode()
        assert not Application.objects.get(pk=live.pk).is_trusted

    live.refresh_from_db()
    assert trust(desk, live).status_code == 302
    assert Application.objects.get(pk=live.pk).is_trusted


def test_whoever_is_overtaken_is_told_of_what_overtook_them_and_of_nothing_else(desk, live, colleague, owner):
    review.set_trusted(application=live, actor=colleague, is_trusted=True)
    set_redirect_uris(application=live, actor=owner, redirect_uris=["https://other.example/callback"])
    review.suspend_application(application=live, actor=colleague, reason="It sends spam.")
    review.add_comment(application=live, actor=owner, text="Why is that?", is_by_reviewer=False)

    page = desk.post(address(live, "suspend"), {"reason": "Mine."})
    assert page.status_code == 409
    assert "<strong>Suspended</strong>" in page.content.decode()
    assert "It sends spam." in page.content.decode()
    assert "Why is that?" not in page.content.decode()

    live.refresh_from_db()
    page = trust(desk, live)
    assert page.status_code == 409
    assert "<strong>Marked as trusted</strong>" in page.content.decode()


def test_client_that_cannot_be_trusted_is_refused_with_the_reason(desk, register, reviewer):
    application = register(client_type="public", redirect_uris=["com.example.app:/callback"])[0]

    page = trust(desk, application)

    assert page.status_code == 400
    assert "only if all its redirect URLs start with https://" in page.content.decode()
    assert not Application.objects.get(pk=application.pk).is_trusted
    assert desk.post(address(application, "trust"), {}).status_code == 400


# --- at the same moment ----------------------------------------------------------------------------------------------


def at_once(*calls):
    """Make all calls at the same moment, each in a thread with a connection of its own; errors are returned."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        try:
            return call()
        except RefusedError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.django_db(transaction=True)
def test_of_many_reviewers_deciding_at_once_one_decides(pending, make_user, organisation):
    people = [make_user(f"r{number}@example.com") for number in range(8)]
    Reviewer.objects.bulk_create(Reviewer(user=user, organisation=organisation) for user in people)
    submission = waiting(pending)

    def call(number):
        actor = people[number]
        if number % 2:
            return lambda: review.approve_submission(submission=submission, actor=actor)
        return lambda: review.reject_submission(submission=submission, actor=actor, reason=f"Reason {number}.")

    answers = at_once(*map(call, range(8)))

    losers = [answer for answer in answers if answer is not None]
    assert len(losers) == 7
    assert all(isinstance(loser, AlreadyDecidedError) for loser in losers)
    submission.refresh_from_db()
    # Everybody is told the same: who was first, and what they decided.
    assert {loser.latest.actor for loser in losers} == {submission.decided_by}
    assert status_of(pending) == submission.outcome
    assert answers[people.index(submission.decided_by)] is None
    assert Counter(kinds(pending)).total() == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_reviewers_pressing_buttons_at_once_the_second_is_told(pending, reviewer, colleague, mails):
    mails()
    names = ["approve", "request-changes"]

    def press(user, name):
        client, sent = browser_of(user), decision(pending, name, f"I would {name}.")
        return lambda: client.post(address(pending, "decide"), sent)

    pages = at_once(press(reviewer, names[0]), press(colleague, names[1]))

    assert sorted(page.status_code for page in pages) == [302, 409]
    loser = next(page for page in pages if page.status_code == 409)
    submission = pending.submissions.get()
    text = loser.content.decode()
    assert str(submission.decided_by) in text
    for name in names:
        assert f"I would {name}." in text
    assert len(kinds(pending)) == 2
    assert [message.to for message in mails()] == [["owner@example.com"]]


@pytest.mark.django_db(transaction=True)
def test_reviewer_approves_only_what_they_have_seen_while_the_team_sends_another(pending, reviewer, submit):
    for number in range(6):
        seen = waiting(pending)
        was_live = status_of(pending) == Status.APPROVED
        new = {"scopes": BOTH if number % 2 else ["receipt:write"], "description": f"{DESCRIPTION} {number}"}

        approved, submitted = at_once(
            lambda seen=seen: review.approve_submission(submission=seen, actor=reviewer),
            lambda new=new: submit(pending, **new),
        )

        assert not isinstance(submitted, Exception)
        row, after = Application.objects.get(pk=pending.pk), waiting(pending)
        seen.refresh_from_db()
        assert after.description == new["description"]
        if approved is None:
            # First approved, then sent: the new version waits beside the approved one.
            assert (row.status, row.description) == (Status.APPROVED, seen.description)
            assert seen.outcome == Outcome.APPROVED
        else:
            assert isinstance(approved, AlreadyDecidedError)
            assert seen.outcome == Outcome.WITHDRAWN
            assert row.status == (Status.APPROVED if was_live else Status.PENDING)
            assert not was_live or row.description != new["description"]


@pytest.mark.django_db(transaction=True)
def test_approving_and_suspending_at_once_leaves_it_suspended(live, submit, reviewer, colleague):
    for number in range(5):
        submit(live, description=f"{DESCRIPTION} {number}")
        seen = waiting(live)

        at_once(
            lambda seen=seen: review.approve_submission(submission=seen, actor=reviewer),
            lambda: review.suspend_application(application=live, actor=colleague, reason="It sends spam."),
        )

        row = Application.objects.get(pk=live.pk)
        assert (row.status, row.description) == (Status.SUSPENDED, seen.description)
        review.reinstate_application(application=live, actor=colleague)


@pytest.mark.django_db(transaction=True)
def test_versions_sent_at_once_leave_one_waiting_with_numbers_of_their_own(pending, submit):
    answers = at_once(
        *[lambda number=number: submit(pending, description=f"{DESCRIPTION} {number}") for number in range(6)]
    )

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    numbers = sorted(pending.submissions.values_list("number", flat=True))
    assert numbers == list(range(1, 8))
    row = Application.objects.get(pk=pending.pk)
    assert waiting(pending).description == row.description
    assert waiting(pending).number == 7


@pytest.mark.django_db(transaction=True)
def test_reviewer_who_joins_the_team_while_deciding_does_one_or_the_other(register, reviewer, owner):
    for number in range(4):
        application = register(name=f"Number {number}")[0]
        invitation = invite_member(application=application, actor=owner, email=reviewer.email, role=Role.DEVELOPER)
        seen = waiting(application)

        approved, joined = at_once(
            lambda seen=seen: review.approve_submission(submission=seen, actor=reviewer),
            lambda invitation=invitation: accept_invitation(invitation=invitation, user=reviewer),
        )

        assert isinstance(joined, TeamMember)
        order = [kind for kind in kinds(application) if kind in {"approved", "member_joined"}]
        if approved is None:
            assert order == ["approved", "member_joined"]
        else:
            assert isinstance(approved, OwnApplicationError)
            assert order == ["member_joined"]


@pytest.mark.django_db(transaction=True)
def test_deciding_while_the_team_deletes_it_never_brings_it_back(register, reviewer, owner):
    for number in range(4):
        application = register(name=f"Number {number}")[0]
        seen = waiting(application)

        approved, _deleted = at_once(
            lambda seen=seen: review.approve_submission(submission=seen, actor=reviewer),
            lambda application=application: mark_deleted(application=application, actor=owner),
        )

        assert status_of(application) == Status.DELETED
        assert approved is None or isinstance(approved, RefusedError)
        assert not application.submissions.filter(outcome=Outcome.WAITING).exists()


@pytest.mark.django_db(transaction=True)
def test_administrator_who_takes_a_scope_away_is_not_overtaken_by_an_approval(live, submit, reviewer, colleague):
    for number in range(4):
        submit(live, scopes=BOTH, description=f"{DESCRIPTION} {number}")
        seen = waiting(live)

        approved, _changed = at_once(
            lambda seen=seen: review.approve_submission(submission=seen, actor=reviewer),
            lambda number=number: review.change_version(
                application=live,
                actor=colleague,
                description=f"{DESCRIPTION} by an administrator",
                scopes=["receipt:write"],
                reasons={"receipt:write": f"Because of number {number}."},
            ),
        )

        # Either the approval came first and the administrator has the last word, or it was not given at all.
        assert Application.objects.get(pk=live.pk).scopes == ["receipt:write"]
        if approved is not None:
            assert isinstance(approved, AlreadyDecidedError)
            assert "receipt:read" in waiting(live).scope_names
            review.reject_submission(submission=waiting(live), actor=reviewer, reason="Again.")
