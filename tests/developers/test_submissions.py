"""Sending versions for review: what waits, what goes on, and what takes effect at once (CONTRACT section 9)."""

import pytest
from django.core.exceptions import ValidationError

from apps.developers.errors import AlreadyDecidedError, FormOverError, RefusedError, StaleVersionError
from apps.developers.models import Draft, Outcome, Status, TeamMember
from apps.developers.services import applications, drafts, review
from apps.developers.services.terms import agree_to_terms, current_terms, publish_terms
from apps.developers.services.versions import mark_of
from tests.conftest import RegisteredApplication, query_of
from tests.developers.conftest import DESCRIPTION, REASONS, kinds, waiting

pytestmark = pytest.mark.spec("CONTRACT", "9 (versions)")

BOTH = ["receipt:write", "receipt:read"]


@pytest.fixture
def registered(register, reviewer):
    """An approved application that sends and reads receipts, with its secret."""
    application, secret = register(scopes=BOTH)
    review.approve_submission(submission=waiting(application), actor=reviewer)
    application.refresh_from_db()
    return RegisteredApplication(application, secret)


@pytest.fixture
def token(registered, connect):
    """An access token with both scopes."""
    return connect(registered)["access_token"]


def outcomes(application):
    return list(application.submissions.order_by("number").values_list("outcome", flat=True))


def reasons_of(application):
    return dict(application.requested_scopes.values_list("scope", "reason"))


# --- nothing is live yet ----------------------------------------------------------------------------


def test_new_version_of_an_unapproved_application_replaces_it(pending, submit):
    result = submit(pending, description=f"New {DESCRIPTION}", scopes=BOTH)

    pending.refresh_from_db()
    assert result.submission == waiting(pending)
    assert (result.submission.number, result.removed_scopes) == (2, [])
    assert (pending.status, pending.description, pending.scopes) == (Status.PENDING, f"New {DESCRIPTION}", BOTH)
    assert outcomes(pending) == [Outcome.WITHDRAWN, Outcome.WAITING]
    assert kinds(pending) == ["registered", "submitted"]


@pytest.mark.parametrize("decide", [review.request_changes, review.reject_submission])
def test_answer_to_a_refusal_goes_back_to_the_queue(pending, submit, reviewer, decide):
    decide(submission=waiting(pending), actor=reviewer, reason="Say more.")
    pending.refresh_from_db()
    assert pending.status in {Status.CHANGES_REQUESTED, Status.REJECTED}

    submit(pending)

    pending.refresh_from_db()
    assert pending.status == Status.PENDING
    assert outcomes(pending)[-1] == Outcome.WAITING


def test_first_version_cannot_be_withdrawn(pending, owner):
    with pytest.raises(RefusedError, match="first version"):
        review.withdraw_submission(submission=waiting(pending), actor=owner)

    assert outcomes(pending) == [Outcome.WAITING]


# --- a version is live ------------------------------------------------------------------------------


def test_added_scope_waits_while_the_live_version_goes_on(live, submit, reviewer):
    result = submit(live, scopes=BOTH)

    live.refresh_from_db()
    assert (live.status, live.scopes) == (Status.APPROVED, ["receipt:write"])
    assert reasons_of(live) == {"receipt:write": REASONS["receipt:write"]}

    review.approve_submission(submission=result.submission, actor=reviewer)
    live.refresh_from_db()
    assert (live.status, live.scopes) == (Status.APPROVED, BOTH)
    assert reasons_of(live) == REASONS


def test_tokens_keep_working_and_their_scopes_while_a_version_waits_and_after(
    register, reviewer, connect, submit, introspect, browser
):
    application, secret = register()
    review.approve_submission(submission=waiting(application), actor=reviewer)
    registered = RegisteredApplication(application, secret)
    token = connect(registered)["access_token"]

    submission = submit(application, scopes=BOTH).submission
    assert introspect(registered, token)["scope"] == "receipt:write"
    refused = browser.ask(registered, scope="receipt:read")
    assert query_of(refused)["error"] == "invalid_scope"

    review.approve_submission(submission=submission, actor=reviewer)
    assert introspect(registered, token)["scope"] == "receipt:write"
    assert browser.ask(registered, scope="receipt:read").status_code == 200


def test_removed_scope_ends_at_once_on_live_tokens(registered, token, submit, introspect, browser):
    assert introspect(registered, token)["scope"].split() == BOTH

    result = submit(registered.row, scopes=["receipt:write"])

    assert (result.removed_scopes, result.submission) == (["receipt:read"], None)
    assert introspect(registered, token)["scope"] == "receipt:write"
    assert query_of(browser.ask(registered, scope="receipt:read"))["error"] == "invalid_scope"
    assert kinds(registered.row)[-1] == "scopes_removed"
    registered.row.refresh_from_db()
    assert registered.row.status == Status.APPROVED
    assert outcomes(registered.row) == [Outcome.APPROVED]


def test_scope_that_is_removed_and_asked_for_again_waits(registered, token, submit, introspect, reviewer):
    submit(registered.row, scopes=["receipt:write"])
    result = submit(registered.row, scopes=BOTH)

    assert introspect(registered, token)["scope"] == "receipt:write"
    assert result.submission.is_waiting


def test_removal_beside_other_words_takes_effect_at_once_and_the_words_wait(registered, token, submit, introspect):
    result = submit(registered.row, scopes=["receipt:write"], description=f"New {DESCRIPTION}")

    registered.row.refresh_from_db()
    assert result.removed_scopes == ["receipt:read"]
    assert result.submission.description == f"New {DESCRIPTION}"
    assert registered.row.description == DESCRIPTION
    assert introspect(registered, token)["scope"] == "receipt:write"


@pytest.mark.parametrize(
    "fields",
    [
        {"description": f"New {DESCRIPTION}"},
        {"reasons": {"receipt:write": "For another reason."}},
        {"optional_scopes": ["receipt:write"]},
    ],
)
def test_other_words_wait(live, submit, fields):
    result = submit(live, **fields)

    live.refresh_from_db()
    assert result.submission == waiting(live)
    assert live.description == DESCRIPTION
    assert reasons_of(live) == {"receipt:write": REASONS["receipt:write"]}
    assert not live.requested_scopes.get().is_optional


def test_nothing_new_needs_no_review(live, submit):
    result = submit(live)

    assert (result.removed_scopes, result.submission) == ([], None)
    assert outcomes(live) == [Outcome.APPROVED]


def test_line_ends_that_browsers_add_are_nothing_new(register, reviewer, submit):
    application, _secret = register(
        description=f"One\n\n{DESCRIPTION}", reasons={"receipt:write": "We send\nall receipts."}
    )
    review.approve_submission(submission=waiting(application), actor=reviewer)
    application.refresh_from_db()

    result = submit(
        application,
        description=f"One\r\n\r\n{DESCRIPTION}\r\n",
        reasons={"receipt:write": "We send\r\nall receipts."},
    )

    assert result.submission is None


def test_old_line_ends_of_an_administrator_are_nothing_new_either(live, submit):
    live.description = f"One\r\n{DESCRIPTION}\r\n"
    live.save()

    assert submit(live, description=f"One\r\n{DESCRIPTION}\r\n").submission is None


def test_waiting_version_is_replaced_by_the_next(live, submit):
    first = submit(live, scopes=BOTH).submission
    second = submit(live, scopes=BOTH, description=f"New {DESCRIPTION}").submission

    assert (first.number, second.number) == (2, 3)
    assert outcomes(live) == [Outcome.APPROVED, Outcome.WITHDRAWN, Outcome.WAITING]
    assert waiting(live) == second


def test_going_back_to_the_live_version_withdraws_what_waits(live, submit):
    submit(live, scopes=BOTH)
    result = submit(live)

    assert result.submission is None
    assert outcomes(live) == [Outcome.APPROVED, Outcome.WITHDRAWN]
    assert kinds(live)[-1] == "withdrawn"


@pytest.mark.parametrize("decide", [review.request_changes, review.reject_submission])
def test_refusal_of_a_later_version_leaves_the_live_one(live, submit, reviewer, decide):
    decide(submission=submit(live, scopes=BOTH).submission, actor=reviewer, reason="Say more.")

    live.refresh_from_db()
    assert (live.status, live.scopes) == (Status.APPROVED, ["receipt:write"])


def test_scope_removed_while_a_version_waits_does_not_come_back_with_it(registered, submit, reviewer):
    submit(registered.row, scopes=BOTH, description=f"New {DESCRIPTION}")
    submit(registered.row, scopes=["receipt:write"], description=f"New {DESCRIPTION}")
    review.approve_submission(submission=waiting(registered.row), actor=reviewer)

    registered.row.refresh_from_db()
    assert registered.row.scopes == ["receipt:write"]


# --- what is refused --------------------------------------------------------------------------------


def test_suspended_application_sends_nothing(live, submit, reviewer):
    review.suspend_application(application=live, actor=reviewer)

    with pytest.raises(RefusedError, match="suspended"):
        submit(live, scopes=BOTH)
    assert outcomes(live) == [Outcome.APPROVED]


def test_deleted_application_sends_nothing(live, submit, owner):
    applications.mark_deleted(application=live, actor=owner)

    with pytest.raises(RefusedError, match="deleted"):
        submit(live, scopes=BOTH)


def test_wrong_version_changes_nothing_not_even_the_removal(registered, submit):
    with pytest.raises(ValidationError) as refusal:
        submit(registered.row, scopes=["receipt:write"], description="short", reasons={})

    assert set(refusal.value.message_dict) == {"description", "reason-receipt:write"}
    registered.row.refresh_from_db()
    assert registered.row.scopes == BOTH


def test_scope_of_another_profile_is_refused(live, submit):
    with pytest.raises(ValidationError, match="Not a scope of this profile"):
        submit(live, scopes=["receipt:write", "introspect"], reasons={**REASONS, "introspect": "We are curious."})


# --- written beside what is not so any more ---------------------------------------------------------


def test_version_is_taken_if_nothing_has_changed_since(live, submit):
    assert submit(live, scopes=BOTH, seen=mark_of(live)).submission == waiting(live)


def test_comment_is_no_change(live, submit, owner):
    seen = mark_of(live)
    review.add_comment(application=live, actor=owner, text="Hello?", is_by_reviewer=False)

    assert submit(live, scopes=BOTH, seen=seen).submission == waiting(live)


def test_version_that_does_not_know_of_a_scope_that_became_live_ends_nothing(live, submit, reviewer):
    seen = mark_of(live)
    submit(live, scopes=BOTH)
    review.approve_submission(submission=waiting(live), actor=reviewer)

    with pytest.raises(StaleVersionError, match="has changed since you opened the page"):
        submit(live, seen=seen)
    live.refresh_from_db()
    assert live.scopes == BOTH

    assert submit(live, seen=mark_of(live)).removed_scopes == ["receipt:read"]


@pytest.mark.parametrize(
    "fields",
    [{"description": f"New {DESCRIPTION}"}, {"scopes": ["receipt:write"], "optional_scopes": ["receipt:write"]}],
)
def test_version_does_not_replace_what_an_administrator_wrote_meanwhile(live, submit, fields):
    seen = mark_of(live)
    written = {"description": DESCRIPTION, "scopes": ["receipt:write"], "reasons": REASONS, **fields}
    assert review.change_version(application=live, actor=None, **written)

    with pytest.raises(StaleVersionError):
        submit(live, scopes=BOTH, seen=seen)


def test_version_does_not_replace_one_that_was_sent_meanwhile(live, submit):
    seen = mark_of(live)
    first = submit(live, scopes=BOTH).submission

    with pytest.raises(StaleVersionError):
        submit(live, description=f"New {DESCRIPTION}", seen=seen)
    assert waiting(live) == first


def test_form_from_before_the_approval_ends_nothing(pending, submit, reviewer):
    """It said that nobody can connect yet."""
    seen = mark_of(pending)
    review.approve_submission(submission=waiting(pending), actor=reviewer)

    with pytest.raises(StaleVersionError):
        submit(pending, scopes=["receipt:read"], seen=seen)
    pending.refresh_from_db()
    assert pending.scopes == ["receipt:write"]


# --- taking back ------------------------------------------------------------------------------------


def test_waiting_version_can_be_withdrawn(live, submit, owner):
    submission = submit(live, scopes=BOTH).submission
    review.withdraw_submission(submission=submission, actor=owner)

    submission.refresh_from_db()
    assert submission.outcome == Outcome.WITHDRAWN
    assert submission.decided_at is not None
    assert kinds(live)[-1] == "withdrawn"


def test_what_was_withdrawn_is_a_draft_of_whoever_took_it_back(live, submit, owner, join):
    colleague = join(live).user
    submission = submit(live, scopes=BOTH, optional_scopes=["receipt:read"]).submission
    review.withdraw_submission(submission=submission, actor=colleague)

    draft = Draft.objects.get()
    assert (draft.user, draft.application) == (colleague, live)
    assert draft.fields == {
        "description": [DESCRIPTION],
        "scopes": BOTH,
        "optional": ["receipt:read"],
        "reason-receipt:write": [REASONS["receipt:write"]],
        "reason-receipt:read": [REASONS["receipt:read"]],
        "seen": [mark_of(live)],
    }


def test_withdrawing_leaves_what_is_being_written(live, submit, owner):
    submission = submit(live, scopes=BOTH).submission
    drafts.save_draft(user=owner, application=live, fields={"description": ["Newer."]})
    review.withdraw_submission(submission=submission, actor=owner)

    assert Draft.objects.get().fields == {"description": ["Newer."]}


def test_what_is_decided_cannot_be_withdrawn(live, submit, owner, reviewer):
    submission = submit(live, scopes=BOTH).submission
    review.approve_submission(submission=submission, actor=reviewer)

    with pytest.raises(AlreadyDecidedError) as refusal:
        review.withdraw_submission(submission=submission, actor=owner)
    assert refusal.value.latest.kind == "approved"


# --- what goes along --------------------------------------------------------------------------------


def test_draft_of_the_version_is_forgotten(live, submit, owner, member):
    drafts.save_draft(user=owner, application=live, fields={"description": ["Next"]})
    drafts.save_draft(user=member, application=live, fields={"description": ["Theirs"]})
    submit(live)

    assert list(Draft.objects.values_list("user", flat=True)) == [member.pk]


def key_of(user, application):
    """What a page that is opened now carries."""
    return TeamMember.objects.get(user=user, application=application).form_key


@pytest.mark.parametrize(
    ("scopes", "optional"),
    [(BOTH, ["receipt:read"]), (["receipt:write"], []), (BOTH, [])],
    ids=["changed", "a scope less", "as it is live"],
)
def test_draft_that_comes_after_its_version_is_not_kept(registered, submit, owner, scopes, optional):
    """A page's script may send it just before the form."""
    application = registered.row
    late = {"user": owner, "application": application, "fields": {"description": ["Almost"]}}
    key = key_of(owner, application)
    submit(application, scopes=scopes, optional_scopes=optional)

    with pytest.raises(FormOverError, match="Not kept as a draft"):
        drafts.save_draft(**late, form_key=key)
    assert not Draft.objects.exists()
    drafts.save_draft(**late, form_key=key_of(owner, application))
    assert Draft.objects.get().user == owner


def test_draft_that_comes_late_is_not_kept_whatever_has_happened_since(live, submit, owner, join, reviewer):
    late = {"user": owner, "application": live, "fields": {"description": ["Almost"]}, "form_key": key_of(owner, live)}
    submit(live, scopes=BOTH)
    review.approve_submission(submission=waiting(live), actor=reviewer)
    submit(live, actor=join(live).user, scopes=["receipt:write"])

    with pytest.raises(FormOverError):
        drafts.save_draft(**late)
    assert not Draft.objects.exists()


def test_draft_is_kept_if_it_is_somebody_else_who_has_sent_a_version(live, submit, join):
    colleague = join(live).user
    key = key_of(colleague, live)
    submit(live, scopes=BOTH)

    drafts.save_draft(user=colleague, application=live, fields={"description": ["Mine"]}, form_key=key)
    assert Draft.objects.get().user == colleague


def test_draft_is_kept_if_the_version_was_approved_since(live, submit, owner, reviewer):
    submit(live, scopes=BOTH)
    key = key_of(owner, live)
    review.approve_submission(submission=waiting(live), actor=reviewer)

    drafts.save_draft(user=owner, application=live, fields={"description": ["Mine"]}, form_key=key)
    assert Draft.objects.get().user == owner


def test_draft_is_kept_if_what_was_sent_is_refused(live, submit, owner):
    key = key_of(owner, live)
    with pytest.raises(ValidationError):
        submit(live, description="Too short.")

    drafts.save_draft(user=owner, application=live, fields={"description": ["Too short."]}, form_key=key)
    assert Draft.objects.get().user == owner


def test_draft_of_who_has_left_the_team_is_not_kept(live, join):
    member = join(live)
    key = member.form_key
    member.delete()

    with pytest.raises(RefusedError, match="not on the team"):
        drafts.save_draft(user=member.user, application=live, fields={"description": ["Mine"]}, form_key=key)
    assert not Draft.objects.exists()


def test_terms_are_kept_only_if_the_submitter_agreed_to_those_in_force(live, submit, owner, organisation):
    assert submit(live, scopes=BOTH).submission.terms == current_terms(organisation)

    newer = publish_terms(organisation=organisation, text="Be kinder.")
    assert submit(live, scopes=BOTH).submission.terms is None

    agree_to_terms(user=owner, terms=newer)
    assert submit(live, scopes=BOTH).submission.terms == newer
