"""What the team sees of its webhook."""

from dataclasses import dataclass

from django.core.paginator import Page, Paginator
from django.db.models import Prefetch
from django.utils import timezone

from apps.developers.models import Application
from apps.webhooks.models import Attempt, Endpoint, EndpointKey, KeyKind, Notification

PAGE_SIZE = 20


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
    """Return one page of the delivery log, the newest first, each with its attempts; three queries."""
    attempts = Prefetch("attempts", queryset=Attempt.objects.order_by("-started_at", "-pk"))
    notifications = Notification.objects.filter(application=application).prefetch_related(attempts)
    return Paginator(notifications.order_by("-created_at", "id"), PAGE_SIZE).get_page(page)
