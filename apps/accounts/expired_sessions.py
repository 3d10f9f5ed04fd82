"""How sessions whose time is over go, with the rows that list them for their users."""

from dataclasses import dataclass
from typing import Any

from allauth.usersessions.models import UserSession
from django.db.models import QuerySet

from apps.housekeeping.dead import Batch, count_up_to, short_transaction


@dataclass(frozen=True)
class ExpiredSessions:
    """Sessions, found by their end, and what lists them, found by their keys: both have an index for it."""

    sessions: QuerySet[Any]
    batch_size: int = 1_000

    def delete_batch(self) -> Batch:
        with short_transaction():
            free = self.sessions.order_by().select_for_update(skip_locked=True, of=("self",))
            keys = list(free.values_list("pk", flat=True)[: self.batch_size])
            rows = _delete(UserSession.objects.filter(session_key__in=keys))
            rows += _delete(self.sessions.model.objects.filter(pk__in=keys))
            return Batch(rows=rows, is_last=len(keys) < self.batch_size)

    def count(self, most: int) -> int:
        return count_up_to(self.sessions, most)


def _delete(rows: QuerySet) -> int:
    """Delete in one statement: nothing refers to these rows."""
    return rows._raw_delete(rows.db) or 0  # None: of no row at all
