"""Writes the timeline of an application."""

from typing import Any

from apps.accounts.models import User
from apps.developers.models import Application, HistoryEntry, HistoryKind, Submission


def note(
    application: Application,
    kind: HistoryKind,
    *,
    actor: User | None,
    is_by_reviewer: bool = False,
    text: str = "",
    submission: Submission | None = None,
    **details: Any,
) -> HistoryEntry:
    """Add an entry, in the transaction of what it tells of. `details` never hold a secret."""
    return HistoryEntry.objects.create(
        application=application,
        kind=kind,
        actor=actor,
        is_by_reviewer=is_by_reviewer,
        text=text,
        submission=submission,
        details=details,
    )
