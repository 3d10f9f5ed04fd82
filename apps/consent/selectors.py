"""What the pages show."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.functional import Promise

from apps.accounts.models import User
from apps.audit.models import AuditPerson
from apps.connections.models import Connection, ConnectionQuerySet
from apps.developers.models import Application, Status
from apps.developers.scopes import ALL
from apps.organisations.models import Organisation, served_at

_SIGN_IN_TAGS = ("user:session:started", "visitor:session:refused", "visitor:second_factor:refused")
MOST_SIGN_INS = 10


@dataclass(frozen=True)
class ShownScope:
    """A scope as a page shows it."""

    name: str
    label: str | Promise
    reason: str
    is_optional: bool
    is_granted: bool


@dataclass(frozen=True)
class SignIn:
    """A log-in, or an attempt at one."""

    happened_at: datetime
    #: The last two parts of the event's tag.
    outcome: str
    address: str
    user_agent: str

    @property
    def is_refused(self) -> bool:
        return self.outcome != "session:started"


def recent_sign_ins(user: User) -> list[SignIn]:
    """Return the last log-ins and failed attempts at the user's account, the newest first; two queries."""
    own = AuditPerson.objects.filter(user_id=user.pk, event__tag__in=_SIGN_IN_TAGS).select_related("event")
    events = [person.event for person in own.order_by("-event_id")[:MOST_SIGN_INS]]
    # Of a failed attempt the user is whom it was done to; where it came from is with whoever did it.
    doers = AuditPerson.objects.filter(event__in=events, part=AuditPerson.Part.ACTOR)
    doer_of = {doer.event_id: doer for doer in doers}
    return [
        SignIn(
            happened_at=event.happened_at,
            outcome=event.tag.partition(":")[2],
            address=str(doer_of[event.pk].address or "") if event.pk in doer_of else "",
            user_agent=doer_of[event.pk].user_agent if event.pk in doer_of else "",
        )
        for event in events
    ]


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


def other_sites(user: User, *, organisation: Organisation) -> QuerySet[Organisation]:
    """Return the other organisations at which the user has active connections, by name."""
    active = Connection.objects.active().filter(user=user, application__organisation=OuterRef("pk"))
    is_connected = Exists(active.exclude(application__status=Status.DELETED))
    return Organisation.objects.exclude(pk=organisation.pk).filter(is_connected).order_by("name", "pk")


def _connections_at(host: str, user: User) -> ConnectionQuerySet:
    here = Connection.objects.filter(served_at(host, "application__organisation"), user=user)
    return here.select_related("application__organisation")
