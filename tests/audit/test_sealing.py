"""The hash chain: what is sealed when, and that every kind of tampering shows."""

import io
import json
import secrets
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from apps.audit import sealing, tasks, trail
from apps.audit.digests import anonymisation_signature, pruning_signature, signing_keys
from apps.audit.models import AnonymisedPerson, AuditEvent, AuditPerson, AuditSeal, SealedEvent
from apps.audit.verification import as_json, verify
from apps.sealing import derive_secret
from tests.audit.conftest import forget, tamper

pytestmark = pytest.mark.django_db(transaction=True)


def in_thread(work):
    """Run `work` on a connection of its own and return the thread."""

    def run():
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def problems():
    return [(finding.seal, finding.event, finding.problem.partition(":")[0]) for finding in verify().findings]


@pytest.fixture
def sealed(member):
    """Three seals of two events each; returns the events, oldest first."""
    for number in range(6):
        trail.record("server:thing:done", actor=member, number=number)
        if number % 2:
            assert sealing.seal_events(batches=1) == 2
    return list(AuditEvent.objects.order_by("pk"))


def test_chain_of_honest_events_verifies(sealed):
    trail.record("server:thing:done")

    report = verify()

    assert report.findings == []
    assert (report.seals, report.sealed_events, report.unsealed_events) == (3, 6, 1)


def test_empty_trail_verifies():
    assert sealing.seal_events(batches=1) == 0
    assert verify().is_intact


def test_backlog_is_sealed_in_bounded_runs(monkeypatch):
    monkeypatch.setattr(sealing, "BATCH_SIZE", 3)
    with transaction.atomic():  # one transaction over several seals
        for _ in range(10):
            trail.record("server:thing:done")
    for _ in range(4):
        trail.record("server:thing:done")

    assert sealing.seal_events(batches=2) == 6
    assert tasks.seal_audit_events(timestamp=0) == 8
    assert list(AuditSeal.objects.order_by("pk").values_list("event_count", flat=True)) == [3, 3, 3, 3, 2]
    assert verify().findings == []


def test_event_that_commits_late_is_sealed_later(sealed):
    """Its id is lower than those that were sealed, and its transaction is older."""
    recorded, may_commit = threading.Event(), threading.Event()

    def slowly():
        with transaction.atomic():
            trail.record("server:slow:done")
            recorded.set()
            assert may_commit.wait(20)

    slow = in_thread(slowly)
    assert recorded.wait(20)
    trail.record("server:fast:done")

    # The fast one's transaction is younger than one that runs: what comes of that is not known yet.
    assert sealing.seal_events(batches=1) == 0
    assert verify().findings == []
    may_commit.set()
    slow.join()
    assert sealing.seal_events(batches=1) == 2

    order = AuditEvent.objects.filter(sealed__seal=4).order_by("sealed__position").values_list("tag", "pk")
    assert [tag for tag, _pk in order] == ["server:slow:done", "server:fast:done"]
    assert verify().findings == []


def test_lower_id_in_a_younger_transaction_is_sealed_later():
    """Ids are given out before transactions get theirs: a seal is a list, not a range of ids."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence('audit_auditevent', 'id'))")
        low = cursor.fetchone()[0]
    trail.record("server:thing:done")
    assert sealing.seal_events(batches=1) == 1
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO audit_auditevent (id, tag, details) VALUES (%s, 'server:thing:late', '{}')", [low])

    assert sealing.seal_events(batches=1) == 1
    assert SealedEvent.objects.get(event=low).seal_id == 2
    assert verify().findings == []


def test_what_was_rolled_back_is_nowhere(audit_lines):
    with transaction.atomic():
        trail.record("server:thing:done")
        transaction.set_rollback(True)

    assert not AuditEvent.objects.exists()
    assert audit_lines() == []


def test_two_sealers_at_once_seal_each_event_once():
    for _ in range(30):
        trail.record("server:thing:done")
    counts = []
    start = threading.Barrier(4)

    def seal():
        start.wait(20)
        counts.append(sealing.seal_events(batches=5))

    for thread in [in_thread(seal) for _ in range(4)]:
        thread.join()

    assert sum(counts) == SealedEvent.objects.count() == 30
    assert verify().findings == []


def test_second_sealer_leaves_it_to_the_first():
    trail.record("server:thing:done")
    counts = []
    with transaction.atomic():
        assert sealing.hold_seals()
        in_thread(lambda: counts.append(sealing.seal_events(batches=1))).join()

    assert counts == [0]
    assert sealing.seal_events(batches=1) == 1


# --- tampering ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "tag = 'server:thing:undone'",
        "details = '{}'",
        "happened_at = happened_at + interval '1 microsecond'",
        "application_id = gen_random_uuid()",
        "organisation_id = gen_random_uuid()",
        "connection_id = gen_random_uuid()",
        "transaction_id = (transaction_id::text::bigint + 1)::text::xid8",
        "about_commitment = person_commitment",
    ],
)
def test_edited_event_is_named(sealed, change):
    event = sealed[3]
    tamper(f"UPDATE audit_auditevent SET {change} WHERE id = %s", event.pk)

    found = problems()
    assert found[0] == (2, event.pk, "was changed")
    assert {where for _seal, where, _problem in found} == {event.pk}


def test_deleted_event_is_named(sealed):
    event = sealed[0]
    tamper("DELETE FROM audit_auditevent WHERE id = %s", event.pk)

    assert problems() == [(1, event.pk, "is missing"), (None, event.pk, "is missing; its person is still there")]


def test_event_deleted_with_its_traces_is_noticed(sealed):
    for statement in (
        "DELETE FROM audit_auditperson WHERE event_id = %s",
        "DELETE FROM audit_auditevent WHERE id = %s",
        "DELETE FROM audit_sealedevent WHERE event_id = %s",
    ):
        tamper(statement, sealed[2].pk)

    assert problems() == [
        (2, None, "its list of events, or what it says of itself, was changed"),
        (2, None, "lists 1 events, and was made of 2"),
    ]


def test_event_put_into_the_past_is_named(sealed):
    tamper(
        "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) VALUES ('a:b:c', '{}', %s, %s)",
        sealed[1].happened_at,
        str(sealed[1].transaction_id),
    )
    forged = AuditEvent.objects.latest("pk")

    assert sealing.seal_events(batches=1) == 0
    assert problems() == [(None, forged.pk, "was put in afterwards")]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_event_with_an_old_time_is_named(sealed, is_sealed):
    """A forged row of a current transaction, which the sealer takes for a new one."""
    tamper(
        "INSERT INTO audit_auditevent (tag, details, happened_at) VALUES ('server:thing:done', '{}', %s)",
        timezone.now() - timedelta(days=3),
    )
    forged = AuditEvent.objects.latest("pk")
    if is_sealed:
        assert sealing.seal_events(batches=1) == 1

    assert problems() == [(4 if is_sealed else None, forged.pk, "was put in afterwards")]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_event_that_waited_for_a_long_transaction_beside_many_is_none_the_worse(monkeypatch, is_sealed):
    """The long one's late events fill a seal; the early event of a younger transaction is left to the next one."""
    monkeypatch.setattr(sealing, "BATCH_SIZE", 3)
    tamper(
        "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) "
        "SELECT 'server:slow:done', '{}', now(), pg_current_xact_id() FROM generate_series(1, 3)"
    )
    tamper(
        "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) "
        "VALUES ('server:fast:done', '{}', now() - interval '2 hours', pg_current_xact_id())"
    )

    assert sealing.seal_events(batches=1) == 3
    assert not AuditSeal.objects.get().is_complete
    if is_sealed:
        assert sealing.seal_events(batches=1) == 1

    assert verify().findings == []


def test_reordered_events_are_noticed(sealed):
    for position in (7, 0, 1):  # one position is one event's: by way of a third
        old = {7: 0, 0: 1, 1: 7}[position]
        tamper("UPDATE audit_sealedevent SET position = %s WHERE seal_id = 2 AND position = %s", position, old)

    assert problems() == [(2, None, "its list of events, or what it says of itself, was changed")]


def test_event_moved_to_another_seal_is_noticed(sealed):
    tamper("UPDATE audit_sealedevent SET seal_id = 3, position = 2 WHERE event_id = %s", sealed[3].pk)

    assert {seal for seal, _event, _problem in problems()} == {2, 3}


@pytest.mark.parametrize(
    "change", ["event_count = 1", "sealed_at = now()", "is_complete = false", "horizon = '3'", "digest = 'x'"]
)
def test_edited_seal_is_named(sealed, change):
    tamper(f"UPDATE audit_auditseal SET {change} WHERE id = 2")

    assert 2 in {seal for seal, _event, _problem in problems()}


def test_deleted_seal_is_named(sealed):
    tamper("DELETE FROM audit_auditseal WHERE id = 2")

    assert (2, None, "is missing, and so is what lies between it and seal 3") in problems()
    assert (2, None, "is missing; the list of its events is still there") in problems()


def test_chain_made_anew_without_the_secret_is_noticed(sealed, settings):
    """Whoever can write everything to the database, and knows this code, still lacks the deployment secret."""
    from apps import sealing as secrets

    tamper("UPDATE audit_auditevent SET tag = 'server:thing:undone' WHERE id = %s", sealed[5].pk)
    tamper("DELETE FROM audit_sealedevent WHERE seal_id = 3")
    tamper("DELETE FROM audit_auditseal WHERE id = 3")
    genuine, settings.SECRET_KEY = settings.SECRET_KEY, "guessed"
    secrets.derive_secret.cache_clear()
    assert sealing.seal_events(batches=1) == 2
    settings.SECRET_KEY = genuine
    secrets.derive_secret.cache_clear()

    assert problems() == [(3, None, "was changed, or made by somebody without this deployment's secret")]


def test_newest_seals_cut_off_are_noticed_with_an_anchor(sealed):
    anchor = bytes(AuditSeal.objects.get(pk=3).digest)
    for statement in (
        "DELETE FROM audit_auditperson WHERE event_id IN (SELECT event_id FROM audit_sealedevent WHERE seal_id = 3)",
        "DELETE FROM audit_auditevent WHERE id IN (SELECT event_id FROM audit_sealedevent WHERE seal_id = 3)",
        "DELETE FROM audit_sealedevent WHERE seal_id = 3",
        "DELETE FROM audit_auditseal WHERE id = 3",
    ):
        tamper(statement)

    assert [str(finding) for finding in verify(anchors={3: anchor}).findings] == [
        "seal 3: is missing, though its digest was given"
    ]


@pytest.mark.parametrize(
    "change",
    ["name = 'Eve'", "user_id = gen_random_uuid()", "address = '192.0.2.1'", "user_agent = 'x'", "salt = 'x'"],
)
@pytest.mark.parametrize("is_sealed", [True, False])
def test_edited_person_is_named(sealed, member, change, is_sealed):
    event = sealed[4]
    if not is_sealed:
        trail.record("server:thing:done", actor=member)
        event = AuditEvent.objects.latest("pk")
    tamper(f"UPDATE audit_auditperson SET {change} WHERE event_id = %s", event.pk)

    assert problems() == [(3 if is_sealed else None, event.pk, "its person was changed or put in afterwards")]


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("note", [None, "forged", "of another event"])
def test_deleted_person_is_named(sealed, make_user, note, is_sealed):
    """Only the deployment's secret makes a note that says that they were anonymised, and only for that event."""
    if not is_sealed:
        trail.record("user:thing:done", actor=make_user("grace@example.com"))
    event = AuditEvent.objects.latest("pk") if not is_sealed else sealed[2]
    signatures = {"forged": b"forged", "of another event": anonymisation_signature(sealed[0].pk, "actor", b"")}
    if note:
        AnonymisedPerson.objects.create(event_id=event.pk, part="actor", signature=signatures[note])
    tamper("DELETE FROM audit_auditperson WHERE event_id = %s", event.pk)

    assert problems() == [
        (2 if is_sealed else None, event.pk, "its person was deleted, and not because an account was closed")
    ]


def test_person_of_nobody_is_not_missed():
    trail.record("server:thing:done")
    assert not AuditPerson.objects.exists()
    assert sealing.seal_events(batches=1) == 1

    assert verify().findings == []


@pytest.mark.parametrize("part", ["actor", "about"])
def test_one_part_is_missed_where_the_other_was_anonymised(member, make_user, part):
    other = make_user("grace@example.com")
    people = {"actor": member, "about": other} if part == "actor" else {"actor": other, "about": member}
    trail.record("user:thing:done", **people)
    assert forget(member) == 1
    assert verify().findings == []

    tamper("DELETE FROM audit_auditperson")

    assert len(verify().findings) == 1


def test_person_put_in_is_named(sealed):
    trail.record("server:thing:done")
    event = AuditEvent.objects.latest("pk")
    tamper(
        "INSERT INTO audit_auditperson (event_id, part, salt, name, user_agent) VALUES (%s, 'actor', '', 'Eve', '')",
        event.pk,
    )

    assert problems() == [(None, event.pk, "its person was changed or put in afterwards")]


def test_trail_restored_elsewhere_goes_on(monkeypatch):
    """Another server counts transactions anew, from below: its events are none the worse for it."""
    find_batch = sealing._find_batch

    def find_batch_far_ahead(floor, is_new_server):
        batch = find_batch(floor, is_new_server)
        return replace(batch, horizon=batch.horizon + 5_000_000)

    trail.record("server:thing:done")
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "cluster_id", lambda: "the old server")
        patch.setattr(sealing, "_find_batch", find_batch_far_ahead)
        assert sealing.seal_events(batches=1) == 1
    trail.record("server:thing:done")

    assert verify().findings == []
    assert sealing.seal_events(batches=1) == 1
    assert verify().findings == []


def test_event_of_a_transaction_that_has_not_been_is_named(sealed):
    tamper(
        "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) "
        "VALUES ('a:b:c', '{}', now(), (pg_current_xact_id()::text::bigint + 5000000)::text::xid8)"
    )
    forged = AuditEvent.objects.latest("pk")

    assert sealing.seal_events(batches=1) == 0
    assert problems() == [(None, forged.pk, "was put in")]


def test_unsealed_event_of_another_server_is_sealed():
    """Its transaction's id has not been given out here, so nobody can still be writing in it."""
    tamper(
        "INSERT INTO audit_auditevent (tag, details, happened_at, transaction_id) "
        "VALUES ('server:thing:done', '{}', now(), (pg_current_xact_id()::text::bigint + 5000000)::text::xid8)"
    )
    trail.record("server:thing:done")

    assert sealing.seal_events(batches=1) == 2
    trail.record("server:thing:done")
    assert sealing.seal_events(batches=1) == 1
    assert verify().findings == []


# --- the command -------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    try:
        call_command("verify_audit", *arguments)
    except SystemExit as error:
        return error.code, capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_command_says_that_all_is_well(sealed, capsys):
    status, text = run(capsys)

    assert status == 0
    assert "The audit trail is intact: 3 seals" in text
    status, answer = run(capsys, "--json")
    assert status == 0
    assert json.loads(answer) | {"last_digest": ""} == {
        "intact": True,
        "seals": 3,
        "pruned_seals": 0,
        "earlier_seals": 0,
        "last_earlier_seal": None,
        "earlier_prunings": 0,
        "last_earlier_pruning": None,
        "earlier_notes": 0,
        "last_earlier_note": None,
        "sealed_events": 6,
        "unsealed_events": 0,
        "last_seal": 3,
        "last_digest": "",
        "findings": [],
    }


def test_command_says_what_was_changed(sealed, capsys):
    tamper("UPDATE audit_auditevent SET tag = 'server:thing:undone' WHERE id = %s", sealed[3].pk)

    status, text = run(capsys)

    assert status == 1
    assert f"seal 2, event {sealed[3].pk}: was changed" in text
    status, answer = run(capsys, "--json")
    assert status == 1
    assert json.loads(answer)["findings"] == [{"seal": 2, "event": sealed[3].pk, "problem": "was changed"}]


def test_command_takes_the_anchor_it_gave(sealed, capsys):
    anchor = run(capsys)[1].strip().rpartition(" ")[2]

    assert run(capsys, "--anchor", anchor)[0] == 0
    assert run(capsys, "--anchor", anchor.replace("3:", "2:"))[0] == 1


# --- a new secret ----------------------------------------------------------------------------------------------


@pytest.fixture
def use(settings):
    """Go on with another secret, and those before it, as processes do that were started again."""

    def use(secret, *fallbacks):
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secret, list(fallbacks)
        derive_secret.cache_clear()

    own = settings.SECRET_KEY
    yield use
    use(own)


@pytest.fixture
def seal_one(member):
    """Record an event of the member's and seal it; returns the seal and the event."""

    def seal_one():
        trail.record("server:thing:done", actor=member)
        assert sealing.seal_events(batches=1) == 1
        return AuditSeal.objects.latest("pk"), AuditEvent.objects.latest("pk")

    return seal_one


def prune(seal, key=None):
    now = timezone.now()
    tamper("SELECT audit_prune(%s, %s, %s)", seal.pk, now, pruning_signature(seal.pk, now, key))


def take_person(event, key=None):
    signature = anonymisation_signature(event.pk, "actor", bytes(event.person_commitment), key)
    tamper("INSERT INTO audit_anonymisedperson VALUES (%s, 'actor', %s)", event.pk, signature)
    tamper("DELETE FROM audit_auditperson WHERE event_id = %s", event.pk)


def test_whoever_knows_the_earlier_secret_deletes_nothing_that_was_sealed_with_the_new_one(settings, use, seal_one):
    old, new = settings.SECRET_KEY, secrets.token_urlsafe(48)
    seal_one()
    use(new, old)
    seal_one()
    seal, event = seal_one()
    earlier = signing_keys()[1]

    take_person(event, earlier)
    assert problems() == [
        (seal.pk, event.pk, "its person was deleted with an earlier SECRET_KEY, after that had been changed")
    ]
    for each in AuditSeal.objects.order_by("pk"):
        prune(each, earlier)

    report = verify()
    # The first one was sealed with the earlier secret itself: that cannot be told from retention, and is named.
    assert [str(finding) for finding in report.findings] == [
        f"seal {number}: its events were deleted with an earlier SECRET_KEY, after that had been changed"
        for number in (seal.pk - 1, seal.pk)
    ]
    assert (report.earlier_prunings, report.last_earlier_pruning) == (3, seal.pk)


def test_event_that_is_not_sealed_yet_keeps_its_person_from_the_earlier_secret(settings, use, seal_one, member):
    old, new = settings.SECRET_KEY, secrets.token_urlsafe(48)
    seal_one()
    use(new, old)
    seal_one()
    trail.record("server:thing:done", actor=member)
    event = AuditEvent.objects.latest("pk")

    take_person(event, signing_keys()[1])

    assert [(seal, pk) for seal, pk, _problem in problems()] == [(None, event.pk)]


def test_what_was_deleted_before_the_secret_was_changed_is_intact_and_is_named(settings, use, seal_one):
    old, new = settings.SECRET_KEY, secrets.token_urlsafe(48)
    (pruned, _event), (_seal, event) = seal_one(), seal_one()
    prune(pruned)
    take_person(event)
    assert "earlier" not in verified()
    use(new, old)
    seal_one()

    report = verify()

    assert report.findings == []
    assert (report.earlier_prunings, report.earlier_notes) == (1, 1)
    facts = json.loads(as_json(report))
    assert (facts["last_earlier_pruning"], facts["last_earlier_note"]) == (pruned.pk, event.pk)
    said = verified()
    assert f"1 prunings were signed with an earlier SECRET_KEY, up to seal {pruned.pk}." in said
    assert f"up to event {event.pk}." in said


def test_person_who_goes_just_before_the_secret_is_changed_is_no_finding(settings, use, seal_one, member):
    old, new = settings.SECRET_KEY, secrets.token_urlsafe(48)
    seal_one()
    trail.record("server:thing:done", actor=member)
    take_person(AuditEvent.objects.latest("pk"))
    use(new, old)
    assert sealing.seal_events(batches=1) == 1
    seal_one()

    assert problems() == []


def test_new_key_may_delete_what_the_old_one_has_sealed_while_processes_are_exchanged_one_by_one(
    settings, use, seal_one
):
    old, new = settings.SECRET_KEY, secrets.token_urlsafe(48)
    (first, _event), (second, event) = seal_one(), seal_one()
    for ours, theirs in ((new, old), (old, new), (new, old), (old, new)):
        use(ours, theirs)
        seal_one()
        if ours == new and AuditPerson.objects.filter(event=event).exists():
            prune(first)
            take_person(event)
        # By a process that has not been exchanged yet, and by one that has.
        for secret, fallback in ((old, new), (new, old)):
            use(secret, fallback)
            assert problems() == []
    assert second.pruned_at is None


def verified():
    output = io.StringIO()
    call_command("verify_audit", stdout=output)
    return output.getvalue()
