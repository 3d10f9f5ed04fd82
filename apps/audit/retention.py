"""Forgetting: whole seals of old events, and the people in events."""

import logging
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection as database
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.audit.digests import anonymisation_signature, pruning_signature
from apps.audit.models import Anonymisation, AuditPerson, AuditSeal
from apps.audit.sealing import hold_seals
from apps.audit.trail import record

log = logging.getLogger(__name__)

#: Rows deleted in one statement, so that none holds its locks for long.
BATCH_SIZE = 1_000


def prune_events(*, older_than: datetime) -> int:
    """Delete the events of every seal that has none younger than that, the oldest seal first; returns how many went.

    A seal's row stays, so that the chain can be followed, with a note that its events were pruned.
    """
    seals = total = 0
    while (pruned := _prune_oldest(older_than)) is not None:
        seals += 1
        total += pruned
    if seals:
        record("server:audit:pruned", seals=seals, events=total, older_than=older_than.isoformat())
    return total


@transaction.atomic
def _prune_oldest(older_than: datetime) -> int | None:
    """Prune one seal; None: there is none to prune, or somebody else is at it."""
    if not hold_seals():
        return None
    seal = AuditSeal.objects.filter(pruned_at__isnull=True).order_by("pk").first()
    if seal is None or seal.last_happened_at >= older_than:
        return None
    now = timezone.now()
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT audit_prune(%s::bigint, %s::timestamptz, %s::bytea)",
            [seal.pk, now, pruning_signature(seal.pk, now)],
        )
        return int(cursor.fetchone()[0])


def request_anonymisation(*, user_id: uuid.UUID) -> None:
    """Let the user's part in the trail be deleted after the waiting time, because the account is closed. Idempotent."""
    due_at = timezone.now() + timedelta(days=settings.AUDIT_ANONYMISE_AFTER_DAYS)
    Anonymisation.objects.get_or_create(user_id=user_id, defaults={"due_at": due_at})


def anonymise_due() -> int:
    """Anonymise everybody whose waiting time is over; returns how many people that were.

    Not those whose account is open: somebody has only written down that they want to be forgotten.
    """
    due = list(Anonymisation.objects.filter(due_at__lte=timezone.now()).values_list("user_id", flat=True))
    users = get_user_model()._default_manager.filter(pk__in=due, closed_at__isnull=True)
    are_open = set(users.values_list("pk", flat=True))
    for user_id in are_open:
        log.error("User %s is to be made anonymous in the audit trail, and the account is open: not done.", user_id)
    closed = [user_id for user_id in due if user_id not in are_open]
    for user_id in closed:
        anonymise_person(user_id)
        Anonymisation.objects.filter(user_id=user_id).delete()
    return len(closed)


def anonymise_person(user_id: uuid.UUID) -> int:
    """Delete who the user was from every event they are in, in batches; returns how many rows went.

    The events and their seals stay as they are, and a signed note at each says why nobody is there any more. Where
    somebody unknown did something to the user's account, such as a log-in that failed, that may have been the user, so
    their address goes as well. The database refuses it when no anonymisation of the user is due.
    """
    total = 0
    mine = AuditPerson.objects.filter(user_id=user_id).order_by("event_id")
    while events := list(mine.values_list("event_id", flat=True)[:BATCH_SIZE]):
        total += _anonymise_events(user_id, events)
    if total:
        record("server:audit:anonymised", people=total)
    return total


def _anonymise_events(user_id: uuid.UUID, events: list[int]) -> int:
    """Delete the user's parts in these events, in one transaction, and return how many those were."""
    people = AuditPerson.objects.filter(Q(user_id=user_id) | Q(user_id__isnull=True), event__in=events)
    rows = people.order_by("event_id", "part").values_list(
        "event_id", "part", "event__person_commitment", "event__about_commitment"
    )
    signed = [
        (
            event_id,
            part,
            anonymisation_signature(event_id, part, bytes((by if part == AuditPerson.Part.ACTOR else about) or b"")),
        )
        for event_id, part, by, about in rows
    ]
    if not signed:  # somebody else was faster
        return 0
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT audit_anonymise(%s::uuid, %s::bigint[], %s::varchar[], %s::bytea[])",
            [user_id, *map(list, zip(*signed, strict=True))],
        )
        return int(cursor.fetchone()[0])
