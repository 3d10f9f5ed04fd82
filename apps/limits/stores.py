"""Counting in PostgreSQL, and what every place where is counted can do: add to all keys of a request at once."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db import connection as database

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    """One count: a key in a numbered span of time that ends at an instant (seconds since 1970)."""

    key: UUID
    span: int
    ends_at: float


class Store(Protocol):
    """Counts for all processes. Adding is atomic: of parallel calls each gets a count of its own."""

    def add(self, slots: Sequence[Slot]) -> list[int] | None:
        """Add one to each slot and return the counts, in the same order; None if nothing can be counted now."""
        ...

    def take_back(self, slots: Sequence[Slot]) -> None:
        """Subtract one from each slot, as far as its span still lasts."""
        ...

    def empty(self, slots: Sequence[Slot]) -> None:
        """Let each slot begin anew at 0."""
        ...


# Clocks of two hosts may differ: whoever is behind counts in the span that the other has begun.
_ADD = """
INSERT INTO limits_count AS c (key, span, hits, ends_at)
SELECT key, span, 1, ends_at FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[]) AS slot (key, span, ends_at)
ON CONFLICT (key) DO UPDATE SET
    hits = CASE WHEN c.span >= excluded.span THEN c.hits + 1 ELSE 1 END,
    ends_at = CASE WHEN c.span >= excluded.span THEN c.ends_at ELSE excluded.ends_at END,
    span = GREATEST(c.span, excluded.span)
RETURNING key, hits
"""

# Locked in the order of the keys, as by _ADD, so that no two wait for each other.
_TAKE_BACK = """
UPDATE limits_count AS c SET hits = c.hits - 1
FROM (
    SELECT held.key
    FROM limits_count AS held JOIN unnest(%s::uuid[], %s::bigint[]) AS slot (key, span) USING (key, span)
    ORDER BY held.key FOR NO KEY UPDATE OF held
) AS mine
WHERE c.key = mine.key AND c.hits > 0
"""

_EMPTY = """
UPDATE limits_count AS c SET hits = 0
FROM (
    SELECT held.key FROM limits_count AS held WHERE held.key = ANY(%s::uuid[])
    ORDER BY held.key FOR NO KEY UPDATE
) AS mine
WHERE c.key = mine.key
"""


class DatabaseStore:
    """Counts in an unlogged table, by one statement, which is its own transaction: no request waits for another's."""

    def __init__(self) -> None:
        # One line a minute says that nothing is counted.
        self._silent_until = 0.0

    def add(self, slots: Sequence[Slot]) -> list[int] | None:
        # In the order of the keys: two requests that share some lock them in the same order.
        ordered = sorted(slots, key=lambda slot: slot.key)
        ends = [datetime.fromtimestamp(slot.ends_at, UTC) for slot in ordered]
        try:
            with database.cursor() as cursor:
                cursor.execute(_ADD, [[slot.key for slot in ordered], [slot.span for slot in ordered], ends])
                hits = dict(cursor.fetchall())
        except (OperationalError, InterfaceError):
            # The database is away, and with it everything that the request is about.
            raise
        except DatabaseError as error:
            if database.in_atomic_block:
                raise
            # No table yet, or a standby that is read-only: that must not stop a request that only reads.
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + 60
                log.warning("Limits are not counted: the database refuses it (%s).", type(error.__cause__).__name__)
            return None
        return [hits[slot.key] for slot in slots]

    def take_back(self, slots: Sequence[Slot]) -> None:
        with database.cursor() as cursor:
            cursor.execute(_TAKE_BACK, [[slot.key for slot in slots], [slot.span for slot in slots]])

    def empty(self, slots: Sequence[Slot]) -> None:
        with database.cursor() as cursor:
            cursor.execute(_EMPTY, [[slot.key for slot in slots]])
