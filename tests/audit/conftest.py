"""What tests of the audit trail have in common: someone who tampers with it, and someone whose account is closed."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.audit import retention, trail
from apps.audit.models import Anonymisation

TABLES = ("audit_auditevent", "audit_sealedevent", "audit_auditseal", "audit_auditperson", "audit_anonymisedperson")
#: How a trigger is put into each state of pg_trigger.tgenabled.
SWITCHES = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}


def tamper(statement: str, *parameters: Any) -> None:
    """Do what only somebody with every right in the database can: switch the guards off, change something."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger"
            " WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY(%s)",
            [list(TABLES)],
        )
        guards = cursor.fetchall()
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, parameters or None)
        for table, trigger, state in guards:
            cursor.execute(f"ALTER TABLE {table} {SWITCHES[state]} TRIGGER {trigger}")


def forget(user: Any) -> int:
    """Anonymise the user as it is done when their account has been closed for long enough; returns how many rows."""
    Anonymisation.objects.create(user_id=user.pk, due_at=timezone.now())
    return retention.anonymise_person(user.pk)


@pytest.fixture
def audit_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines that the audit log has got."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    trail.log.addHandler(handler)
    yield lambda: [json.loads(line) for line in records]
    trail.log.removeHandler(handler)
