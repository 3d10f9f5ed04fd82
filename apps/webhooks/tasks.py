"""What the background worker does for this app: deliver, look after what was forgotten, delete what is old."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.types import JSONDict

from apps.housekeeping.chores import chore, noted
from apps.housekeeping.dead import Dead, DeadRows
from apps.telemetry import metrics, tracing
from apps.webhooks import outbox
from apps.webhooks.delivery import Message, open_client, send
from apps.webhooks.forgetting import forget_notifications, forget_who_is_left
from apps.webhooks.keys import ClosedKeyError
from apps.webhooks.models import EndpointKey, Notification
from apps.webhooks.old_notifications import OldNotifications

T = TypeVar("T")

log = logging.getLogger(__name__)

QUEUE = "webhooks"
#: Seconds after which a turn begins no further delivery, so that other endpoints get theirs.
TURN_SECONDS = 5.0
#: The delivery log is kept so long, and with it the senders' own keys.
NOTIFICATION_LIFETIME = timedelta(days=30)
#: After so long the job that forgets a closed account has lost its tries, or itself.
LOST_AFTER = timedelta(minutes=30)

#: Endpoints that are failing take no more of this process's places, so that they hold up none that is well.
FAILING_PLACES = 10
_failing_places = threading.BoundedSemaphore(FAILING_PLACES)
#: For the steps in the database, so that nothing that blocks elsewhere in this process holds up a delivery.
_DATABASE_THREADS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="webhook-database")


# What goes wrong here is ours, not the receiver's, whose failures are planned by the outbox. Tried again a few times
# only: what is overdue is looked for every minute, and jobs that never end would pile up.
@app.task(queue=QUEUE, pass_context=True, retry=RetryStrategy(max_attempts=3, wait=30))
async def deliver(context: JobContext, *, endpoint_id: str) -> None:
    """Deliver what is due at one endpoint, for a turn of at most `TURN_SECONDS` and the last receiver's time."""
    endpoint = uuid.UUID(endpoint_id)
    # Whether it is failing is known only when its turn begins: until then a place is held just in case.
    has_place = _failing_places.acquire(blocking=False)
    try:
        turn = await _in_database(
            outbox.start_turn, endpoint_id=endpoint, job_id=context.job.id, may_be_failing=has_place
        )
        if has_place and not turn.is_failing:
            _failing_places.release()
            has_place = False
        wake_at = turn.wake_at
        if turn.destination is not None:
            await _deliver_turn(endpoint, turn)
            wake_at = await _in_database(outbox.end_turn, endpoint_id=endpoint)
    except ClosedKeyError:
        # Not the receiver's fault: nothing of the day of tries is spent. What is overdue is looked for every minute.
        metrics.webhook_deliveries.labels("key_closed").inc()
        log.error("SECRET_KEY does not open the keys of the webhook %s: what it is to be told waits.", endpoint)
        return
    finally:
        if has_place:
            _failing_places.release()
    if wake_at is not None:
        await deliver.configure(schedule_at=wake_at).defer_async(endpoint_id=endpoint_id)


async def _deliver_turn(endpoint_id: uuid.UUID, turn: outbox.Turn) -> None:
    if turn.destination is None:
        return
    destination, last_start = turn.destination, time.monotonic() + TURN_SECONDS
    is_over = False
    places = asyncio.Semaphore(turn.parallel)
    async with open_client() as client, asyncio.TaskGroup() as group:

        async def deliver_one(message: Message) -> None:
            nonlocal is_over
            async with places:
                if is_over or time.monotonic() > last_start:
                    return
                with tracing.span("deliver webhook") as span:
                    result = await send(client, destination, message)
                    outcome = result.failure or "delivered"
                    if span is not None:
                        span.set_attribute("countersign.outcome", outcome)
                metrics.webhook_deliveries.labels(outcome).inc()
                metrics.webhook_delivery_seconds.observe(result.duration_ms / 1000)
                if result.ends_turn:
                    is_over = True
                await _in_database(
                    outbox.record_attempt,
                    notification_id=message.notification_id,
                    endpoint_id=endpoint_id,
                    result=result,
                )

        for message in turn.messages:
            group.create_task(deliver_one(message))


async def _in_database(step: Callable[..., T], **arguments: Any) -> T:
    """Run a step that uses the database in a thread, which gives its connection back afterwards."""

    def run() -> T:
        close_old_connections()
        try:
            return step(**arguments)
        finally:
            close_old_connections()

    return await sync_to_async(run, thread_sensitive=False, executor=_DATABASE_THREADS)()


@app.periodic(cron="* * * * *")
@app.task(queue=QUEUE, queueing_lock="wake-forgotten-endpoints", pass_context=True)
async def wake_forgotten_endpoints(context: JobContext, timestamp: int) -> None:
    """Queue a look at each endpoint at which something is overdue: its job was lost, or is late."""
    endpoints = await _in_database(outbox.forgotten_endpoints)
    if endpoints:
        jobs: list[JSONDict] = [{"endpoint_id": str(endpoint)} for endpoint in endpoints]
        await deliver.batch_defer_async(*jobs)


@app.task(pass_context=False, retry=RetryStrategy(max_attempts=5, wait=60))
def forget_notifications_of(*, user_id: str) -> int:
    """Empty what was told, or was to be told, of somebody who has closed their account; returns how many."""
    return forget_notifications(user_id=uuid.UUID(user_id))


@app.periodic(cron="11 * * * *")
@app.task(queueing_lock="forget-notifications-left", pass_context=False)
@noted(_("Webhook notifications about closed accounts that are left"))
def forget_notifications_left(timestamp: int) -> int:
    """Empty those whose own job was lost; returns how many."""
    return forget_who_is_left(asked_before=timezone.now() - LOST_AFTER)


@app.periodic(cron="53 * * * *")
@app.task(queueing_lock="delete-old-notifications", pass_context=False)
@chore(_("Webhook notifications with their attempts, after 30 days; keys that have ended"))
def delete_old_notifications(now: datetime) -> list[Dead]:
    """Delete notifications past their time with their attempts, and keys that are not in use any more."""
    old = Notification.objects.filter(created_at__lt=now - NOTIFICATION_LIFETIME)
    return [DeadRows(EndpointKey.objects.filter(ends_at__lt=now)), OldNotifications(old)]
