"""What the team sees of its webhook."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, IntegerField, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.developers.models import Application
from apps.webhooks.models import Attempt, Endpoint, EndpointKey, KeyKind, Notification

PAGE_SIZE = 20
#: Of each notification in the log; a page of its own has all.
SHOWN_ATTEMPTS = 12


@dataclass(frozen=True)
class KeyPair:
    """The keys of one kind: the newest, and the one before it while that is in use."""

    kind: KeyKind
    newest: EndpointKey
    previous: EndpointKey | None


def find_endpoint(application: Application) -> Endpoint | None:
    """Return where the application wants to be told, if it does."""
    return Endpoint.objects.filter(application=application).exclude(url="").first()


def keys_of(endpoint: Endpoint) -> list[KeyPair]:
    """Return the keys in use, by kind; one query."""
    live = list(EndpointKey.objects.filter(endpoint=endpoint).live(timezone.now()))
    pairs = []
    for kind in KeyKind:
        of_kind = [key for key in live if key.kind == kind]
        previous = next((key for key in of_kind if key.ends_at is not None), None)
        newest = next(key for key in of_kind if key.ends_at is None)
        pairs.append(KeyPair(kind=kind, newest=newest, previous=previous))
    return pairs


def deliveries_of(application: Application, *, page: str | None) -> Page[Notification]:
    """Return one page of the delivery log, the newest first; three queries.

    Each has its last attempts (`last_attempts`) and knows how many there are (`attempt_count`).
    """
    last = Prefetch("attempts", queryset=_newest_first(Attempt.objects.all())[:SHOWN_ATTEMPTS], to_attr="last_attempts")
    notifications: QuerySet[Any] = _counted(Notification.objects.filter(application=application)).prefetch_related(last)
    return Paginator(notifications.order_by("-created_at", "id"), PAGE_SIZE).get_page(page)


def find_delivery(application: Application, notification_id: str) -> Notification | None:
    """Return a notification of the application, which knows how many attempts there are; None for any other text."""
    try:
        pk = uuid.UUID(notification_id)
    except ValueError:
        return None
    return _counted(Notification.objects.filter(application=application, pk=pk)).first()


def attempts_at(notification: Notification, *, page: str | None) -> Page[Attempt]:
    """Return one page of the notification's attempts, the newest first; two queries."""
    return Paginator(_newest_first(notification.attempts.all()), PAGE_SIZE).get_page(page)


def _counted(notifications: QuerySet[Notification]) -> QuerySet[Notification]:
    of_notification = Attempt.objects.filter(notification=OuterRef("pk")).order_by().values("notification")
    count = Subquery(of_notification.annotate(number=Count("pk")).values("number"), output_field=IntegerField())
    return notifications.annotate(attempt_count=Coalesce(count, 0))


def _newest_first(attempts: QuerySet[Attempt]) -> QuerySet[Attempt]:
    return attempts.order_by("-started_at", "-pk")
