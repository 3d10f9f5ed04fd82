"""Notes for those who were made anonymous before there were notes: nobody can tell them from others any more.

Since 0004 nobody goes without one, so this looks at what is there once. It goes by id, and can be run again.
"""

from typing import Any

from django.db import migrations

from apps.audit.digests import anonymisation_signature

#: Events looked at in one statement.
BATCH_SIZE = 5_000

_ENDS = "SELECT min(id), max(id) FROM audit_auditevent"
_MISSING = """
SELECT e.id, c.part, c.committed
FROM audit_auditevent e
CROSS JOIN LATERAL (VALUES ('actor', e.person_commitment), ('about', e.about_commitment)) AS c (part, committed)
WHERE e.id > %(after)s AND e.id <= %(after)s + %(size)s AND c.committed IS NOT NULL
  AND NOT EXISTS (SELECT FROM audit_auditperson p WHERE p.event_id = e.id AND p.part = c.part)
"""
_NOTE = "INSERT INTO audit_anonymisedperson (event_id, part, signature) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


def note_those_before(apps: Any, schema_editor: Any) -> None:
    """Write the note of each part of an event that has a commitment and nobody who belongs to it."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_ENDS)
        first, last = cursor.fetchone()
        for after in range(first - 1, last, BATCH_SIZE) if last else ():
            cursor.execute(_MISSING, {"after": after, "size": BATCH_SIZE})
            notes = [
                (event_id, part, anonymisation_signature(event_id, part, bytes(committed)))
                for event_id, part, committed in cursor.fetchall()
            ]
            if notes:
                cursor.executemany(_NOTE, notes)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("audit", "0004_people_go_with_a_note")]

    operations = [migrations.RunPython(note_those_before, migrations.RunPython.noop)]
