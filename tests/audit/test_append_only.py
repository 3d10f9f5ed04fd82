"""Nobody changes the audit trail: not the role that owns its tables, not a superuser."""

import pytest
from django.db import DatabaseError, connection, transaction

from apps.audit import sealing, trail
from apps.audit.models import AuditEvent, AuditPerson

CHANGES = {
    "event updated": "UPDATE audit_auditevent SET tag = 'server:thing:undone'",
    "event deleted": "DELETE FROM audit_auditevent",
    "events truncated": "TRUNCATE audit_auditevent",
    "person updated": "UPDATE audit_auditperson SET name = 'somebody else'",
    "people truncated": "TRUNCATE audit_auditperson",
    "place updated": "UPDATE audit_sealedevent SET position = position + 1",
    "place deleted": "DELETE FROM audit_sealedevent",
    "places truncated": "TRUNCATE audit_sealedevent",
    "seal updated": "UPDATE audit_auditseal SET event_count = 0",
    "seal pruned and changed": "UPDATE audit_auditseal SET pruned_at = now(), pruned_signature = 'x', event_count = 0",
    "seal deleted": "DELETE FROM audit_auditseal",
    "seals truncated": "TRUNCATE audit_auditseal",
}


@pytest.fixture
def sealed(transactional_db, member):
    trail.record("server:thing:done", about=member)
    assert sealing.seal_events(batches=1) == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("mode", ["origin", "replica"])
def test_superuser_cannot_change_the_trail(sealed, change, mode):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (True,)
        cursor.execute(f"SET LOCAL session_replication_role = {mode}")
        with pytest.raises(DatabaseError, match="append-only"):
            cursor.execute(change)
        transaction.set_rollback(True)


@pytest.fixture
def owner(sealed):
    """An ordinary role that owns the tables, as in most deployments; it is there until the test ends."""
    tables = ["audit_auditevent", "audit_sealedevent", "audit_auditseal", "audit_auditperson", "audit_anonymisation"]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE ordinary_owner; GRANT CREATE, USAGE ON SCHEMA public TO ordinary_owner")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} OWNER TO ordinary_owner")
        cursor.execute("ALTER FUNCTION audit_prune OWNER TO ordinary_owner; SET LOCAL ROLE ordinary_owner")
        yield cursor
        transaction.set_rollback(True)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ordinary_owner_has_no_privilege_to_change_the_trail(owner, change):
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        owner.execute(change)


def test_ordinary_owner_can_record_and_anonymise(owner, member):
    trail.record("server:thing:done", about=member)

    assert AuditPerson.objects.filter(user_id=member.pk).delete()[0] == 2
    assert AuditEvent.objects.count() == 2


def test_nobody_inserts_into_the_past(sealed):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) "
            "VALUES ('server:thing:done', '{}', '2001-01-01', '3') "
            "RETURNING happened_at > now() - interval '1 minute', transaction_id > '3'"
        )
        assert cursor.fetchone() == (True, True)
