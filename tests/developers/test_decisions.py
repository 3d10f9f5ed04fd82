"""What reviewers decide, and what they may not (CONTRACT section 9)."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from apps.developers.errors import AlreadyDecidedError, OwnApplicationError, RefusedError
from apps.developers.models import HistoryKind, Outcome, Role, Status, TeamMember
from apps.developers.services import applications, review
from tests.conftest import RegisteredApplication
from tests.developers.conftest import DESCRIPTION, REASONS, kinds, waiting
from tests.protocol.test_races import at_once

pytestmark = pytest.mark.spec("CONTRACT", "9 (review)")

DECISIONS = {
    "approve": (review.approve_submission, Outcome.APPROVED, Status.APPROVED),
    "changes": (review.request_changes, Outcome.CHANGES_REQUESTED, Status.CHANGES_REQUESTED),
    "reject": (review.reject_submission, Outcome.REJECTED, Status.REJECTED),
}


@pytest.fixture(params=DECISIONS)
def decision(request):
    """Each decision in turn: the service, the outcome, the status of a first version afterwards."""
    return DECISIONS[request.param]


def test_decision_is_kept_with_who_when_and_why(pending, reviewer, decision):
    decide, outcome, status = decision
    submission = waiting(pending)
    decide(submission=submission, actor=reviewer, reason="  This is why. ")

    submission.refresh_from_db()
    pending.refresh_from_db()
    assert pending.status == status
    assert (submission.outcome, submission.decided_by, submission.reason) == (outcome, reviewer, "This is why.")
    assert submission.decided_at is not None
    entry = pending.history.latest("pk")
    assert (entry.kind, entry.actor, entry.is_by_reviewer, entry.text) == (outcome, reviewer, True, "This is why.")
    assert entry.submission == submission


def test_approval_needs_no_reason(pending, reviewer):
    review.approve_submission(submission=waiting(pending), actor=reviewer)

    assert pending.submissions.get().reason == ""


@pytest.mark.parametrize("reason", ["", " \n", "x" * 5001, "a\x00b"])
@pytest.mark.parametrize("decide", [review.request_changes, review.reject_submission])
def test_refusal_needs_a_reason(pending, reviewer, decide, reason):
    with pytest.raises(ValidationError):
        decide(submission=waiting(pending), actor=reviewer, reason=reason)

    pending.refresh_from_db()
    assert pending.status == Status.PENDING
    assert kinds(pending) == ["registered"]


@pytest.mark.parametrize("role", Role.values)
def test_nobody_decides_on_an_application_whose_team_they_are_on(pending, reviewer, role, decision):
    TeamMember.objects.create(application=pending, user=reviewer, role=role)

    with pytest.raises(OwnApplicationError):
        decision[0](submission=waiting(pending), actor=reviewer, reason="It is mine.")

    pending.refresh_from_db()
    assert (pending.status, kinds(pending)) == (Status.PENDING, ["registered"])


def test_nobody_decides_on_what_they_registered_after_leaving_the_team(pending, owner, join, decision):
    join(pending, Role.OWNER)
    pending.team.filter(user=owner).delete()

    with pytest.raises(OwnApplicationError):
        decision[0](submission=waiting(pending), actor=owner, reason="It was mine.")
    with pytest.raises(OwnApplicationError):
        review.approve_application(application=pending, actor=owner)
    assert waiting(pending).decided_by is None


def test_nobody_decides_on_what_they_sent_after_leaving_the_team(live, join, submit, reviewer, decision):
    member = join(live)
    submit(live, actor=member.user, scopes=["receipt:write", "receipt:read"])
    member.delete()

    with pytest.raises(OwnApplicationError):
        decision[0](submission=waiting(live), actor=member.user, reason="It was mine.")
    # Of what others have sent since, they decide like anybody else.
    submit(live, scopes=["receipt:write", "receipt:read"], description=f"New {DESCRIPTION}")
    decision[0](submission=waiting(live), actor=member.user, reason="Theirs.")


@pytest.mark.parametrize(
    "act",
    [
        lambda application, actor: review.suspend_application(application=application, actor=actor),
        lambda application, actor: review.reinstate_application(application=application, actor=actor),
        lambda application, actor: review.set_trusted(application=application, actor=actor, is_trusted=True),
    ],
    ids=["suspend", "reinstate", "trust"],
)
def test_nobody_acts_for_the_organisation_on_their_own_application(live, owner, act):
    before = kinds(live)
    with pytest.raises(OwnApplicationError):
        act(live, owner)

    live.refresh_from_db()
    assert (live.status, live.is_trusted, kinds(live)) == (Status.APPROVED, False, before)


def test_second_decision_is_told_and_changes_nothing(pending, reviewer, make_user, decision):
    submission = waiting(pending)
    review.request_changes(submission=submission, actor=reviewer, reason="Say more.")

    with pytest.raises(AlreadyDecidedError) as refusal:
        decision[0](submission=submission, actor=make_user("rob@example.com"), reason="No.")

    assert refusal.value.submission.outcome == Outcome.CHANGES_REQUESTED
    assert (refusal.value.latest.kind, refusal.value.latest.actor) == (HistoryKind.CHANGES_REQUESTED, reviewer)
    pending.refresh_from_db()
    assert pending.status == Status.CHANGES_REQUESTED
    assert kinds(pending) == ["registered", "changes_requested"]


def test_second_decision_is_told_of_the_first_and_not_of_what_happened_since(
    pending, reviewer, owner, submit, make_user, decision
):
    first = waiting(pending)
    decision[0](submission=first, actor=reviewer, reason="This is why.")
    applications.set_redirect_uris(application=pending, actor=owner, redirect_uris=["https://other.example/callback"])
    submit(pending, description=f"New {DESCRIPTION}")
    review.approve_submission(submission=waiting(pending), actor=make_user("rob@example.com"))

    with pytest.raises(AlreadyDecidedError) as refusal:
        review.reject_submission(submission=first, actor=make_user("rob2@example.com"), reason="No.")
    assert (refusal.value.latest.kind, refusal.value.latest.actor) == (decision[1], reviewer)


def test_decision_on_a_version_that_was_taken_back_is_told_so(live, reviewer, owner, submit):
    seen = submit(live, scopes=["receipt:write", "receipt:read"]).submission
    review.withdraw_submission(submission=seen, actor=owner)
    applications.set_redirect_uris(application=live, actor=owner, redirect_uris=["https://other.example/callback"])

    with pytest.raises(AlreadyDecidedError) as refusal:
        review.approve_submission(submission=seen, actor=reviewer)
    assert (refusal.value.latest.kind, refusal.value.latest.actor) == (HistoryKind.WITHDRAWN, owner)


def test_decision_on_a_version_that_was_replaced_changes_nothing(pending, submit, reviewer, decision):
    seen = waiting(pending)
    submit(pending, description=f"New {DESCRIPTION}")

    with pytest.raises(AlreadyDecidedError) as refusal:
        decision[0](submission=seen, actor=reviewer, reason="No.")
    assert refusal.value.latest.kind == HistoryKind.SUBMITTED
    assert waiting(pending).number == 2


@pytest.mark.django_db(transaction=True)
def test_of_decisions_at_the_same_moment_one_counts(pending, reviewer, make_user):
    submission = waiting(pending)
    other = make_user("rob@example.com")

    def attempt(decide, actor):
        def run():
            try:
                decide(submission=submission, actor=actor, reason="This is why.")
            except AlreadyDecidedError as refusal:
                return refusal
            return None

        return run

    answers = at_once(attempt(review.approve_submission, reviewer), attempt(review.reject_submission, other))

    [refusal] = [answer for answer in answers if answer is not None]
    assert refusal.latest.actor == submission.application.submissions.get().decided_by
    assert len(kinds(pending)) == 2
    pending.refresh_from_db()
    assert pending.status == submission.application.submissions.get().outcome


@pytest.mark.django_db(transaction=True)
def test_decision_and_new_version_at_the_same_moment_do_not_overwrite_each_other(pending, submit, reviewer):
    submission = waiting(pending)

    def approve():
        try:
            review.approve_submission(submission=submission, actor=reviewer)
        except AlreadyDecidedError:
            return False
        return True

    is_approved, _result = at_once(approve, lambda: submit(pending, description=f"New {DESCRIPTION}"))

    pending.refresh_from_db()
    assert waiting(pending).number == 2
    assert pending.status == (Status.APPROVED if is_approved else Status.PENDING)
    assert (pending.description == DESCRIPTION) == is_approved


def test_redirect_urls_that_changed_since_the_reviewer_looked_stop_the_approval(pending, reviewer, owner):
    seen = pending.redirect_uri_list
    applications.set_redirect_uris(application=pending, actor=owner, redirect_uris=["https://other.example/callback"])

    with pytest.raises(RefusedError, match="redirect URLs have changed"):
        review.approve_submission(submission=waiting(pending), actor=reviewer, seen_redirect_uris=seen)
    pending.refresh_from_db()
    assert pending.status == Status.PENDING

    review.approve_submission(
        submission=waiting(pending), actor=reviewer, seen_redirect_uris=["https://other.example/callback"]
    )


def test_deleted_application_is_not_decided_on(pending, reviewer, owner, decision):
    submission = waiting(pending)
    applications.mark_deleted(application=pending, actor=owner)

    with pytest.raises(RefusedError, match="deleted"):
        decision[0](submission=submission, actor=reviewer, reason="No.")
    submission.refresh_from_db()
    assert submission.outcome == Outcome.WITHDRAWN


# --- suspension -------------------------------------------------------------------------------------


@pytest.fixture
def registered(register, reviewer):
    """An approved application with its secret."""
    application, secret = register()
    review.approve_submission(submission=waiting(application), actor=reviewer)
    application.refresh_from_db()
    return RegisteredApplication(application, secret)


def test_suspension_stops_every_token_at_once_and_its_end_lets_them_work_again(
    registered, reviewer, connect, introspect, browser, exchange, make_application
):
    resource_server = make_application("service")
    token = connect(registered)["access_token"]
    code = browser.authorize(registered)

    assert review.suspend_application(application=registered.row, actor=reviewer, reason="Sends too much.")
    assert introspect(resource_server, token) == {"active": False}
    assert browser.ask(registered).status_code == 400
    assert exchange(registered, code).json()["error"] == "unauthorized_client"

    assert review.reinstate_application(application=registered.row, actor=reviewer)
    assert introspect(resource_server, token)["active"] is True
    assert kinds(registered.row)[-2:] == ["suspended", "reinstated"]


def test_suspending_twice_is_once(live, reviewer):
    assert review.suspend_application(application=live, actor=reviewer)
    assert not review.suspend_application(application=live, actor=reviewer)

    assert kinds(live).count("suspended") == 1


def test_what_is_not_live_cannot_be_suspended(pending, reviewer):
    with pytest.raises(RefusedError, match="not live"):
        review.suspend_application(application=pending, actor=reviewer)


def test_what_is_not_suspended_is_not_reinstated(pending, live, reviewer):
    assert not review.reinstate_application(application=live, actor=reviewer)
    assert "reinstated" not in kinds(live)


@pytest.mark.parametrize("act", [review.suspend_application, review.reinstate_application])
def test_reason_that_cannot_be_kept_is_refused(live, reviewer, act):
    with pytest.raises(ValidationError):
        act(application=live, actor=reviewer, reason="a\x00b")


def test_approval_during_a_suspension_waits_for_its_end(live, submit, reviewer):
    submission = submit(live, scopes=["receipt:write", "receipt:read"]).submission
    review.suspend_application(application=live, actor=reviewer)
    review.approve_submission(submission=submission, actor=reviewer)

    live.refresh_from_db()
    assert (live.status, live.scopes) == (Status.SUSPENDED, ["receipt:write", "receipt:read"])
    review.reinstate_application(application=live, actor=reviewer)
    assert live.status == Status.APPROVED


# --- trust, administrators, comments ----------------------------------------------------------------


def test_trust_is_given_and_taken_back(live, reviewer):
    assert review.set_trusted(application=live, actor=reviewer, is_trusted=True)
    assert not review.set_trusted(application=live, actor=reviewer, is_trusted=True)
    assert review.set_trusted(application=live, actor=reviewer, is_trusted=False)

    live.refresh_from_db()
    assert not live.is_trusted
    assert kinds(live)[-2:] == ["trusted", "untrusted"]


def test_public_client_that_anybody_can_pretend_to_be_is_not_trusted(register, reviewer):
    application, _secret = register(client_type="public", redirect_uris=["com.example.app:/callback"])

    with pytest.raises(ValidationError, match="https"):
        review.set_trusted(application=application, actor=reviewer, is_trusted=True)
    application.refresh_from_db()
    assert not application.is_trusted


def test_administrator_approves_what_waits(pending):
    assert review.approve_application(application=pending, actor=None)
    assert not review.approve_application(application=pending, actor=None)

    assert pending.submissions.get().outcome == Outcome.APPROVED
    assert kinds(pending) == ["registered", "approved"]


def test_administrator_approves_what_was_rejected_or_suspended(pending, reviewer):
    review.reject_submission(submission=waiting(pending), actor=reviewer, reason="No.")
    assert review.approve_application(application=pending, actor=None)
    review.suspend_application(application=pending, actor=reviewer)
    assert review.approve_application(application=pending, actor=None)

    pending.refresh_from_db()
    assert pending.status == Status.APPROVED
    assert kinds(pending)[-3:] == ["approved", "suspended", "reinstated"]


def test_comment_is_kept_with_the_side_it_comes_from(live, owner, reviewer):
    review.add_comment(application=live, actor=owner, text=" Is <b>this</b> clear? ", is_by_reviewer=False)
    review.add_comment(application=live, actor=reviewer, text="It is.", is_by_reviewer=True)

    comments = live.history.filter(kind="commented").order_by("pk").values_list("actor", "text", "is_by_reviewer")
    assert list(comments) == [(owner.pk, "Is <b>this</b> clear?", False), (reviewer.pk, "It is.", True)]


@pytest.mark.parametrize("text", ["", "  ", "x" * 5001, "a\x00b"])
def test_comment_that_says_nothing_or_too_much_is_refused(live, owner, text):
    with pytest.raises(ValidationError):
        review.add_comment(application=live, actor=owner, text=text, is_by_reviewer=False)


# --- administrators write past the review -----------------------------------------------------------


def test_administrator_s_version_is_live_at_once(live):
    assert review.change_version(
        application=live, actor=None, description="", scopes=["receipt:read"], reasons={"receipt:read": ""}
    )

    live.refresh_from_db()
    assert (live.description, live.scopes, live.status) == ("", ["receipt:read"], Status.APPROVED)
    assert not review.change_version(
        application=live, actor=None, description="", scopes=["receipt:read"], reasons={"receipt:read": ""}
    )


def test_scope_taken_away_by_an_administrator_does_not_come_back_with_what_waits(live, submit, owner, reviewer):
    review.approve_submission(
        submission=submit(live, scopes=["receipt:write", "receipt:read"]).submission, actor=reviewer
    )
    seen = submit(live, scopes=["receipt:write", "receipt:read"], description=f"New {DESCRIPTION}").submission
    review.change_version(
        application=live,
        actor=None,
        description=DESCRIPTION,
        scopes=["receipt:write"],
        reasons={"receipt:write": "We send receipts."},
    )

    with pytest.raises(AlreadyDecidedError):
        review.approve_submission(submission=seen, actor=reviewer)
    review.approve_submission(submission=waiting(live), actor=reviewer)
    live.refresh_from_db()
    assert (live.scopes, live.description) == (["receipt:write"], f"New {DESCRIPTION}")
    assert waiting_by(live) == owner


def waiting_by(application):
    return application.submissions.latest("number").submitted_by


def test_comments_have_a_limit_for_each_person(live, owner, reviewer):
    for number in range(review.MOST_COMMENTS_AN_HOUR):
        review.add_comment(application=live, actor=owner, text=f"Comment {number}", is_by_reviewer=False)

    with pytest.raises(RefusedError, match="Wait an hour"):
        review.add_comment(application=live, actor=owner, text="One more", is_by_reviewer=False)
    review.add_comment(application=live, actor=reviewer, text="Somebody else’s", is_by_reviewer=True)
    live.history.filter(actor=owner).update(created_at=timezone.now() - timedelta(hours=1, seconds=1))
    review.add_comment(application=live, actor=owner, text="An hour later", is_by_reviewer=False)


def test_versions_have_a_limit_for_each_application(pending, owner):
    def submit(number):
        return review.submit_version(
            application=pending,
            actor=owner,
            description=f"{DESCRIPTION} {number}",
            scopes=["receipt:write"],
            reasons=REASONS,
        )

    for number in range(review.MOST_VERSIONS_AN_HOUR - 1):
        submit(number)
    with pytest.raises(RefusedError, match="Wait an hour"):
        submit("one more")
    pending.submissions.update(submitted_at=timezone.now() - timedelta(hours=1, seconds=1))
    submit("an hour later")
