"""Rows that may go, and how one batch of them goes without anybody waiting for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import connection as database
from django.db import transaction
from django.db.models import QuerySet

#: Milliseconds for which a batch waits for a lock that a request holds. It holds locks itself meanwhile, so it rather
#: gives up, and the next run tries again.
LOCK_TIMEOUT_MS = 50


@dataclass(frozen=True)
class Batch:
    """What one batch has done."""

    #: How many rows went.
    rows: int
    #: Nothing was left that could have gone.
    is_last: bool


class Dead(Protocol):
    """Something that has died."""

    def delete_batch(self) -> Batch:
        """Delete some of it, in a transaction of its own that takes a few hundredths of a second."""
        ...

    def count(self, most: int) -> int:
        """Count what waits to be deleted, but not beyond `most`."""
        ...


@contextmanager
def short_transaction() -> Iterator[None]:
    """Run a batch: what it cannot lock soon it gives up, and its end does not wait for the disk.

    Locks are held until then, and what the disk loses in a crash is dead still: the next run deletes it again.
    """
    with transaction.atomic():
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, true), set_config('synchronous_commit', 'off', true)",
                [f"{LOCK_TIMEOUT_MS}ms"],
            )
        yield


def count_up_to(rows: QuerySet[Any], most: int) -> int:
    """Count the rows, but not beyond `most`: then it takes no longer, however many there are."""
    return rows.order_by()[:most].count()


@dataclass(frozen=True)
class DeadRows:
    """Rows to which nothing refers, of one table, found by one index. Rows that somebody has locked are passed over."""

    rows: QuerySet[Any]
    batch_size: int = 2_000

    def delete_batch(self) -> Batch:
        meta = self.rows.model._meta
        quote = database.ops.quote_name
        chosen = self.rows.order_by().select_for_update(skip_locked=True, of=("self",)).values("pk")
        with short_transaction(), database.cursor() as cursor:
            choosing, parameters = chosen[: self.batch_size].query.sql_with_params()
            # ARRAY: the rows are chosen once, before any goes. All names are Django's own.
            cursor.execute(
                f"DELETE FROM {quote(meta.db_table)} WHERE {quote(meta.pk.column)} = ANY(ARRAY({choosing}))",  # noqa: S608
                parameters,
            )
            return Batch(rows=cursor.rowcount, is_last=cursor.rowcount < self.batch_size)

    def count(self, most: int) -> int:
        return count_up_to(self.rows, most)
