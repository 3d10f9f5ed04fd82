"""Storing notes: one statement for each of the three sorts, however many rows it has.

Several processes store at once. Rows are written in the order of their keys, so that two statements never wait for each
other both ways, and rows of an application that has gone are left out.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime

from django.db import connection, transaction

from apps.activity.models import RedirectMismatch
from apps.activity.notes import CountKey, Mismatch, MismatchKey, Secret, SecretKey

_ADD_COUNTS = """
INSERT INTO activity_activitycount (application_id, day, kind, code, count)
SELECT n.application_id, n.day, n.kind, n.code, n.count
FROM unnest(%(applications)s::uuid[], %(days)s::date[], %(kinds)s::text[], %(codes)s::text[], %(counts)s::bigint[])
     AS n (application_id, day, kind, code, count)
JOIN developers_application a ON a.id = n.application_id
ORDER BY n.application_id, n.day, n.kind, n.code
ON CONFLICT (application_id, day, kind, code) DO UPDATE SET count = activity_activitycount.count + excluded.count
"""

# A use from before the secret was made was another secret's: it was changed between the use and now.
_NOTE_SECRET_USES: dict[Secret, str] = {
    "current": """
WITH used AS (
    SELECT a.id, n.used_at
    FROM unnest(%(applications)s::uuid[], %(used_at)s::timestamptz[]) AS n (id, used_at)
    JOIN developers_application a ON a.id = n.id
    WHERE n.used_at >= COALESCE(a.client_secret_created_at, n.used_at)
      AND n.used_at > COALESCE(a.client_secret_used_at + interval '1 minute', '-infinity')
    ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE developers_application a SET client_secret_used_at = used.used_at FROM used WHERE a.id = used.id
""",
    "previous": """
WITH used AS (
    SELECT a.id, n.used_at
    FROM unnest(%(applications)s::uuid[], %(used_at)s::timestamptz[]) AS n (id, used_at)
    JOIN developers_application a ON a.id = n.id
    WHERE n.used_at >= COALESCE(a.previous_client_secret_created_at, n.used_at)
      AND n.used_at > COALESCE(a.previous_client_secret_used_at + interval '1 minute', '-infinity')
      AND a.previous_client_secret <> ''
    ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE developers_application a SET previous_client_secret_used_at = used.used_at FROM used WHERE a.id = used.id
""",
}

_ADD_MISMATCHES = """
INSERT INTO activity_redirectmismatch
    (application_id, presented, differs, closest, count, first_seen_at, last_seen_at)
SELECT n.application_id, n.presented, n.differs, n.closest, n.count, n.first_seen_at, n.last_seen_at
FROM unnest(%(applications)s::uuid[], %(presented)s::text[], %(differs)s::text[], %(closest)s::text[],
            %(counts)s::bigint[], %(first_seen_at)s::timestamptz[], %(last_seen_at)s::timestamptz[])
     AS n (application_id, presented, differs, closest, count, first_seen_at, last_seen_at)
JOIN developers_application a ON a.id = n.application_id
ORDER BY n.application_id, n.presented
ON CONFLICT (application_id, presented) DO UPDATE SET
    count = activity_redirectmismatch.count + excluded.count,
    differs = excluded.differs,
    closest = excluded.closest,
    last_seen_at = GREATEST(activity_redirectmismatch.last_seen_at, excluded.last_seen_at)
"""

# What another process is just writing is skipped, not waited for; it is too many next time, or it is newer now.
_KEEP_NEWEST_MISMATCHES = """
DELETE FROM activity_redirectmismatch WHERE id IN (
    SELECT id FROM activity_redirectmismatch
    WHERE id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY application_id ORDER BY last_seen_at DESC, id DESC) AS place
            FROM activity_redirectmismatch WHERE application_id = ANY(%(applications)s::uuid[])
        ) AS placed
        WHERE place > %(kept)s
    )
    FOR UPDATE SKIP LOCKED
)
"""


def add_counts(counts: Mapping[CountKey, int]) -> None:
    """Add to the counters of each day."""
    with connection.cursor() as cursor:
        cursor.execute(
            _ADD_COUNTS,
            {
                "applications": [key.application_id for key in counts],
                "days": [key.day for key in counts],
                "kinds": [key.kind for key in counts],
                "codes": [key.code for key in counts],
                "counts": list(counts.values()),
            },
        )


def note_secret_uses(uses: Mapping[SecretKey, datetime]) -> None:
    """Note when client secrets were last used; a secret's row changes at most once a minute."""
    for which, statement in _NOTE_SECRET_USES.items():
        of_this = {key.application_id: used_at for key, used_at in uses.items() if key.which == which}
        if of_this:
            with connection.cursor() as cursor:
                cursor.execute(statement, {"applications": list(of_this), "used_at": list(of_this.values())})


def add_mismatches(mismatches: Mapping[MismatchKey, Mismatch]) -> None:
    """Add redirect URIs that did not match, and keep the newest of each application."""
    applications: list[uuid.UUID] = [key.application_id for key in mismatches]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            _ADD_MISMATCHES,
            {
                "applications": applications,
                "presented": [key.presented for key in mismatches],
                "differs": [mismatch.differs.value for mismatch in mismatches.values()],
                "closest": [mismatch.closest for mismatch in mismatches.values()],
                "counts": [mismatch.count for mismatch in mismatches.values()],
                "first_seen_at": [mismatch.first_seen_at for mismatch in mismatches.values()],
                "last_seen_at": [mismatch.last_seen_at for mismatch in mismatches.values()],
            },
        )
        cursor.execute(
            _KEEP_NEWEST_MISMATCHES,
            {"applications": applications, "kept": RedirectMismatch.MAX_PER_APPLICATION},
        )
