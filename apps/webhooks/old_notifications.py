"""How notifications past their time go, with all their attempts. docs/decisions/0013 says how long each row is kept."""

from dataclasses import dataclass

from django.db.models import QuerySet

from apps.housekeeping.dead import Batch, count_up_to, short_transaction
from apps.webhooks.models import Attempt, Notification


@dataclass(frozen=True)
class OldNotifications:
    """Notifications, locked before their attempts, as the worker does. What somebody has locked is passed over."""

    notifications: QuerySet[Notification]
    batch_size: int = 500
    #: One that is sent again and again has many attempts, so they are counted by themselves.
    attempt_batch_size: int = 2_000

    def delete_batch(self) -> Batch:
        with short_transaction():
            free = self.notifications.order_by().select_for_update(skip_locked=True, of=("self",))
            chosen = list(free.values_list("pk", flat=True)[: self.batch_size])
            some = Attempt.objects.filter(notification__in=chosen).values("pk")[: self.attempt_batch_size]
            attempts = _delete(Attempt.objects.filter(pk__in=some))
            if attempts == self.attempt_batch_size:
                return Batch(rows=attempts, is_last=False)
            gone = _delete(Notification.objects.filter(pk__in=chosen))
            return Batch(rows=attempts + gone, is_last=len(chosen) < self.batch_size)

    def count(self, most: int) -> int:
        return count_up_to(self.notifications, most)


def _delete(rows: QuerySet) -> int:
    """Delete in one statement: what refers to these rows has gone already."""
    return rows._raw_delete(rows.db) or 0  # None: of no row at all
