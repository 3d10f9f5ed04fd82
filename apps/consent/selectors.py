"""What the pages show."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils.functional import Promise

from apps.accounts.models import User
from apps.connections.models import Connection, ConnectionQuerySet
from apps.developers.models import Application, Status
from apps.developers.scopes import ALL
from apps.organisations.models import served_at


@dataclass(frozen=True)
class ShownScope:
    """A scope as a page shows it."""

    name: str
    label: str | Promise
    reason: str
    is_optional: bool
    is_granted: bool


def shown_scopes(
    application: Application, scopes: Iterable[str], *, granted: Iterable[str] = ()
) -> list[tuple[str, list[ShownScope]]]:
    """Return `scopes` in plain words, with the developer's reasons, grouped by category in catalogue order."""
    asked, has = set(scopes), set(granted)
    # All of them, so that a list that has fetched them beforehand needs no query for each application.
    requested = {row.scope: row for row in application.requested_scopes.all()}
    groups: dict[str, list[ShownScope]] = {}
    for scope in ALL.values():
        if scope.name in asked:
            row = requested.get(scope.name)
            groups.setdefault(str(scope.category), []).append(
                ShownScope(
                    name=scope.name,
                    label=scope.label,
                    reason=row.reason if row else "",
                    is_optional=bool(row and row.is_optional),
                    is_granted=scope.name in has,
                )
            )
    return list(groups.items())


def active_connections(user: User, *, host: str) -> QuerySet[Connection]:
    """Return the user's active connections to applications of the organisation at `host`, newest first."""
    return (
        _connections_at(host, user)
        .active()
        # They are being ended in the background.
        .exclude(application__status=Status.DELETED)
        .order_by("-created_at", "pk")
    )


def ended_connections(user: User, *, host: str) -> QuerySet[Connection]:
    """Return what the user had connected at `host` and is no more, the last that ended first."""
    return _connections_at(host, user).filter(ended_at__isnull=False).order_by("-ended_at", "pk")


def _connections_at(host: str, user: User) -> ConnectionQuerySet:
    here = Connection.objects.filter(served_at(host, "application__organisation"), user=user)
    return here.select_related("application__organisation")
