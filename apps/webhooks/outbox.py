"""The outbox: which notifications of an endpoint are due, whose turn it is to deliver them, and what came of it.

The notifications' rows are the truth. A job of the queue only says "look at this endpoint", so that a job too many, a
job that comes too late, or one that was lost with its worker does no harm: the next look finds what is due.

One job at a time has an endpoint's turn. It holds a lease, not a lock: nothing is locked while a receiver is waited
for. Rows are always locked in the same order: endpoint, notification.
"""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.text import Truncator

from apps.connections.models import Connection
from apps.developers.history import note
from apps.developers.models import HistoryKind, Role, Status
from apps.organisations.addresses import site_address
from apps.organisations.mail import queue_mail
from apps.webhooks.delivery import Destination, Message, Result
from apps.webhooks.forgetting import empty_answers
from apps.webhooks.keys import open_keys
from apps.webhooks.models import (
    Attempt,
    Endpoint,
    EndpointKey,
    KeyKind,
    Notification,
    NotificationType,
    PauseReason,
    State,
)

#: When a failed notification is tried again: seconds after the first try, the second … Together about a day.
RETRY_DELAYS = (5, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 36_000)
#: By how much a delay may be longer or shorter, so that what failed together does not come back together.
JITTER = 0.1
#: An endpoint at which nothing has succeeded for so long is paused.
FAILING_LIFETIME = timedelta(days=3)
#: How many of what is due one turn looks at, and cancels if it is not to be told any more. The rest of the backlog,
#: which may be long, is not touched while the endpoint is locked.
LOOK_SIZE = 500
#: Notifications that one turn takes at most.
TURN_SIZE = 50
#: How many of them are under way at the same time; one, while the endpoint is failing.
PARALLEL = 5
#: A turn is over long before; if its worker was killed, another job may have it then.
LEASE = timedelta(seconds=60)
#: An endpoint that is failing looks again after so many seconds when as many of its kind as may are at it.
PUT_OFF = timedelta(seconds=5)
#: What is overdue by so much has lost its job.
FORGOTTEN_AFTER = timedelta(seconds=60)


@dataclass(frozen=True)
class Turn:
    """What a job is to deliver to one endpoint, and when somebody has to look at it again (None: no need)."""

    destination: Destination | None
    messages: list[Message]
    parallel: int
    wake_at: datetime | None
    #: The endpoint has been failing, so this will probably take the whole of its time.
    is_failing: bool = False


def _nothing(*, wake_at: datetime | None = None) -> Turn:
    return Turn(destination=None, messages=[], parallel=1, wake_at=wake_at)


@transaction.atomic
def start_turn(*, endpoint_id: uuid.UUID, job_id: int | None, may_be_failing: bool = True) -> Turn:
    """Take the endpoint's turn, if something is due and no other job has it. Whoever got messages has to `end_turn`.

    Unless `may_be_failing`, an endpoint that is failing is put off. Raises ClosedKeyError if its keys cannot be opened:
    what is due waits.
    """
    now = timezone.now()
    endpoint = _lock(endpoint_id)
    if endpoint is None or _is_others_turn(endpoint, job_id, now):
        # The other looks again at the end of its turn, with the endpoint locked: it sees what we have been told of.
        return _nothing()
    # By the index alone: many may be due at the same moment, when the team has resumed.
    due = _deliverable(endpoint, now).filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    looked_at = list(due.values_list("pk", flat=True)[:LOOK_SIZE])
    if not looked_at:
        return _nothing(wake_at=_next_wake(endpoint, now))
    is_failing = endpoint.failing_since is not None
    if is_failing and not may_be_failing:
        return _nothing(wake_at=_plan_wake(endpoint, now + PUT_OFF, now))
    chosen = Notification.objects.filter(pk__in=looked_at)
    _cancel_obsolete(endpoint, chosen)
    messages = [
        Message(notification.pk, notification.body)
        for notification in chosen.filter(state=State.QUEUED).order_by("next_attempt_at", "id")[:TURN_SIZE]
    ]
    if not messages:
        return _nothing(wake_at=_next_wake(endpoint, now))
    endpoint.delivering_until, endpoint.delivering_by = now + LEASE, job_id
    endpoint.save(update_fields=["delivering_until", "delivering_by"])
    return Turn(
        destination=_destination(endpoint, now),
        messages=messages,
        parallel=1 if is_failing else PARALLEL,
        wake_at=None,
        is_failing=is_failing,
    )


@transaction.atomic
def end_turn(*, endpoint_id: uuid.UUID) -> datetime | None:
    """Let others have the endpoint's turn; returns when a job has to look at it again."""
    endpoint = _lock(endpoint_id)
    if endpoint is None:
        return None
    endpoint.delivering_until = endpoint.delivering_by = None
    endpoint.save(update_fields=["delivering_until", "delivering_by"])
    return _next_wake(endpoint, timezone.now())


@transaction.atomic
def record_attempt(*, notification_id: uuid.UUID, endpoint_id: uuid.UUID, result: Result) -> None:
    """Write down what came of a try, and what follows from it."""
    endpoint = _lock(endpoint_id)
    notification = Notification.objects.select_for_update().filter(pk=notification_id).first()
    if notification is None:
        return
    Attempt.objects.create(
        notification=notification,
        started_at=result.started_at,
        duration_ms=result.duration_ms,
        status=result.status,
        failure=result.failure,
        # What is not kept of the question (forgetting.py) is not kept of the answer.
        response_start=result.response_start if notification.body else "",
    )
    notification.tries += 1
    if not result.failure:
        notification.state, notification.next_attempt_at = State.DELIVERED, None
    elif notification.state == State.QUEUED:
        _plan_next(notification, result)
    notification.save(update_fields=["tries", "state", "next_attempt_at"])
    if endpoint is not None:
        _note_health(endpoint, notification, result)


def forgotten_endpoints() -> list[uuid.UUID]:
    """Return the endpoints at which something is overdue and nobody seems to be at it."""
    now = timezone.now()
    overdue = Notification.objects.filter(
        Q(endpoint=OuterRef("pk"), state=State.QUEUED, next_attempt_at__lt=now - FORGOTTEN_AFTER)
    )
    free = Q(delivering_until__isnull=True) | Q(delivering_until__lt=now)
    tests = overdue.filter(notification_type=NotificationType.TEST)
    is_rested = Q(rests_until__isnull=True) | Q(rests_until__lt=now)
    wanted = Q(is_rested, Exists(overdue), paused_at__isnull=True) | Q(Exists(tests))
    return list(Endpoint.objects.filter(free, wanted).values_list("pk", flat=True))


def retry_delay(tries: int) -> timedelta | None:
    """Return how long to wait after `tries` failed tries; None: it is given up."""
    if tries > len(RETRY_DELAYS):
        return None
    # Not a secret: it only spreads load.
    return timedelta(seconds=RETRY_DELAYS[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311


def _lock(endpoint_id: uuid.UUID) -> Endpoint | None:
    """Return the endpoint, locked against others that deliver or change it, not against new notifications."""
    endpoints = Endpoint.objects.select_for_update(no_key=True, of=("self",)).select_related(
        "application__organisation"
    )
    return endpoints.filter(pk=endpoint_id).first()


def _is_others_turn(endpoint: Endpoint, job_id: int | None, now: datetime) -> bool:
    if endpoint.delivering_until is None or endpoint.delivering_until <= now:
        return False
    # A job that was taken up again after its worker was killed has the turn already.
    return endpoint.delivering_by is None or endpoint.delivering_by != job_id


def _deliverable(endpoint: Endpoint, now: datetime) -> QuerySet[Notification]:
    """Return what may be sent: while the endpoint is paused, or rests, tests only; the rest waits."""
    queued = Notification.objects.filter(endpoint=endpoint, state=State.QUEUED)
    may_send_all = not endpoint.is_paused and (endpoint.rests_until is None or endpoint.rests_until <= now)
    return queued if may_send_all else queued.filter(notification_type=NotificationType.TEST)


def _cancel_obsolete(endpoint: Endpoint, queued: QuerySet[Notification]) -> None:
    """Cancel what of these the application must not learn any more: who ended the connection has ended that, too."""
    of_connections = queued.filter(notification_type__in=[NotificationType.RECEIPT, NotificationType.TRANSACTION])
    # It cannot be told later either, so what it says goes at once, and what was answered to earlier tries.
    ended = of_connections.filter(~Exists(Connection.objects.active().filter(pk=OuterRef("connection_id"))))
    if ended.update(state=State.CANCELLED, next_attempt_at=None, body=""):
        empty_answers(queued.filter(body=""))
    if not endpoint.url or endpoint.application.status == Status.DELETED:
        queued.filter(state=State.QUEUED).update(state=State.CANCELLED, next_attempt_at=None)
    elif not endpoint.application.is_approved:
        of_connections.filter(state=State.QUEUED).update(state=State.CANCELLED, next_attempt_at=None)


def _destination(endpoint: Endpoint, now: datetime) -> Destination:
    keys = list(EndpointKey.objects.filter(endpoint=endpoint).live(now))
    api_keys = open_keys(key for key in keys if key.kind == KeyKind.API_KEY)
    secrets = tuple(open_keys(key for key in keys if key.kind == KeyKind.SIGNING_SECRET))
    # Only one can be sent: the old one, until the receiver has had time to learn the new one.
    return Destination(url=endpoint.url, api_key=api_keys[-1], signing_secrets=secrets)


def _next_wake(endpoint: Endpoint, now: datetime) -> datetime | None:
    """Return when a job has to be queued for, unless one is already."""
    soonest = _soonest(_deliverable(endpoint, now))
    if endpoint.rests_until is not None and endpoint.rests_until > now and not endpoint.is_paused:
        others = _soonest(Notification.objects.filter(endpoint=endpoint, state=State.QUEUED))
        rested = max(others, endpoint.rests_until) if others is not None else None
        soonest = min(filter(None, [soonest, rested]), default=None)
    if soonest is None:
        return None
    return now if soonest <= now else _plan_wake(endpoint, soonest, now)


def _soonest(notifications: QuerySet[Notification]) -> datetime | None:
    times = notifications.order_by("next_attempt_at").values_list("next_attempt_at", flat=True)
    return times.first()


def _plan_wake(endpoint: Endpoint, at: datetime, now: datetime) -> datetime | None:
    """Return `at`, unless a job is queued for before that already."""
    if endpoint.wakes_at is not None and now < endpoint.wakes_at <= at:
        return None
    endpoint.wakes_at = at
    endpoint.save(update_fields=["wakes_at"])
    return at


def _plan_next(notification: Notification, result: Result) -> None:
    delay = None if notification.is_test else retry_delay(notification.tries)
    if delay is None:
        notification.state, notification.next_attempt_at = State.FAILED, None
    else:
        planned = timezone.now() + delay
        notification.next_attempt_at = max(planned, result.rest_until) if result.rest_until else planned


def _note_health(endpoint: Endpoint, notification: Notification, result: Result) -> None:
    """Keep since when the endpoint has been failing; pause it after `FAILING_LIFETIME`, or when it says it is gone."""
    if notification.is_test:  # somebody is looking, and sees it
        return
    if result.started_at < endpoint.changed_at:  # that was another server
        return
    if not result.failure:
        if endpoint.failing_since is not None:
            endpoint.failing_since = None
            endpoint.save(update_fields=["failing_since"])
        return
    if endpoint.failing_since is None:
        endpoint.failing_since = result.started_at
        endpoint.save(update_fields=["failing_since"])
    if result.rest_until is not None:
        endpoint.rests_until = max(result.rest_until, endpoint.rests_until or result.rest_until)
        endpoint.save(update_fields=["rests_until"])
    if endpoint.is_paused:
        return
    if result.is_gone:
        _pause(endpoint, PauseReason.GONE)
    elif result.started_at - endpoint.failing_since >= FAILING_LIFETIME:
        _pause(endpoint, PauseReason.FAILING)


def _pause(endpoint: Endpoint, reason: PauseReason) -> None:
    """Deliver nothing there until somebody of the team resumes, and tell them."""
    endpoint.paused_at, endpoint.pause_reason = timezone.now(), reason
    endpoint.save(update_fields=["paused_at", "pause_reason"])
    note(endpoint.application, HistoryKind.WEBHOOK_CHANGED, actor=None, is_by_server=True, paused=True)
    application = endpoint.application
    team = application.team.filter(user__is_active=True, role__in=[Role.OWNER, Role.DEVELOPER])
    queue_mail(
        organisation=application.organisation,
        to=list(team.values_list("user__email", flat=True)),
        template="webhooks/endpoint_paused",
        context={
            "name": Truncator(" ".join(application.name.split())).chars(60),
            "url": endpoint.url,
            "failing_since": endpoint.failing_since,
            "is_gone": reason == PauseReason.GONE,
            "address": site_address(application.organisation, reverse("developer:webhook", args=[application.pk])),
        },
    )
