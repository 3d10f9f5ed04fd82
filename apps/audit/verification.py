"""Does the trail still say what it said? Every seal, every event in it, every person and every missing one."""

import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection as database
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from apps.audit.digests import (
    BEGINNING,
    anonymisation_signature,
    commitment,
    event_digest,
    pruning_signature,
    seal_digest,
    seal_signature,
    signing_keys,
)
from apps.audit.models import AnonymisedPerson, AuditEvent, AuditPerson, AuditSeal, SealedEvent
from apps.audit.sealing import cluster_id

#: What is due is sealed within a minute, unless a transaction runs that is as old; that takes at most so long. An event
#: of a time before that was put in after everything had been sealed.
LONGEST_TRANSACTION = timedelta(hours=1)
_CHUNK = 1_000
_BY_A_KEY_THAT_WAS_LEFT = "with an earlier SECRET_KEY, after that had been changed"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was: in which seal, at which event."""

    problem: str
    seal: int | None = None
    event: int | None = None

    def __str__(self) -> str:
        where = [f"seal {self.seal}"] if self.seal is not None else []
        where += [f"event {self.event}"] if self.event is not None else []
        return f"{', '.join(where) or 'the trail'}: {self.problem}"


@dataclass
class Report:
    """What a verification has looked at and found."""

    seals: int = 0
    sealed_events: int = 0
    unsealed_events: int = 0
    pruned_seals: int = 0
    #: Made with an earlier secret (SECRET_KEY_FALLBACKS), and the newest of them: who knows that secret can make such.
    earlier_seals: int = 0
    last_earlier_seal: int | None = None
    #: The same of prunings, with the newest seal that was pruned so, and of the notes about people who were made
    #: anonymous, with the newest event.
    earlier_prunings: int = 0
    last_earlier_pruning: int | None = None
    earlier_notes: int = 0
    last_earlier_note: int | None = None
    #: The newest seal; its digest, kept elsewhere, is an anchor for the next verification.
    last_seal: int | None = None
    last_digest: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        return not self.findings


@dataclass
class _Keys:
    """When which key has made seals, as the chain is followed: what the settings say of their order may be reversed.

    While a new secret is brought to one process after the other, it is the one named in SECRET_KEY_FALLBACKS, and both
    keys make seals in turns. A key was left when its last seal is followed by others, of another key.
    """

    #: For each key that has made a seal, when the first one after its last was made; None: its seal is the newest.
    left_at: dict[int, datetime | None] = field(default_factory=dict)
    #: What is wrong if that key makes no more seals.
    suspicions: dict[int, list[Finding]] = field(default_factory=dict)

    def follow(self, key: int, sealed_at: datetime) -> None:
        """Go on to the next seal, which was made by that key."""
        for other, left_at in self.left_at.items():
            self.left_at[other] = left_at or sealed_at
        self.left_at[key] = None
        self.suspicions.pop(key, None)

    def suspect(self, key: int, finding: Finding, *, happened_at: datetime | None = None) -> None:
        """Note what that key has signed of the seal at hand, or of an event: nobody signs with a key that was left.

        What happened just before the key was left may be in a seal of the new one. A key that has made no seal yet is
        a new one.
        """
        left_at = self.left_at.get(key)
        if left_at is not None and (happened_at is None or happened_at > left_at):
            self.suspicions.setdefault(key, []).append(finding)

    def findings(self) -> list[Finding]:
        return [finding for key in sorted(self.suspicions) for finding in self.suspicions[key]]


def verify(*, anchors: dict[int, bytes] | None = None) -> Report:
    """Check the whole trail; `anchors` are digests of seals that were kept elsewhere."""
    with transaction.atomic():
        if not database.savepoint_ids:
            # One moment for all reads, whatever is sealed or pruned meanwhile.
            with database.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        report, keys = Report(), _Keys()
        report.findings.extend(_verify_chain(report, keys, anchors or {}))
        report.findings.extend(_verify_rest(report, keys))
        report.findings.extend(keys.findings())
        return report


def _verify_chain(report: Report, keys: _Keys, anchors: dict[int, bytes]) -> Iterator[Finding]:
    previous: AuditSeal | None = None
    unseen = dict(anchors)
    for seal in AuditSeal.objects.order_by("pk").iterator(chunk_size=_CHUNK):
        report.seals += 1
        expected = previous.pk + 1 if previous else 1
        if seal.pk != expected:
            yield Finding(f"is missing, and so is what lies between it and seal {seal.pk}", seal=expected)
        elif bytes(seal.previous_digest) != (bytes(previous.digest) if previous else BEGINNING):
            yield Finding("does not follow from the seal before it", seal=seal.pk)
        signer = _signer(bytes(seal.signature), partial(seal_signature, seal))
        if signer is None:
            yield Finding("was changed, or made by somebody without this deployment's secret", seal=seal.pk)
        else:
            keys.follow(signer, seal.sealed_at)
            if signer > 0:
                report.earlier_seals += 1
                report.last_earlier_seal = seal.pk
        if seal.pk in unseen and unseen.pop(seal.pk) != bytes(seal.digest):
            yield Finding("is not the one whose digest was given", seal=seal.pk)
        if seal.pruned_at is not None:
            report.pruned_seals += 1
            yield from _verify_pruned(seal, report, keys)
        else:
            yield from _verify_events(seal, previous, report, keys)
        previous = seal
    for missing in sorted(unseen):
        yield Finding("is missing, though its digest was given", seal=missing)
    if previous is not None:
        report.last_seal, report.last_digest = previous.pk, bytes(previous.digest).hex()


def _signer(signature: bytes, sign: Callable[..., bytes]) -> int | None:
    """Return which key has signed: 0 for that of SECRET_KEY, above for SECRET_KEY_FALLBACKS; None: no key of ours."""
    for number, key in enumerate(signing_keys()):
        if hmac.compare_digest(signature, sign(key=key)):
            return number
    return None


def _verify_pruned(seal: AuditSeal, report: Report, keys: _Keys) -> Iterator[Finding]:
    signature = bytes(seal.pruned_signature or b"")
    signer = _signer(signature, partial(pruning_signature, seal.pk, seal.pruned_at)) if seal.pruned_at else None
    if signer is None:
        yield Finding("its events were deleted, and not by retention", seal=seal.pk)
    else:
        keys.suspect(signer, Finding(f"its events were deleted {_BY_A_KEY_THAT_WAS_LEFT}", seal=seal.pk))
        if signer > 0:
            report.earlier_prunings += 1
            report.last_earlier_pruning = seal.pk
    if SealedEvent.objects.filter(seal=seal).exists():
        yield Finding("was pruned, and still has events", seal=seal.pk)


def _verify_events(seal: AuditSeal, previous: AuditSeal | None, report: Report, keys: _Keys) -> Iterator[Finding]:
    members = list(SealedEvent.objects.filter(seal=seal).order_by("position"))
    events = AuditEvent.objects.in_bulk([member.event_id for member in members])
    report.sealed_events += len(members)
    if seal_digest(seal, [bytes(member.digest) for member in members]) != bytes(seal.digest):
        yield Finding("its list of events, or what it says of itself, was changed", seal=seal.pk)
    if len(members) != seal.event_count:
        yield Finding(f"lists {len(members)} events, and was made of {seal.event_count}", seal=seal.pk)
    for member in members:
        event = events.get(member.event_id)
        if event is None:
            yield Finding("is missing", seal=seal.pk, event=member.event_id)
        elif event_digest(event) != bytes(member.digest):
            yield Finding("was changed", seal=seal.pk, event=event.pk)
        elif previous is not None and _is_from_before(event, previous, seal.cluster):
            yield Finding("was put in afterwards: it claims to be older than the seal before", seal.pk, event.pk)
    yield from _verify_people(events, seal.pk, report, keys)


def _is_from_before(event: AuditEvent, seal: AuditSeal, cluster: str) -> bool:
    """Say whether the event claims a time or a transaction that would have made it part of `seal`."""
    # A full seal leaves events to the next one, and they are in the order of their transactions, not of their times.
    is_too_early = seal.is_complete and event.happened_at < seal.sealed_at - LONGEST_TRANSACTION
    return cluster == seal.cluster and (event.transaction_id < seal.horizon or is_too_early)


def _verify_people(events: dict[int, AuditEvent], seal: int | None, report: Report, keys: _Keys) -> Iterator[Finding]:
    missing = {
        (event.pk, str(part)): committed
        for event in events.values()
        for part in AuditPerson.Part
        if (committed := _commitment_in(event, part)) is not None
    }
    for person in AuditPerson.objects.filter(event__in=list(events)).order_by("event_id", "part"):
        event = events[person.event_id]
        missing.pop((event.pk, person.part), None)
        committed = _commitment_in(event, person.part)
        address = str(person.address) if person.address else None
        now = commitment(bytes(person.salt), person.user_id, person.name, address, person.user_agent)
        if committed != now:
            yield Finding("its person was changed or put in afterwards", seal=seal, event=event.pk)
    for (event_id, _part), signer in _signers_of_notes(missing).items():
        event = events[event_id]
        if signer is None:
            yield Finding("its person was deleted, and not because an account was closed", seal=seal, event=event_id)
            continue
        finding = Finding(f"its person was deleted {_BY_A_KEY_THAT_WAS_LEFT}", seal=seal, event=event_id)
        keys.suspect(signer, finding, happened_at=event.happened_at)
        if signer > 0:
            report.earlier_notes += 1
            report.last_earlier_note = max(event_id, report.last_earlier_note or 0)


def _commitment_in(event: AuditEvent, part: str) -> bytes | None:
    committed = event.person_commitment if part == AuditPerson.Part.ACTOR else event.about_commitment
    return None if committed is None else bytes(committed)


def _signers_of_notes(missing: dict[tuple[int, str], bytes]) -> dict[tuple[int, str], int | None]:
    """Return which key has signed the note why somebody is not there any more; None: there is no good note.

    By event and part, as in `missing`, which has the commitments.
    """
    events = {event_id for event_id, _part in missing}
    notes = AnonymisedPerson.objects.filter(event_id__in=events) if events else ()
    signatures = {(note.event_id, note.part): bytes(note.signature) for note in notes}
    return {
        (event_id, part): _signer(
            signatures.get((event_id, part), b""), partial(anonymisation_signature, event_id, part, committed)
        )
        for (event_id, part), committed in sorted(missing.items())
    }


def _verify_rest(report: Report, keys: _Keys) -> Iterator[Finding]:
    """Check what is not sealed yet, and rows that belong to nothing."""
    last = AuditSeal.objects.order_by("-pk").first()
    cluster = cluster_id()
    # Before that, such an event may come from the server that the database was restored from.
    was_all_sealed = AuditSeal.objects.filter(cluster=cluster, is_complete=True).exists()
    next_transaction = _next_transaction()
    for chunk in _chunks(AuditEvent.objects.filter(~Exists(SealedEvent.objects.filter(event=OuterRef("pk"))))):
        report.unsealed_events += len(chunk)
        for event in chunk:
            if last is not None and _is_from_before(event, last, cluster):
                yield Finding("was put in afterwards: an event of its time would have been sealed", event=event.pk)
            elif was_all_sealed and event.transaction_id >= next_transaction:
                yield Finding("was put in: its transaction has not been yet", event=event.pk)
        yield from _verify_people({event.pk: event for event in chunk}, None, report, keys)
    strangers = AuditPerson.objects.filter(~Exists(AuditEvent.objects.filter(pk=OuterRef("event_id"))))
    for event_id in strangers.values_list("event_id", flat=True).distinct()[:_CHUNK]:
        yield Finding("is missing; its person is still there", event=event_id)
    homeless = SealedEvent.objects.filter(~Exists(AuditSeal.objects.filter(pk=OuterRef("seal_id"))))
    for seal_id in homeless.values_list("seal_id", flat=True).distinct()[:_CHUNK]:
        yield Finding("is missing; the list of its events is still there", seal=seal_id)


def _next_transaction() -> int:
    """Return the first transaction id that this moment cannot have seen."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT GREATEST(pg_snapshot_xmax(pg_current_snapshot())::text::bigint, "
            "pg_current_xact_id_if_assigned()::text::bigint + 1)"
        )
        return int(cursor.fetchone()[0])


def _chunks(events: QuerySet[AuditEvent]) -> Iterator[list[AuditEvent]]:
    last_id = 0
    while chunk := list(events.filter(pk__gt=last_id).order_by("pk")[:_CHUNK]):
        yield chunk
        last_id = chunk[-1].pk


def as_json(report: Report) -> str:
    """Return the report for a program."""
    data: dict[str, Any] = {
        "intact": report.is_intact,
        "seals": report.seals,
        "pruned_seals": report.pruned_seals,
        "earlier_seals": report.earlier_seals,
        "last_earlier_seal": report.last_earlier_seal,
        "earlier_prunings": report.earlier_prunings,
        "last_earlier_pruning": report.last_earlier_pruning,
        "earlier_notes": report.earlier_notes,
        "last_earlier_note": report.last_earlier_note,
        "sealed_events": report.sealed_events,
        "unsealed_events": report.unsealed_events,
        "last_seal": report.last_seal,
        "last_digest": report.last_digest,
        "findings": [{"seal": f.seal, "event": f.event, "problem": f.problem} for f in report.findings],
    }
    return json.dumps(data, indent=2)
