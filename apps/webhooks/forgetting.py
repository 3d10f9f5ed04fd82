"""What is not kept of somebody who has closed their account: what webhooks have told of them, or were to tell."""

import uuid
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.connections.models import Connection
from apps.webhooks.models import Attempt, Endpoint, Notification, NotificationType, PersonToForget, State

#: Notifications of one transaction, so that nobody waits long for their endpoint.
BATCH_SIZE = 500


def forget_notifications(*, user_id: uuid.UUID) -> int:
    """Empty the notifications about the user's connections, and the receivers' answers to them; returns how many.

    Only what has to be told yet is left: that a connection has ended. The rows stay in the teams' logs, without a word
    of the person. It may be run again at any time.
    """
    connections = dict(Connection.objects.filter(user=user_id).values_list("pk", "application_id"))
    endpoints = Endpoint.objects.filter(application__in=set(connections.values())).order_by("pk")
    total = 0
    for endpoint_id in list(endpoints.values_list("pk", flat=True)):
        while number := _forget_batch(endpoint_id, list(connections)):
            total += number
    PersonToForget.objects.filter(pk=user_id).delete()
    return total


def forget_who_is_left(*, asked_before: datetime) -> int:
    """Do it for those whose job was given up, or taken by a worker that did not know it; returns how many rows."""
    left = PersonToForget.objects.filter(asked_at__lt=asked_before).order_by("asked_at")
    return sum(forget_notifications(user_id=user_id) for user_id in list(left.values_list("pk", flat=True)))


def empty_answers(notifications: QuerySet[Notification]) -> None:
    """Keep nothing of what the receivers have answered to these."""
    Attempt.objects.filter(notification__in=notifications).exclude(response_start="").update(response_start="")


@transaction.atomic
def _forget_batch(endpoint_id: uuid.UUID, connection_ids: list[uuid.UUID]) -> int:
    # Whoever writes several notifications locks their endpoint first (outbox.py).
    Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint_id)
    of_connections = Notification.objects.filter(endpoint=endpoint_id, connection_id__in=connection_ids)
    is_to_be_told = Q(notification_type=NotificationType.REVOKE, state=State.QUEUED)
    # Either may be there without the other.
    is_answered = Exists(Attempt.objects.filter(notification=OuterRef("pk")).exclude(response_start=""))
    to_forget = of_connections.exclude(is_to_be_told).filter(~Q(body="") | is_answered)
    chosen = list(to_forget.values_list("pk", flat=True)[:BATCH_SIZE])
    notifications = Notification.objects.filter(pk__in=chosen)
    notifications.filter(state=State.QUEUED).update(state=State.CANCELLED, next_attempt_at=None)
    # Before their attempts, as whoever deletes them locks them.
    notifications.update(body="")
    empty_answers(notifications)
    return len(chosen)
