"""What the trail forgets, and that it can still be verified afterwards."""

import uuid
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from apps.audit import retention, sealing, tasks, trail
from apps.audit.models import Anonymisation, AnonymisedPerson, AuditEvent, AuditPerson, AuditSeal, SealedEvent
from apps.audit.verification import verify
from tests.audit.conftest import forget, tamper

pytestmark = pytest.mark.django_db(transaction=True)


def old_seal(days, *, count=2, tag="server:thing:done", **facts):
    """Record events as they were so many days ago, and seal them."""
    for _ in range(count):
        trail.record(tag, **facts)
    tamper(
        "UPDATE audit_auditevent e SET happened_at = now() - %s WHERE NOT EXISTS "
        "(SELECT FROM audit_sealedevent m WHERE m.event_id = e.id)",
        timedelta(days=days),
    )
    # The seals of that time were made at that time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing.timezone, "now", lambda: NOW - timedelta(days=days))
        assert sealing.seal_events(batches=1) == count


NOW = timezone.now()


@pytest.fixture
def years(member):
    """A seal of three years ago, one of two and a half, one of today."""
    old_seal(1100, actor=member)
    old_seal(900, actor=member)
    old_seal(0, actor=member)
    assert verify().findings == []


def test_old_events_go_and_the_chain_stays(years):
    assert tasks.prune_audit_events(timestamp=0) == 4

    assert AuditEvent.objects.filter(tag="server:thing:done").count() == AuditPerson.objects.count() == 2
    assert SealedEvent.objects.count() == 2
    assert [seal.pruned_at is not None for seal in AuditSeal.objects.order_by("pk")] == [True, True, False]
    report = verify()
    assert report.findings == []
    assert (report.seals, report.pruned_seals, report.sealed_events) == (3, 2, 2)


def test_pruning_is_an_event(years):
    tasks.prune_audit_events(timestamp=0)

    event = AuditEvent.objects.get(tag="server:audit:pruned")
    assert (event.details["seals"], event.details["events"]) == (2, 4)
    assert tasks.prune_audit_events(timestamp=0) == 0
    assert AuditEvent.objects.filter(tag="server:audit:pruned").count() == 1


@pytest.mark.parametrize(("days", "kept"), [(0, 6), (2000, 6), (1000, 4), (10, 2)])
def test_environment_says_how_long(years, settings, days, kept):
    settings.AUDIT_RETENTION_DAYS = days
    tasks.prune_audit_events(timestamp=0)

    assert AuditEvent.objects.filter(tag="server:thing:done").count() == kept
    assert verify().findings == []


def test_unsealed_events_are_not_pruned(years):
    trail.record("server:thing:waiting")
    tamper("UPDATE audit_auditevent SET happened_at = now() - interval '9 years' WHERE tag = 'server:thing:waiting'")
    tasks.prune_audit_events(timestamp=0)

    assert AuditEvent.objects.filter(tag="server:thing:waiting").exists()


def test_pruning_by_hand_is_noticed(years):
    """The function can be called by whoever may write to the database; the signature needs the deployment secret."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT audit_prune(1, now(), 'forged')")

    assert [(finding.seal, finding.problem) for finding in verify().findings] == [
        (1, "its events were deleted, and not by retention")
    ]


def test_younger_seal_is_not_pruned_before_an_older_one(years):
    with pytest.raises(DatabaseError, match="older seals come first"), connection.cursor() as cursor:
        cursor.execute("SELECT audit_prune(2, now(), 'x')")


def test_pruned_seal_stays_pruned(years):
    tasks.prune_audit_events(timestamp=0)

    with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditseal SET pruned_at = NULL WHERE id = 1")
    tamper("UPDATE audit_auditseal SET pruned_at = pruned_at + interval '1 day' WHERE id = 1")
    assert [finding.seal for finding in verify().findings] == [1]


@pytest.fixture
def ordinary_owner(years):
    """The tables belong to a role that is no superuser, and it is who we are."""
    tables = ["audit_auditevent", "audit_sealedevent", "audit_auditseal", "audit_auditperson", "audit_anonymisation"]
    tables.append("housekeeping_housekeepingrun")  # where the run is noted
    tables.append("audit_anonymisedperson")
    owned = [f"TABLE {table}" for table in tables] + ["FUNCTION audit_prune", "FUNCTION audit_anonymise"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        superuser = cursor.fetchone()[0]
        cursor.execute("CREATE ROLE ordinary_owner")
        for thing in owned:
            cursor.execute(f"ALTER {thing} OWNER TO ordinary_owner")
        cursor.execute("SET ROLE ordinary_owner")
        try:
            yield cursor
        finally:
            cursor.execute("RESET ROLE")
            for thing in owned:
                cursor.execute(f"ALTER {thing} OWNER TO {superuser}")
            cursor.execute("DROP ROLE ordinary_owner")


def test_ordinary_owner_seals_prunes_and_verifies(ordinary_owner):
    trail.record("server:thing:new")
    assert sealing.seal_events(batches=1) == 1
    assert tasks.prune_audit_events(timestamp=0) == 4
    assert verify().findings == []

    # What the function lent itself is given back.
    for statement in (
        "DELETE FROM audit_auditevent",
        "DELETE FROM audit_auditperson",
        "DELETE FROM audit_anonymisedperson",
        "UPDATE audit_auditseal SET pruned_at = now()",
    ):
        with pytest.raises(DatabaseError, match="permission denied"):
            ordinary_owner.execute(statement)


# --- people ------------------------------------------------------------------------------------------------


def test_anonymised_person_is_gone_and_the_chain_stays(member, make_user):
    other = make_user("grace@example.com", first_name="Grace")
    trail.record("user:thing:done", actor=member)
    trail.record("administrator:user:suspended", actor=other, about=member)
    trail.record("user:thing:done", actor=other)
    sealing.seal_events(batches=1)
    trail.record("user:thing:done", actor=member)

    forget(member)

    assert not AuditPerson.objects.filter(user_id=member.pk).exists()
    assert [person.name for person in AuditPerson.objects.order_by("pk")] == ["Grace Byron"] * 2
    assert verify().findings == []
    assert AuditEvent.objects.get(tag="server:audit:anonymised").details == {"people": 3}


def test_address_of_who_may_have_been_the_user_goes_too(client, member, organisation):
    for email in (member.email, "stranger@example.com"):
        client.post("/account/login/", {"login": email, "password": "x"}, REMOTE_ADDR="192.0.2.9")
    assert AuditPerson.objects.filter(address="192.0.2.9").count() == 2

    forget(member)

    assert AuditPerson.objects.filter(address="192.0.2.9").count() == 1
    assert verify().findings == []


def test_anonymising_takes_batches(member, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    for _ in range(5):
        trail.record("user:thing:done", actor=member, about=member)

    assert forget(member) == 10
    assert not AuditPerson.objects.exists()


def test_closed_account_is_anonymised_after_the_waiting_time(member, make_user, settings):
    settings.AUDIT_ANONYMISE_AFTER_DAYS = 30
    other = make_user("grace@example.com")
    type(member).objects.filter(pk=member.pk).update(is_active=False, closed_at=timezone.now())
    for user in (member, other):
        trail.record("user:account:closed", actor=user)
    retention.request_anonymisation(user_id=member.pk)

    assert tasks.anonymise_closed_accounts(timestamp=0) == 0
    waiting = Anonymisation.objects.get()
    assert timedelta(days=29) < waiting.due_at - timezone.now() <= timedelta(days=30)
    retention.request_anonymisation(user_id=member.pk)  # asking again does not start the time anew
    Anonymisation.objects.update(due_at=timezone.now())

    assert tasks.anonymise_closed_accounts(timestamp=0) == 1
    assert not Anonymisation.objects.exists()
    assert list(AuditPerson.objects.values_list("user_id", flat=True)) == [other.pk]


def test_nobody_is_forgotten_whose_account_is_open(member, caplog):
    """Whoever can write to the database can ask for it; they do not get our signature for it."""
    trail.record("user:thing:done", actor=member)
    Anonymisation.objects.create(user_id=member.pk, due_at=timezone.now())

    assert tasks.anonymise_closed_accounts(timestamp=0) == 0

    assert AuditPerson.objects.get().user_id == member.pk
    assert f"User {member.pk}" in caplog.text


def test_notes_of_anonymised_people_go_with_their_events(member, make_user):
    old_seal(1100, actor=member)
    assert forget(member) == 2
    assert AnonymisedPerson.objects.count() == 2
    assert verify().findings == []

    tasks.prune_audit_events(timestamp=0)

    assert not AnonymisedPerson.objects.exists()
    assert verify().findings == []


def test_people_who_went_before_there_were_notes_are_no_finding_and_later_ones_are(member, make_user):
    """What the migration does, in batches."""
    for _ in range(5):
        trail.record("user:thing:done", actor=member, about=make_user(f"{uuid.uuid4()}@example.com"))
    sealing.seal_events(batches=1)
    tamper("DELETE FROM audit_auditperson WHERE part = 'actor'")
    assert len(verify().findings) == 5

    migration = import_module("apps.audit.migrations.0005_notes_of_people_anonymised_before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migration, "BATCH_SIZE", 2)
        for _ in range(2):  # also when it was broken off and comes again
            migration.note_those_before(None, connection.schema_editor())
    assert verify().findings == []
    assert AnonymisedPerson.objects.count() == 5

    tamper("DELETE FROM audit_auditperson")
    assert len(verify().findings) == 5
