"""Reading the trail: by keyset, so that no page and no export has to count its way past other rows."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from apps.audit import words
from apps.audit.models import AuditEvent, AuditPerson, SealedEvent

PAGE_SIZE = 50
#: Rows that an export reads at once.
EXPORT_CHUNK = 1_000


@dataclass(frozen=True)
class Search:
    """Which events are wanted; whatever is not given does not restrict."""

    tag: str = ""
    application_ids: tuple[uuid.UUID, ...] = ()
    user_id: uuid.UUID | None = None
    organisation_id: uuid.UUID | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def events(self) -> QuerySet[AuditEvent]:
        """Return the events that are wanted, the newest first."""
        wanted = Q()
        if self.tag:
            wanted &= Q(tag=self.tag) if self.tag.count(":") == 2 else Q(tag__startswith=self.tag)
        if self.application_ids:
            wanted &= Q(application_id__in=self.application_ids)
        if self.organisation_id:
            wanted &= Q(organisation_id=self.organisation_id)
        if self.user_id:
            wanted &= Q(pk__in=AuditPerson.objects.filter(user_id=self.user_id).values("event_id"))
        if self.address:
            wanted &= Q(pk__in=AuditPerson.objects.filter(address=self.address).values("event_id"))
        if self.since:
            wanted &= Q(happened_at__gte=self.since)
        if self.until:
            wanted &= Q(happened_at__lte=self.until)
        return AuditEvent.objects.filter(wanted).order_by("-happened_at", "-pk")


@dataclass(frozen=True)
class Place:
    """A place between two events, as it stands in an address: the event's time in microseconds, and its id."""

    happened_at: datetime
    event_id: int

    @classmethod
    def of(cls, event: AuditEvent) -> "Place":
        return cls(event.happened_at, event.pk)

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """Return what `str` of a place gave; None for any other text."""
        moment, _, event_id = text.rpartition("_")
        try:
            place = cls(datetime.fromisoformat(moment), int(event_id))
        except ValueError:
            return None
        is_usable = place.happened_at.tzinfo is not None and 0 < place.event_id < 2**63
        return place if is_usable else None

    def __str__(self) -> str:
        return f"{self.happened_at.isoformat()}_{self.event_id}"


@dataclass(frozen=True)
class Party:
    """A person of an event, as it is shown. Without a name when the account is gone and none was kept."""

    user_id: uuid.UUID | None
    name: str
    address: str
    user_agent: str


@dataclass(frozen=True)
class ShownEvent:
    """An event in words."""

    event: AuditEvent
    sentence: str
    subject: str
    actor: Party | None
    about: Party | None
    #: It had a person, who was made anonymous.
    is_anonymised: bool
    application_name: str
    organisation_name: str
    seal: int | None

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The event's details as names and values."""
        return [words.fact(name, value) for name, value in sorted(self.event.details.items())]


@dataclass(frozen=True)
class Page:
    """Some events, and the places where those before and after them begin."""

    events: list[ShownEvent]
    newer: Place | None
    older: Place | None


def find_page(search: Search, *, older_than: Place | None = None, newer_than: Place | None = None) -> Page:
    """Return the events next to a place, the newest if none is given; a handful of queries."""
    events = search.events()
    if newer_than is not None:
        nearest = events.filter(_after(newer_than)).order_by("happened_at", "pk")[: PAGE_SIZE + 1]
        rows = list(nearest)
        has_newer, has_older = len(rows) > PAGE_SIZE, True
        rows = rows[:PAGE_SIZE][::-1]
    else:
        rows = list((events.filter(_before(older_than)) if older_than else events)[: PAGE_SIZE + 1])
        has_newer, has_older = older_than is not None, len(rows) > PAGE_SIZE
        rows = rows[:PAGE_SIZE]
    return Page(
        events=describe_events(rows),
        newer=Place.of(rows[0]) if rows and has_newer else None,
        older=Place.of(rows[-1]) if rows and has_older else None,
    )


def walk(search: Search) -> Iterator[ShownEvent]:
    """Yield every event, the newest first, reading a chunk at a time."""
    place: Place | None = None
    events = search.events()
    while True:
        rows = list((events.filter(_before(place)) if place else events)[:EXPORT_CHUNK])
        yield from describe_events(rows)
        if len(rows) < EXPORT_CHUNK:
            return
        place = Place.of(rows[-1])


def describe_events(events: list[AuditEvent]) -> list[ShownEvent]:
    """Put names to ids and words to tags; as many queries for a thousand events as for one."""
    people = {(person.event_id, person.part): person for person in AuditPerson.objects.filter(event__in=events)}
    nameless = {person.user_id for person in people.values() if not person.name and person.user_id}
    users = {user.pk: str(user) for user in get_user_model()._default_manager.filter(pk__in=nameless)}
    application_model = apps.get_model(settings.OAUTH2_PROVIDER_APPLICATION_MODEL)
    applications = _names(application_model, (event.application_id for event in events))
    organisations = _names(apps.get_model("organisations", "Organisation"), (event.organisation_id for event in events))
    seals = dict(SealedEvent.objects.filter(event__in=events).values_list("event_id", "seal_id"))

    def party(event: AuditEvent, part: AuditPerson.Part) -> Party | None:
        person = people.get((event.pk, part))
        if person is None:
            return None
        name = person.name or (users.get(person.user_id, "") if person.user_id else "")
        return Party(person.user_id, name, str(person.address or ""), person.user_agent)

    return [
        ShownEvent(
            event=event,
            sentence=words.sentence(event.tag, event.details),
            subject=words.subject(event.tag),
            actor=party(event, AuditPerson.Part.ACTOR),
            about=party(event, AuditPerson.Part.ABOUT),
            is_anonymised=any(
                committed is not None and (event.pk, part) not in people
                for committed, part in (
                    (event.person_commitment, AuditPerson.Part.ACTOR),
                    (event.about_commitment, AuditPerson.Part.ABOUT),
                )
            ),
            application_name=applications.get(event.application_id, ""),
            organisation_name=organisations.get(event.organisation_id, ""),
            seal=seals.get(event.pk),
        )
        for event in events
    ]


def _names(model: Any, ids: Iterable[uuid.UUID | None]) -> dict[uuid.UUID | None, str]:
    wanted = {pk for pk in ids if pk is not None}
    return dict(model._default_manager.filter(pk__in=wanted).values_list("pk", "name")) if wanted else {}


def _before(place: Place) -> Q:
    # The first condition alone is what the index is entered by.
    same = Q(happened_at=place.happened_at, pk__lt=place.event_id)
    return Q(happened_at__lte=place.happened_at) & (Q(happened_at__lt=place.happened_at) | same)


def _after(place: Place) -> Q:
    same = Q(happened_at=place.happened_at, pk__gt=place.event_id)
    return Q(happened_at__gte=place.happened_at) & (Q(happened_at__gt=place.happened_at) | same)
