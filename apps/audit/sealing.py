"""Sealing: new events become links of a hash chain. In the background only, so that no request waits for another.

Transactions commit in another order than their events' ids say. An event is sealed when every transaction that is as
old as its own has ended: from then on nobody comes in between any more.
"""

import json
from dataclasses import dataclass
from functools import partial

from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from apps.audit.digests import BEGINNING, event_digest, seal_digest, seal_signature
from apps.audit.models import AuditEvent, AuditSeal, SealedEvent
from apps.audit.trail import log

#: Events in one seal.
BATCH_SIZE = 1_000
#: "audit" as a number; whoever changes seals holds this advisory lock.
_LOCK = 0x6175646974

# Ids that have not been given out yet come from the server that the database was restored from; they are looked for
# until everything has been sealed once. What is sealed is looked up row by row: the index leads to the few new events,
# while an anti-join might read both tables.
_SEALABLE = """
WITH running AS MATERIALIZED (
    SELECT pg_snapshot_xmin(s) AS oldest, pg_snapshot_xmax(s) AS next FROM pg_current_snapshot() AS s
), restored AS (
    SELECT e.id, e.transaction_id, 0 AS half FROM audit_auditevent e
    WHERE %(is_new_server)s::boolean AND e.transaction_id >= (SELECT next FROM running)
      AND e.transaction_id IS DISTINCT FROM pg_current_xact_id_if_assigned()
      AND (SELECT m.seal_id FROM audit_sealedevent m WHERE m.event_id = e.id) IS NULL
    ORDER BY e.transaction_id, e.id LIMIT %(size)s
), own AS (
    SELECT e.id, e.transaction_id, 1 AS half FROM audit_auditevent e
    WHERE e.transaction_id >= %(floor)s::text::xid8 AND e.transaction_id < (SELECT oldest FROM running)
      AND (SELECT m.seal_id FROM audit_sealedevent m WHERE m.event_id = e.id) IS NULL
    ORDER BY e.transaction_id, e.id LIMIT %(size)s
)
SELECT both_halves.id, half, transaction_id::text, (SELECT oldest FROM running)::text
FROM (SELECT * FROM restored UNION ALL SELECT * FROM own) AS both_halves
ORDER BY half, both_halves.transaction_id, both_halves.id LIMIT %(size)s
"""


@dataclass(frozen=True)
class _Batch:
    """Events to be sealed, in their order, and what is true afterwards."""

    event_ids: list[int]
    horizon: int
    is_complete: bool


def seal_events(*, batches: int) -> int:
    """Seal what can be sealed, at most so many batches; returns how many events were.

    Two that do it at once are no harm: the second one leaves it to the first.
    """
    total = 0
    for _ in range(batches):
        sealed = _seal_batch()
        total += sealed
        if sealed < BATCH_SIZE:
            break
    return total


def hold_seals() -> bool:
    """Take the right to change seals until the end of the transaction; False: somebody else has it."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def cluster_id() -> str:
    """Return which database of which server this is, "7412345678901234567/16384".

    Transaction ids of two servers cannot be compared. The database is named too, because one that is restored onto the
    server where it once was comes with events that have got their ids elsewhere.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT system_identifier || '/' || oid FROM pg_control_system(), pg_database"
            " WHERE datname = current_database()"
        )
        return str(cursor.fetchone()[0])


@transaction.atomic
def _seal_batch() -> int:
    if not hold_seals():
        return 0
    last = AuditSeal.objects.order_by("-pk").first()
    cluster = cluster_id()
    is_new_server = not AuditSeal.objects.filter(cluster=cluster, is_complete=True).exists()
    batch = _find_batch(last.horizon if last and last.cluster == cluster else 0, is_new_server)
    if not batch.event_ids:
        return 0
    by_id = AuditEvent.objects.in_bulk(batch.event_ids)
    events = [by_id[event_id] for event_id in batch.event_ids]
    digests = [event_digest(event) for event in events]
    seal = AuditSeal(
        pk=last.pk + 1 if last else 1,
        previous_digest=bytes(last.digest) if last else BEGINNING,
        event_count=len(events),
        first_happened_at=min(event.happened_at for event in events),
        last_happened_at=max(event.happened_at for event in events),
        sealed_at=timezone.now(),
        horizon=batch.horizon,
        is_complete=batch.is_complete,
        cluster=cluster,
    )
    seal.digest = seal_digest(seal, digests)
    seal.signature = seal_signature(seal)
    seal.save(force_insert=True)
    SealedEvent.objects.bulk_create(
        SealedEvent(event=event, seal=seal, position=position, digest=digest)
        for position, (event, digest) in enumerate(zip(events, digests, strict=True))
    )
    transaction.on_commit(partial(_log, seal))
    return len(events)


def _find_batch(floor: int, is_new_server: bool) -> _Batch:
    with database.cursor() as cursor:
        cursor.execute(_SEALABLE, {"floor": str(floor), "is_new_server": is_new_server, "size": BATCH_SIZE})
        rows = cursor.fetchall()
    is_complete = len(rows) < BATCH_SIZE
    own = [int(transaction_id) for _id, half, transaction_id, _oldest in rows if half == 1]
    # A transaction may be spread over two batches, so a full one promises nothing about its own last transaction.
    horizon = int(rows[0][3]) if rows and is_complete else max(own, default=floor)
    return _Batch([row[0] for row in rows], horizon, is_complete)


def _log(seal: AuditSeal) -> None:
    """Whoever keeps the log elsewhere has an anchor: `verify_audit --anchor` finds out if later seals were cut off."""
    log.info("%s", json.dumps({"seal": seal.pk, "digest": bytes(seal.digest).hex(), "events": seal.event_count}))
