"""Writes the timeline of an application."""

from typing import Any

from apps.accounts.models import User
from apps.audit import trail
from apps.developers.models import Application, HistoryEntry, HistoryKind, Submission

#: What goes into the audit trail as well: facts of the application. Names, addresses and free text stay here.
_AUDITED = frozenset(
    {
        "number",
        "role",
        "old_role",
        "scopes",
        "added",
        "removed",
        "changed",
        "fields",
        "overlap_seconds",
        "paused",
        "key",
    }
)


def note(
    application: Application,
    kind: HistoryKind,
    *,
    actor: User | None,
    is_by_reviewer: bool = False,
    is_by_server: bool = False,
    text: str = "",
    submission: Submission | None = None,
    **details: Any,
) -> HistoryEntry:
    """Add an entry, in the transaction of what it tells of. `details` never hold a secret.

    Without an `actor` it was a command, or `is_by_server`: the background worker.
    """
    if is_by_reviewer:
        subject = "reviewer"
    elif is_by_server:
        subject = "server"
    else:
        subject = "team" if actor else "operator"
    _record(application, kind, actor, subject, details)
    return HistoryEntry.objects.create(
        application=application,
        kind=kind,
        actor=actor,
        is_by_reviewer=is_by_reviewer,
        text=text,
        submission=submission,
        details=details,
    )


def _record(
    application: Application, kind: HistoryKind, actor: User | None, subject: str, details: dict[str, Any]
) -> None:
    facts = {name: value for name, value in details.items() if name in _AUDITED}
    if kind == HistoryKind.WEBHOOK_CHANGED and "url" in details:
        # Not the URL itself: its path may be what the receiver knows us by.
        facts["has_url"] = bool(details["url"])
    trail.record(f"{subject}:application:{kind.value}", actor=actor, application=application, **facts)
