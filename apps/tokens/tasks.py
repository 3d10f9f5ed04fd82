"""What the background worker does for this app."""

import uuid
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from oauth2_provider.models import AccessToken
from procrastinate.contrib.django import app

from apps.connections.models import Connection, EndReason
from apps.developers.models import Application, Status
from apps.tokens.models import Grant
from apps.tokens.services import end_connection

#: A spent code's tombstone is kept for so long: after that a replay of it ends nothing any more.
TOMBSTONE_LIFETIME = timedelta(days=30)
#: Rows deleted in one statement, so that none holds its locks for long.
BATCH_SIZE = 5_000
#: Connections read at once; each is ended in a transaction of its own.
CONNECTION_BATCH_SIZE = 500


@app.periodic(cron="23 * * * *")
@app.task(queueing_lock="delete-dead-service-tokens", pass_context=False)
def delete_dead_service_tokens(timestamp: int) -> int:
    """Delete services' expired tokens, of which each request leaves one; returns how many went.

    Users' tokens belong to a family and stay with it.
    """
    dead = AccessToken.objects.filter(family__isnull=True, user__isnull=True, expires__lt=timezone.now())
    total = 0
    while batch := list(dead.values_list("pk", flat=True)[:BATCH_SIZE]):
        total += AccessToken.objects.filter(pk__in=batch).delete()[0]
    return total


@app.periodic(cron="17 * * * *")
@app.task(queueing_lock="delete-dead-codes", pass_context=False)
def delete_dead_codes(timestamp: int) -> int:
    """Delete codes that expired unspent, and tombstones past their time; returns how many rows went."""
    now = timezone.now()
    unspent = Q(spent_at__isnull=True, expires__lt=now - timedelta(hours=1))
    dead = Grant.objects.filter(unspent | Q(spent_at__lt=now - TOMBSTONE_LIFETIME))
    total = 0
    while batch := list(dead.values_list("pk", flat=True)[:BATCH_SIZE]):
        total += Grant.objects.filter(pk__in=batch).delete()[0]
    return total


@app.task(pass_context=False)
def end_connections_of_application(*, application_id: str) -> int:
    """End all connections of a deleted application; returns how many this run ended.

    No token of it works any more; this is to leave nothing behind. It may be run again at any time, also beside
    itself: what is ended stays ended.
    """
    active = Connection.objects.active().filter(
        application=uuid.UUID(application_id), application__status=Status.DELETED
    )
    active = active.select_related("application")
    total = 0
    while batch := list(active[:CONNECTION_BATCH_SIZE]):
        total += sum(end_connection(connection=connection, reason=EndReason.APPLICATION) for connection in batch)
    return total


@app.periodic(cron="41 * * * *")
@app.task(queueing_lock="end-connections-of-deleted-applications", pass_context=False)
def end_connections_of_deleted_applications(timestamp: int) -> int:
    """End what a run that was broken off, or a user who agreed at that very moment, has left; returns how many."""
    active = Connection.objects.active().filter(application=OuterRef("pk"))
    deleted = Application.objects.filter(Exists(active), status=Status.DELETED)
    return sum(end_connections_of_application(application_id=str(pk)) for pk in deleted.values_list("pk", flat=True))
