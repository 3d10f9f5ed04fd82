"""The way of an application through the review.

Whoever changes something locks the application's row first (NO KEY UPDATE: token requests, which only refer to it,
do not wait). A decision says which submission it is about; if that one is decided already, nothing is changed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.developers import mails, rules, selectors
from apps.developers.errors import AlreadyDecidedError, OwnApplicationError, RefusedError, StaleVersionError
from apps.developers.history import note
from apps.developers.models import (
    Application,
    HistoryEntry,
    HistoryKind,
    Outcome,
    Status,
    Submission,
)
from apps.developers.models.review import SubmittedScope
from apps.developers.scopes import in_catalogue_order
from apps.developers.services import drafts
from apps.developers.services.locking import lock_application, lock_person
from apps.developers.services.versions import (
    apply_version,
    create_submission,
    live_scopes,
    mark_of,
    set_requested_scopes,
)

#: Each is a mail to many. Comments are counted for one person, versions for the application.
MOST_COMMENTS_AN_HOUR = 30
MOST_VERSIONS_AN_HOUR = 20
_DECISIONS = frozenset({HistoryKind.APPROVED, HistoryKind.CHANGES_REQUESTED, HistoryKind.REJECTED})
#: What ends the waiting of a version without a decision on it.
_NEW_VERSIONS = frozenset({HistoryKind.SUBMITTED, HistoryKind.WITHDRAWN, HistoryKind.VERSION_CHANGED})


@dataclass(frozen=True)
class SubmitResult:
    """What came of a new version: scopes that ended at once, and what waits for the review (None: nothing has to)."""

    removed_scopes: list[str]
    submission: Submission | None


@transaction.atomic
def submit_version(
    *,
    application: Application,
    actor: User | None,
    description: str,
    scopes: Sequence[str],
    reasons: Mapping[str, str],
    optional_scopes: Collection[str] = (),
    seen: str | None = None,
) -> SubmitResult:
    """Send a version for review, in the place of one that is waiting.

    What is live goes on. A scope that is left out ends at once; only what is more than before, or other words, waits.
    `seen` is the mark (`versions.mark_of`) of what the page showed: what was added since must not end because an older
    form does not know of it.
    Raises ValidationError by field (`description`, `scopes`, `reason-<scope>`), StaleVersionError, RefusedError.
    """
    row = lock_application(application)
    if row.status == Status.SUSPENDED:
        raise RefusedError(_("The application is suspended. Write a comment to the reviewers first."))
    if seen is not None and seen != mark_of(row):
        raise StaleVersionError
    if row.submissions.filter(submitted_at__gt=timezone.now() - timedelta(hours=1)).count() >= MOST_VERSIONS_AN_HOUR:
        raise RefusedError(_("That is a lot of versions. Wait an hour, then go on."))
    scopes, description = in_catalogue_order(scopes), rules.clean_text(description)
    rules.check_version(profile=row.profile, description=description, scopes=scopes, reasons=reasons)
    removed = [scope for scope in row.scopes if scope not in scopes]
    version = [
        SubmittedScope(scope=scope, reason=rules.clean_text(reasons[scope]), is_optional=scope in optional_scopes)
        for scope in scopes
    ]
    if row.is_approved:
        if removed:
            _remove_scopes(row, removed, actor=actor)
        needs_review = description != rules.clean_text(row.description) or version != live_scopes(row)
    else:
        apply_version(row, description=description, scopes=version)
        needs_review = True
    drafts.end_draft(user=actor, application=row)
    withdrawn = _withdraw_waiting(row)
    if not needs_review:
        if withdrawn:
            note(row, HistoryKind.WITHDRAWN, actor=actor, submission=withdrawn)
        return SubmitResult(removed, None)
    submission = create_submission(application=row, actor=actor, description=description, scopes=version)
    if not row.is_approved:
        _set_status(row, Status.PENDING)
    note(row, HistoryKind.SUBMITTED, actor=actor, submission=submission, number=submission.number)
    mails.version_submitted(row, submission=submission, actor=actor)
    return SubmitResult(removed, submission)


@transaction.atomic
def change_version(
    *,
    application: Application,
    actor: User | None,
    description: str,
    scopes: Sequence[str],
    reasons: Mapping[str, str],
    optional_scopes: Collection[str] = (),
) -> bool:
    """Write another version to the application, past the review, as only administrators may; says whether it differs.

    Neither description nor reasons are needed; what is given of them follows the rules. What waits for a review is
    replaced, so that no reviewer approves what they have not seen: by this version if nothing was live, else by itself
    without the scopes that are taken away here.
    Raises ValidationError like `rules.check_application`, RefusedError.
    """
    row = lock_application(application)
    scopes, description = in_catalogue_order(scopes), rules.clean_text(description)
    before = live_scopes(row)
    version = [
        SubmittedScope(
            scope=scope, reason=rules.clean_text(reasons.get(scope, "")), is_optional=scope in optional_scopes
        )
        for scope in scopes
    ]
    is_described_anew = description != rules.clean_text(row.description)
    if version == before and not is_described_anew:
        return False
    rules.check_application(
        name=row.name,
        profile=row.profile,
        redirect_uris=row.redirect_uri_list,
        scopes=scopes,
        client_type=row.client_type,
        # What was there before there were rules may stay.
        description=description if is_described_anew else "",
        reasons={entry["scope"]: entry["reason"] for entry in version if entry not in before},
    )
    removed = [scope for scope in row.scopes if scope not in scopes]
    note(
        row,
        HistoryKind.VERSION_CHANGED,
        actor=actor,
        is_by_reviewer=True,
        added=[scope for scope in scopes if scope not in row.scopes],
        removed=removed,
        changed=[entry["scope"] for entry in version if _is_changed(entry, before)],
        description=is_described_anew,
    )
    apply_version(row, description=description, scopes=version)
    waiting = _withdraw_waiting(row)
    if waiting is not None:
        if row.status in {Status.APPROVED, Status.SUSPENDED}:
            description = waiting.description
            version = [entry for entry in waiting.scopes if entry["scope"] not in removed]
        again = create_submission(application=row, actor=waiting.submitted_by, description=description, scopes=version)
        again.submitted_at = waiting.submitted_at
        again.save(update_fields=["submitted_at"])
    application.refresh_from_db(fields=["description", "scopes"])
    return True


@transaction.atomic
def withdraw_submission(*, submission: Submission, actor: User) -> None:
    """Take back what waits, beside a live version; `actor` goes on with it as their draft.

    Raises AlreadyDecidedError, RefusedError.
    """
    lock_person(actor)
    row = lock_application(submission.application)
    waiting = _waiting(row, submission)
    if not row.is_approved:
        raise RefusedError(_("This is the application’s first version: send another, or delete the application."))
    waiting.outcome = Outcome.WITHDRAWN
    waiting.decided_at = timezone.now()
    waiting.save(update_fields=["outcome", "decided_at"])
    note(row, HistoryKind.WITHDRAWN, actor=actor, submission=waiting)
    drafts.keep_submission(user=actor, submission=waiting)


@transaction.atomic
def approve_submission(
    *,
    submission: Submission,
    actor: User | None,
    reason: str = "",
    seen_redirect_uris: Sequence[str] | None = None,
) -> None:
    """Make the submission the live version.

    `seen_redirect_uris` are those that the reviewer's page showed: they are not of the submission, and change at once.
    Raises AlreadyDecidedError, OwnApplicationError, RefusedError, ValidationError for the reason.
    """
    row, waiting = _decide(submission, actor, Outcome.APPROVED, reason)
    _refuse_unseen(row, seen_redirect_uris)
    apply_version(row, description=waiting.description, scopes=waiting.scopes)
    if row.status != Status.SUSPENDED:
        _set_status(row, Status.APPROVED)
    note(row, HistoryKind.APPROVED, actor=actor, is_by_reviewer=True, text=waiting.reason, submission=waiting)
    mails.submission_approved(row, submission=waiting, actor=actor)


@transaction.atomic
def request_changes(*, submission: Submission, actor: User, reason: str) -> None:
    """Ask the team for another version; `reason` says what is missing. A live version goes on.

    Raises AlreadyDecidedError, OwnApplicationError, ValidationError for the reason.
    """
    row, waiting = _decide(submission, actor, Outcome.CHANGES_REQUESTED, reason)
    if row.status == Status.PENDING:
        _set_status(row, Status.CHANGES_REQUESTED)
    note(row, HistoryKind.CHANGES_REQUESTED, actor=actor, is_by_reviewer=True, text=waiting.reason, submission=waiting)
    mails.changes_requested(row, submission=waiting, actor=actor)


@transaction.atomic
def reject_submission(*, submission: Submission, actor: User, reason: str) -> None:
    """Refuse the submission; `reason` says why. A live version goes on. Raises like `request_changes`."""
    row, waiting = _decide(submission, actor, Outcome.REJECTED, reason)
    if row.status == Status.PENDING:
        _set_status(row, Status.REJECTED)
    note(row, HistoryKind.REJECTED, actor=actor, is_by_reviewer=True, text=waiting.reason, submission=waiting)
    mails.submission_rejected(row, submission=waiting, actor=actor)


@transaction.atomic
def add_comment(*, application: Application, actor: User, text: str, is_by_reviewer: bool) -> None:
    """Add a comment to the timeline, and mail it to the other side.

    Raises ValidationError for the text, RefusedError when there were too many of late: each is a mail to many.
    """
    rules.check_comment(text)
    row = lock_application(application)
    lately = row.history.filter(
        kind=HistoryKind.COMMENTED, actor=actor, created_at__gt=timezone.now() - timedelta(hours=1)
    )
    if lately.count() >= MOST_COMMENTS_AN_HOUR:
        raise RefusedError(_("That is a lot of comments. Wait an hour, then go on."))
    entry = note(row, HistoryKind.COMMENTED, actor=actor, is_by_reviewer=is_by_reviewer, text=text.strip())
    mails.comment_added(row, entry=entry)


@transaction.atomic
def approve_application(*, application: Application, actor: User | None) -> bool:
    """Let users authorise the application: approves what waits. Says whether that changed anything.

    For administrators; reviewers decide on a submission. Raises OwnApplicationError, RefusedError.
    """
    row = lock_application(application)
    if row.status == Status.SUSPENDED:
        return reinstate_application(application=row, actor=actor)
    waiting = row.submissions.filter(outcome=Outcome.WAITING).first()
    if waiting is not None:
        approve_submission(submission=waiting, actor=actor)
    elif row.is_approved:
        return False
    else:
        _refuse_own(row, actor)
        _set_status(row, Status.APPROVED)
        note(row, HistoryKind.APPROVED, actor=actor, is_by_reviewer=True)
    application.status = Status.APPROVED
    return True


@transaction.atomic
def suspend_application(*, application: Application, actor: User | None, reason: str = "") -> bool:
    """End what the application may do, for as long as it is suspended: no log-in, and no token of it works.

    Says whether it was not suspended before. Raises OwnApplicationError, RefusedError for one that is not live,
    ValidationError for the reason.
    """
    rules.check_note(reason)
    row = lock_application(application)
    _refuse_own(row, actor)
    if row.status == Status.SUSPENDED:
        return False
    if row.status != Status.APPROVED:
        raise RefusedError(_("Only an approved application can be suspended; this one is not live."))
    _set_status(row, Status.SUSPENDED)
    note(row, HistoryKind.SUSPENDED, actor=actor, is_by_reviewer=True, text=reason.strip())
    mails.application_suspended(row, reason=reason.strip(), actor=actor)
    application.status = row.status
    return True


@transaction.atomic
def reinstate_application(*, application: Application, actor: User | None, reason: str = "") -> bool:
    """End the suspension: the live version and its tokens work again. Says whether there was one.

    Raises OwnApplicationError, ValidationError for the reason.
    """
    rules.check_note(reason)
    row = lock_application(application)
    _refuse_own(row, actor)
    if row.status != Status.SUSPENDED:
        return False
    _set_status(row, Status.APPROVED)
    note(row, HistoryKind.REINSTATED, actor=actor, is_by_reviewer=True, text=reason.strip())
    mails.application_reinstated(row, reason=reason.strip(), actor=actor)
    application.status = row.status
    return True


@transaction.atomic
def set_trusted(
    *,
    application: Application,
    actor: User | None,
    is_trusted: bool,
    seen_redirect_uris: Sequence[str] | None = None,
) -> bool:
    """Let users of a brand's own partner see no consent screen, or see it again; says whether that is new.

    `seen_redirect_uris` are those that the reviewer's page showed, as in `approve_submission`.
    Raises OwnApplicationError, RefusedError, ValidationError for a client that cannot be trusted.
    """
    row = lock_application(application)
    _refuse_own(row, actor)
    if row.is_trusted == is_trusted:
        return False
    if is_trusted:
        _refuse_unseen(row, seen_redirect_uris)
    if is_trusted and row.is_public:
        rules.check_trusted_public_client(row.redirect_uri_list)
    row.is_trusted = application.is_trusted = is_trusted
    row.save(update_fields=["is_trusted", "updated"])
    note(row, HistoryKind.TRUSTED if is_trusted else HistoryKind.UNTRUSTED, actor=actor, is_by_reviewer=True)
    return True


def _waiting(row: Application, submission: Submission) -> Submission:
    waiting = row.submissions.filter(pk=submission.pk).first()
    if waiting is None or not waiting.is_waiting:
        raise AlreadyDecidedError(submission=waiting, latest=_find_what_came_of(row, waiting))
    return waiting


def _find_what_came_of(row: Application, submission: Submission | None) -> HistoryEntry | None:
    """Return the decision on `submission`; if there is none, what the team or an administrator did last instead."""
    history = row.history.select_related("actor").order_by("-pk")
    decision = submission and history.filter(submission=submission, kind__in=_DECISIONS).first()
    return decision or history.filter(kind__in=_NEW_VERSIONS).first()


def _decide(
    submission: Submission, actor: User | None, outcome: Outcome, reason: str
) -> tuple[Application, Submission]:
    row = lock_application(submission.application)
    _refuse_own(row, actor)
    waiting = _waiting(row, submission)
    # After what has happened meanwhile: whoever was overtaken need not mend their reason first.
    if outcome == Outcome.APPROVED:
        rules.check_note(reason)
    else:
        rules.check_decision_reason(reason)
    waiting.outcome, waiting.reason = outcome, reason.strip()
    waiting.decided_by, waiting.decided_at = actor, timezone.now()
    waiting.save(update_fields=["outcome", "reason", "decided_by", "decided_at"])
    return row, waiting


def _refuse_own(row: Application, actor: User | None) -> None:
    if actor is not None and selectors.has_part_in(application=row, user=actor):
        raise OwnApplicationError


def _refuse_unseen(row: Application, seen_redirect_uris: Sequence[str] | None) -> None:
    if seen_redirect_uris is not None and list(seen_redirect_uris) != row.redirect_uri_list:
        raise RefusedError(
            _("The redirect URLs have changed since you opened the page. Look at them, then decide again.")
        )


def _remove_scopes(row: Application, removed: list[str], *, actor: User | None) -> None:
    row.scopes = [scope for scope in row.scopes if scope not in removed]
    row.save(update_fields=["scopes", "updated"])
    set_requested_scopes(application=row, scopes=row.scopes)
    note(row, HistoryKind.SCOPES_REMOVED, actor=actor, scopes=removed)


def _withdraw_waiting(row: Application) -> Submission | None:
    waiting = row.submissions.filter(outcome=Outcome.WAITING).first()
    if waiting is not None:
        waiting.outcome, waiting.decided_at = Outcome.WITHDRAWN, timezone.now()
        waiting.save(update_fields=["outcome", "decided_at"])
    return waiting


def _is_changed(entry: SubmittedScope, before: Sequence[SubmittedScope]) -> bool:
    return any(entry["scope"] == other["scope"] and entry != other for other in before)


def _set_status(row: Application, status: Status) -> None:
    row.status = status
    row.save(update_fields=["status", "updated"])
