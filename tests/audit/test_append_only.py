"""Nobody changes the audit trail: not the role that owns its tables, not a superuser."""

import uuid
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apps.audit import retention, sealing, trail
from apps.audit.models import Anonymisation, AnonymisedPerson, AuditEvent, AuditPerson
from tests.audit.conftest import forget

CHANGES = {
    "event updated": "UPDATE audit_auditevent SET tag = 'server:thing:undone'",
    "event deleted": "DELETE FROM audit_auditevent",
    "events truncated": "TRUNCATE audit_auditevent",
    "person updated": "UPDATE audit_auditperson SET name = 'somebody else'",
    "person deleted": "DELETE FROM audit_auditperson",
    "people truncated": "TRUNCATE audit_auditperson",
    "note updated": "UPDATE audit_anonymisedperson SET signature = 'x'",
    "note deleted": "DELETE FROM audit_anonymisedperson",
    "notes truncated": "TRUNCATE audit_anonymisedperson",
    "place updated": "UPDATE audit_sealedevent SET position = position + 1",
    "place deleted": "DELETE FROM audit_sealedevent",
    "places truncated": "TRUNCATE audit_sealedevent",
    "seal updated": "UPDATE audit_auditseal SET event_count = 0",
    "seal pruned and changed": "UPDATE audit_auditseal SET pruned_at = now(), pruned_signature = 'x', event_count = 0",
    "seal deleted": "DELETE FROM audit_auditseal",
    "seals truncated": "TRUNCATE audit_auditseal",
}


@pytest.fixture
def sealed(transactional_db, member, make_user):
    """An event with a person, one whose person was made anonymous, and one that tells of that; in a seal."""
    trail.record("server:thing:done", about=member)
    closed = make_user("grace@example.com")
    trail.record("server:thing:done", about=closed)
    assert forget(closed) == 1
    assert sealing.seal_events(batches=1) == 3


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
    tables.append("audit_anonymisedperson")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE ROLE ordinary_owner; GRANT CREATE, USAGE ON SCHEMA public TO ordinary_owner")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} OWNER TO ordinary_owner")
        for function in ("audit_prune", "audit_anonymise"):
            cursor.execute(f"ALTER FUNCTION {function} OWNER TO ordinary_owner")
        cursor.execute("SET LOCAL ROLE ordinary_owner")
        yield cursor
        transaction.set_rollback(True)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_ordinary_owner_has_no_privilege_to_change_the_trail(owner, change):
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        owner.execute(change)


def test_ordinary_owner_can_record_and_anonymise(owner, member):
    trail.record("server:thing:done", about=member)

    assert forget(member) == 2
    assert not AuditPerson.objects.exists()
    assert AuditEvent.objects.count() == 5

    # What the function lent itself is given back.
    trail.record("server:thing:done", about=member)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        owner.execute("DELETE FROM audit_auditperson")


@pytest.mark.parametrize("days", [None, 1], ids=["never asked for", "asked for, and not due yet"])
def test_nobody_is_anonymised_before_the_time(owner, member, days):
    if days:
        due_at = timezone.now() + timedelta(days=days)
        Anonymisation.objects.create(user_id=member.pk, due_at=due_at)

    with pytest.raises(DatabaseError, match="nobody is to be made anonymous"), transaction.atomic():
        retention.anonymise_person(member.pk)

    assert AuditPerson.objects.filter(user_id=member.pk).exists()


def test_anonymising_one_person_leaves_others_in(owner, member):
    """The function itself looks whose parts it is given."""
    other = uuid.uuid4()
    trail.record("user:thing:done", actor=member, about=other)
    event = AuditEvent.objects.latest("pk").pk
    Anonymisation.objects.create(user_id=member.pk, due_at=timezone.now())

    owner.execute("SELECT audit_anonymise(%s, %s, '{actor,about}', '{x,x}')", [member.pk, [event, event]])

    assert owner.fetchone() == (1,)
    assert AuditPerson.objects.get(event=event).user_id == other
    assert AnonymisedPerson.objects.get(event_id=event).part == "actor"


def test_nobody_inserts_into_the_past(sealed):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) "
            "VALUES ('server:thing:done', '{}', '2001-01-01', '3') "
            "RETURNING happened_at > now() - interval '1 minute', transaction_id > '3'"
        )
        assert cursor.fetchone() == (True, True)
