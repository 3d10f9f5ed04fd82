"""What the background worker does for this app."""

import uuid
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import AccessToken
from procrastinate.contrib.django import app

from apps.connections.models import Connection, EndReason
from apps.developers.models import Application, Status
from apps.housekeeping.chores import chore, noted
from apps.housekeeping.dead import Dead, DeadRows
from apps.tokens.dead_families import REVOKED_LIFETIME, find_dead_families
from apps.tokens.models import Grant
from apps.tokens.services import end_connection

#: A spent code's tombstone is kept for so long: after that a replay of it ends nothing any more.
TOMBSTONE_LIFETIME = REVOKED_LIFETIME
#: Connections read at once; each is ended in a transaction of its own.
CONNECTION_BATCH_SIZE = 500


@app.periodic(cron="23 * * * *")
@app.task(queueing_lock="delete-dead-service-tokens", pass_context=False)
@chore(_("Services’ tokens, when they have expired"))
def delete_dead_service_tokens(now: datetime) -> list[Dead]:
    """Delete services' expired tokens, of which each request leaves one. They belong to no user and no family."""
    return [DeadRows(AccessToken.objects.filter(user__isnull=True, expires__lt=now))]


@app.periodic(cron="17 * * * *")
@app.task(queueing_lock="delete-dead-codes", pass_context=False)
@chore(_("Authorization codes: spent ones after 30 days, others an hour after they expired"))
def delete_dead_codes(now: datetime) -> list[Dead]:
    """Delete codes that expired unspent, and tombstones past their time."""
    return [
        DeadRows(Grant.objects.filter(spent_at__isnull=True, expires__lt=now - timedelta(hours=1))),
        DeadRows(Grant.objects.filter(spent_at__lt=now - TOMBSTONE_LIFETIME)),
    ]


@app.periodic(cron="29 * * * *")
@app.task(queueing_lock="delete-dead-families", pass_context=False)
@chore(_("Users’ tokens: an hour after the last of a family has expired, or 30 days after it was revoked"))
def delete_dead_families(now: datetime) -> list[Dead]:
    """Delete families that nothing can come of any more, with their access and refresh tokens."""
    return find_dead_families(now)


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
@noted(_("Connections of deleted applications that are left"))
def end_connections_of_deleted_applications(timestamp: int) -> int:
    """End what a run that was broken off, or a user who agreed at that very moment, has left; returns how many."""
    active = Connection.objects.active().filter(application=OuterRef("pk"))
    deleted = Application.objects.filter(Exists(active), status=Status.DELETED)
    return sum(end_connections_of_application(application_id=str(pk)) for pk in deleted.values_list("pk", flat=True))
