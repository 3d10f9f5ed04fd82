"""Everything that writes, except what the worker notes of its tries (outbox.py)."""

import json
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from procrastinate.types import JSONDict

from apps.accounts.models import User
from apps.connections.models import Connection
from apps.developers.errors import RefusedError
from apps.developers.history import note
from apps.developers.models import Application, HistoryKind
from apps.developers.services.locking import lock_application
from apps.organisations.queue import queue_jobs
from apps.webhooks import keys
from apps.webhooks.addresses import clean_url
from apps.webhooks.models import (
    Endpoint,
    EndpointKey,
    KeyKind,
    Notification,
    NotificationType,
    PauseReason,
    PersonToForget,
    State,
)
from apps.webhooks.tasks import deliver, forget_notifications_of

#: How long the old key is in use after a change unless something else is chosen, and at most; as with client secrets.
DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)
#: Of a test message: there is no connection.
NO_CONNECTION = uuid.UUID(int=0)
#: One test message of an application in so long: a button is not a way to send a stranger's server a flood.
TEST_INTERVAL = timedelta(minutes=1)
#: One notification of an application is sent again in so long, by hand; for the same reason.
AGAIN_INTERVAL = timedelta(seconds=10)


@transaction.atomic
def set_endpoint(*, application: Application, actor: User | None, url: str) -> dict[KeyKind, str]:
    """Let the application be told at `url`; returns the keys if they were made now, which are shown this once.

    What waits goes to the new URL. Raises ValidationError for the URL, RefusedError.
    """
    url = clean_url(url)
    lock_application(application)
    endpoint = Endpoint.objects.select_for_update(no_key=True).filter(application=application).first()
    if endpoint is None or not endpoint.url:
        endpoint = endpoint or Endpoint(application=application)
        endpoint.url, endpoint.changed_at = url, timezone.now()
        endpoint.failing_since = endpoint.rests_until = endpoint.paused_at = None
        endpoint.pause_reason = ""
        endpoint.save()
        values = {kind: keys.new_value(kind) for kind in KeyKind}
        EndpointKey.objects.bulk_create(
            keys.seal_key(endpoint=endpoint, kind=kind, value=value) for kind, value in values.items()
        )
        note(application, HistoryKind.WEBHOOK_CHANGED, actor=actor, url=url)
        return values
    if endpoint.url != url:
        endpoint.url, endpoint.changed_at = url, timezone.now()
        endpoint.failing_since = endpoint.rests_until = None
        endpoint.save(update_fields=["url", "changed_at", "failing_since", "rests_until"])
        note(application, HistoryKind.WEBHOOK_CHANGED, actor=actor, url=url)
    return {}


@transaction.atomic
def remove_endpoint(*, application: Application, actor: User | None) -> bool:
    """Tell the application nothing any more; says whether it was told before. What waits is cancelled."""
    lock_application(application)
    endpoint = _find_endpoint(application)
    if endpoint is None:
        return False
    _queued(endpoint).update(state=State.CANCELLED, next_attempt_at=None)
    endpoint.keys.all().delete()
    endpoint.url, endpoint.changed_at = "", timezone.now()
    endpoint.save(update_fields=["url", "changed_at"])
    note(application, HistoryKind.WEBHOOK_CHANGED, actor=actor, url="")
    return True


@transaction.atomic
def rotate_key(
    *,
    application: Application,
    actor: User | None,
    kind: KeyKind,
    overlap: timedelta = DEFAULT_OVERLAP,
    seen: uuid.UUID | str | None = None,
) -> str:
    """Make a new key of that kind and return it; it is shown this once.

    For `overlap`, at most `LONGEST_OVERLAP`, we sign with both signing secrets, and go on sending the old API key: the
    receiver has so long to learn the new one. While a key before the newest is in use, it cannot be ended before the
    time that the page has promised by making a third, except without overlap, which ends both at once. `seen` is the
    mark of the newest key that the page showed (`mark_of`): if it is not the newest any more, the form was sent twice
    or somebody was faster. Raises RefusedError.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise RefusedError(_("Let the old key be used for at most 7 days."))
    endpoint = _get_endpoint(application)
    now = timezone.now()
    newest = EndpointKey.objects.get(endpoint=endpoint, kind=kind, ends_at=None)
    if seen is not None and str(seen) != mark_of(newest):
        raise RefusedError(
            _(
                "A new key has been made since you opened this page, and it was shown once. Nothing was changed now. "
                "If nobody has copied it, make another."
            )
        )
    previous = EndpointKey.objects.filter(endpoint=endpoint, kind=kind, ends_at__isnull=False)
    if overlap and previous.live(now).exists():
        raise RefusedError(
            _(
                "The key before the newest is still in use, and another new one would end it before its time. Wait "
                "until it has ended, or press “Use the new key alone now” first. In a hurry, let both end at once."
            )
        )
    previous.delete()
    if overlap:
        newest.ends_at = now + overlap
        newest.save(update_fields=["ends_at"])
    else:
        newest.delete()
    value = keys.new_value(kind)
    keys.seal_key(endpoint=endpoint, kind=kind, value=value).save()
    note(
        application,
        HistoryKind.WEBHOOK_KEY_CREATED,
        actor=actor,
        key=kind.value,
        overlap_seconds=int(overlap.total_seconds()),
    )
    return value


@transaction.atomic
def end_previous_key(*, application: Application, actor: User | None, kind: KeyKind) -> bool:
    """Use the newest key alone from now on; says whether there was another. Raises RefusedError."""
    endpoint = _get_endpoint(application)
    previous = EndpointKey.objects.live(timezone.now()).filter(endpoint=endpoint, kind=kind, ends_at__isnull=False)
    if not previous.exists():
        return False
    EndpointKey.objects.filter(endpoint=endpoint, kind=kind, ends_at__isnull=False).delete()
    note(application, HistoryKind.WEBHOOK_KEY_ENDED, actor=actor, key=kind.value)
    return True


def mark_of(key: EndpointKey) -> str:
    """Return what tells a key from the one before and after it; it says nothing of the key."""
    return str(key.pk)


@transaction.atomic
def pause(*, application: Application, actor: User | None) -> bool:
    """Let what there is to tell wait; says whether that is a change. Raises RefusedError."""
    endpoint = _get_endpoint(application)
    if endpoint.is_paused:
        return False
    endpoint.paused_at, endpoint.pause_reason = timezone.now(), PauseReason.TEAM
    endpoint.save(update_fields=["paused_at", "pause_reason"])
    note(application, HistoryKind.WEBHOOK_CHANGED, actor=actor, paused=True)
    return True


@transaction.atomic
def resume(*, application: Application, actor: User | None) -> bool:
    """Deliver again, first of all what has waited, with a day of tries for each; says whether that is a change."""
    endpoint = _get_endpoint(application)
    if not endpoint.is_paused:
        return False
    endpoint.paused_at, endpoint.pause_reason = None, ""
    endpoint.failing_since = endpoint.rests_until = None
    endpoint.save(update_fields=["paused_at", "pause_reason", "failing_since", "rests_until"])
    _queued(endpoint).update(tries=0, next_attempt_at=timezone.now())
    note(application, HistoryKind.WEBHOOK_CHANGED, actor=actor, paused=False)
    wake_endpoints([endpoint.pk])
    return True


@transaction.atomic
def queue_revoke(*, connection: Connection) -> Notification | None:
    """Tell the application that the user or an administrator has ended the connection, if it wants to be told.

    To be called in the transaction that ends it: told is what is committed, and nothing else.
    """
    # As it is now: the caller's row may be older than the partner's last exchange, which may bring metadata.
    found = (
        Connection.objects.filter(pk=connection.pk, application__webhook_endpoint__url__gt="")
        .values_list("application__webhook_endpoint", "partner_metadata")
        .first()
    )
    if found is None:
        return None
    endpoint_id, metadata = found
    notification = Notification.objects.create(
        application_id=connection.application_id,
        endpoint_id=endpoint_id,
        connection_id=connection.pk,
        notification_type=NotificationType.REVOKE,
        body=make_body(NotificationType.REVOKE, connection_id=connection.pk, partner_metadata=metadata),
    )
    wake_endpoints([endpoint_id])
    return notification


def forget_notifications_about(*, user: User) -> None:
    """Let what webhooks have told of the user be forgotten, in the background after the caller's transaction.

    To be called when the account is closed and its connections have ended; that they have is told all the same.
    """
    PersonToForget.objects.get_or_create(user_id=user.pk)
    queue_jobs(forget_notifications_of, {"user_id": str(user.pk)})


@transaction.atomic
def send_test(*, application: Application) -> Notification:
    """Queue a message that tells nothing; it is tried once, even while the endpoint is paused.

    Raises RefusedError, also when there was one within `TEST_INTERVAL`.
    """
    endpoint = _get_endpoint(application)
    _check_pace_of_tests(endpoint)
    notification = Notification.objects.create(
        application=application,
        endpoint=endpoint,
        notification_type=NotificationType.TEST,
        body=make_body(NotificationType.TEST, connection_id=NO_CONNECTION, partner_metadata=None),
    )
    wake_endpoints([endpoint.pk])
    return notification


@transaction.atomic
def redeliver(*, application: Application, notification_id: uuid.UUID) -> Notification:
    """Send a notification again, as it was and with its `webhook-id`; if it still waits, now. Raises RefusedError."""
    endpoint = _get_endpoint(application)
    notification = Notification.objects.select_for_update().filter(pk=notification_id, application=application).first()
    if notification is None:
        raise RefusedError(_("This notification is not kept any more."))
    if not notification.body:
        raise RefusedError(_("What this notification said is not kept any more, so it cannot be sent again."))
    if notification.is_test:
        _check_pace_of_tests(endpoint)
    if endpoint.is_paused and not notification.is_test:
        raise RefusedError(_("Deliveries are paused. Resume them first: what waits is then sent."))
    if notification.notification_type in {NotificationType.RECEIPT, NotificationType.TRANSACTION}:
        connection_id = notification.connection_id
        is_connected = connection_id is not None and Connection.objects.active().filter(pk=connection_id).exists()
        if not is_connected or not application.is_approved:
            raise RefusedError(_("The user is not connected to the application any more, so this is not sent again."))
    now = timezone.now()
    if not notification.is_test:
        if endpoint.sent_again_at is not None and endpoint.sent_again_at > now - AGAIN_INTERVAL:
            raise RefusedError(
                _("One notification every 10 seconds can be sent again. Wait a moment, then press the button again.")
            )
        endpoint.sent_again_at = now
        endpoint.save(update_fields=["sent_again_at"])
    notification.endpoint, notification.state = endpoint, State.QUEUED
    notification.tries, notification.next_attempt_at = 0, now
    notification.save(update_fields=["endpoint", "state", "tries", "next_attempt_at"])
    wake_endpoints([endpoint.pk])
    return notification


def make_body(
    notification_type: str, *, connection_id: uuid.UUID, partner_metadata: dict[str, Any] | None, **fields: Any
) -> str:
    """Return the JSON that is sent (CONTRACT section 10)."""
    body: dict[str, Any] = {"notification_type": str(notification_type), "receipthero_id": str(connection_id)}
    if partner_metadata:
        body["partner_metadata"] = partner_metadata
    return json.dumps({**body, **fields}, ensure_ascii=False, separators=(",", ":"))


def wake_endpoints(endpoint_ids: Iterable[uuid.UUID]) -> None:
    """Queue a look at each endpoint, in the caller's transaction."""
    jobs: list[JSONDict] = [{"endpoint_id": str(endpoint_id)} for endpoint_id in endpoint_ids]
    queue_jobs(deliver, *jobs)


def _check_pace_of_tests(endpoint: Endpoint) -> None:
    """Raise RefusedError if a test message is under way, or was within `TEST_INTERVAL`; the endpoint is locked."""
    tests = Notification.objects.filter(application=endpoint.application_id, notification_type=NotificationType.TEST)
    if tests.filter(state=State.QUEUED).exists():
        raise RefusedError(_("A test message is on its way already. Load this page again in a moment."))
    since = timezone.now() - TEST_INTERVAL
    if tests.filter(created_at__gt=since).exists() or tests.filter(attempts__started_at__gt=since).exists():
        raise RefusedError(_("One test message a minute can be sent. Wait a moment, then press the button again."))


def _queued(endpoint: Endpoint) -> QuerySet[Notification]:
    return Notification.objects.filter(endpoint=endpoint, state=State.QUEUED)


def _find_endpoint(application: Application) -> Endpoint | None:
    return Endpoint.objects.select_for_update(no_key=True).filter(application=application).exclude(url="").first()


def _get_endpoint(application: Application) -> Endpoint:
    endpoint = _find_endpoint(application)
    if endpoint is None:
        raise RefusedError(_("There is no webhook. Set its URL first."))
    return endpoint
