"""Loads people from a file: users, their membership of one organisation, and what is known of them."""

import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import transaction
from django.utils import timezone

from apps.accounts.data_points import BY_KEY
from apps.accounts.import_files import PeopleFile, Row
from apps.accounts.models import ProfileValue, User
from apps.accounts.values import check_value, read_date, read_value
from apps.organisations.models import Membership, Organisation
from apps.organisations.text import is_storable

#: Rows that are looked up and written together.
BATCH_SIZE = 1000
_MEMBERSHIP = "membership."
_is_email = EmailValidator()


def _read_text(limit: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(text) > limit:
            raise ValidationError(f"must have at most {limit} characters")
        if not text.isprintable():
            raise ValidationError("has a character that cannot be shown")
        return text

    return read


def _read_email(text: str) -> str:
    email = text.lower()
    try:
        _is_email(email)
    except ValidationError as error:
        raise ValidationError("is not an e-mail address") from error
    if len(email) > 254:
        raise ValidationError("is longer than an e-mail address may be")
    return email


def _read_birth_date(text: str) -> date:
    day = read_date(text)
    if day is None:
        raise ValidationError("must be a day, written as YYYY-MM-DD")
    if day > timezone.now().date():
        raise ValidationError("is in the future")
    return day


def _read_username(text: str) -> str:
    if any(character.isspace() for character in text):
        raise ValidationError("must not have spaces")
    return _read_text(64)(text)


def _read_points(text: str) -> Decimal:
    try:
        points = Decimal(text)
    except InvalidOperation as error:
        raise ValidationError("must be a number, e.g. 548.30") from error
    if not points.is_finite() or abs(points) >= 10**12:
        raise ValidationError("must be a number of at most 12 digits")
    if points != round(points, 2):
        raise ValidationError("must have at most two decimals")
    return points


def _read_uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise ValidationError("must be a UUID") from error


def _read_instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationError("must be an instant, written as YYYY-MM-DDTHH:MM:SSZ") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Column:
    """A column of a people file."""

    description: str
    read: Callable[[str], Any]


USER_COLUMNS = {
    "email": Column("the e-mail address; required, and what tells whether somebody is there already", _read_email),
    "first_name": Column("text", _read_text(100)),
    "last_name": Column("text", _read_text(100)),
    "phone": Column("text of at most 32 characters", _read_text(32)),
    "birth_date": Column("YYYY-MM-DD", _read_birth_date),
    "username": Column("what partners may see; made at random if left out", _read_username),
}
MEMBERSHIP_COLUMNS = {
    "scheme_name": Column("required where anything of a membership is given", _read_text(100)),
    "points": Column("number with at most two decimals", _read_points),
    "expiring": Column("number with at most two decimals", _read_points),
    "member_id": Column("UUID; made at random if left out", _read_uuid),
    "current_level": Column("text of at most 50 characters", _read_text(50)),
    "created_at": Column("YYYY-MM-DDTHH:MM:SSZ; now if left out", _read_instant),
    "last_transacted_at": Column("YYYY-MM-DDTHH:MM:SSZ", _read_instant),
}
COLUMNS = frozenset([*USER_COLUMNS, *(_MEMBERSHIP + name for name in MEMBERSHIP_COLUMNS), *BY_KEY])


class BadRowsError(Exception):
    """Some rows were bad, so that nothing was changed."""


@dataclass
class Outcome:
    """What an import has done, in rows."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    bad: int = 0


@dataclass
class Person:
    """A row whose every value is understood."""

    place: str
    email: str
    user: dict[str, Any]
    membership: dict[str, Any]
    values: dict[str, Any]


@dataclass
class PeopleImport:
    """One import. `report(place, problem)` is called for each bad row, `progress()` after each batch."""

    file: PeopleFile
    organisation: Organisation
    is_verified: bool
    skips_bad: bool
    report: Callable[[str, str], None]
    progress: Callable[[], object]
    outcome: Outcome = field(default_factory=Outcome)
    #: What stood in the file already, by column, and where.
    _seen: dict[str, dict[Any, str]] = field(default_factory=lambda: {"email": {}, "username": {}, "member_id": {}})

    def run(self) -> Outcome:
        """Load every good row.

        Raises BadRowsError, having changed nothing, when a row is bad and bad rows are not to be skipped;
        UnreadableFileError likewise when the file cannot be read to its end.
        """
        with transaction.atomic():
            people = self._people()
            while some := list(islice(people, BATCH_SIZE)):
                batch = Batch(some, self.organisation, self.is_verified)
                for person, problem in batch.find_conflicts():
                    self._refuse(person.place, problem)
                # Once a row is bad the rest is only looked through, so that all bad rows are told at once.
                if self.skips_bad or not self.outcome.bad:
                    batch.write()
                    self.outcome.created += len(batch.created)
                    self.outcome.updated += len(batch.updated)
                    self.outcome.unchanged += len(batch.people) - len(batch.created) - len(batch.updated)
                self.progress()
            if self.outcome.bad and not self.skips_bad:
                raise BadRowsError
        return self.outcome

    def _people(self) -> Iterator[Person]:
        for row in self.file.rows():
            person, problems = read_person(row)
            if person is not None:
                problems += self._repetitions(person)
            if problems or person is None:
                self._refuse(row.place, "; ".join(problems))
            else:
                yield person

    def _refuse(self, place: str, problem: str) -> None:
        self.outcome.bad += 1
        self.report(place, problem)

    def _repetitions(self, person: Person) -> list[str]:
        """Return where values that are one person's alone have stood before, and remember this row's."""
        problems = []
        for column, value in (
            ("email", person.email),
            ("username", person.user.get("username")),
            ("member_id", person.membership.get("member_id")),
        ):
            if value is not None:
                first = self._seen[column].setdefault(value, person.place)
                if first != person.place:
                    problems.append(f"{column}: {value} stands in {first} too")
        return problems


def read_person(row: Row) -> tuple[Person | None, list[str]]:
    """Return the person that a row describes, or None and what is wrong with it."""
    if row.problem:
        return None, [row.problem]
    problems: list[str] = []
    read: dict[str, Any] = {}
    for name, value in row.values.items():
        try:
            read[name] = _read(name, value)
        except ValidationError as error:
            problems += [f"{name}: {message}" for message in error.messages]
    if "email" not in row.values:
        problems.append("email: is missing")
    membership = {name.removeprefix(_MEMBERSHIP): value for name, value in read.items() if name.startswith(_MEMBERSHIP)}
    if membership and _MEMBERSHIP + "scheme_name" not in row.values:
        problems.append("membership.scheme_name: is missing")
    if problems:
        return None, problems
    user = {name: value for name, value in read.items() if name in USER_COLUMNS and name != "email"}
    values = {name: value for name, value in read.items() if name in BY_KEY}
    return Person(row.place, read["email"], user, membership, values), []


def _read(name: str, value: Any) -> Any:
    if isinstance(value, str) and not is_storable(value):
        raise ValidationError("has a NUL character" if "\x00" in value else "is not UTF-8")
    if name in BY_KEY:
        return read_value(BY_KEY[name], value) if isinstance(value, str) else check_value(BY_KEY[name], value)
    column = USER_COLUMNS.get(name) or MEMBERSHIP_COLUMNS[name.removeprefix(_MEMBERSHIP)]
    if isinstance(value, int | float) and not isinstance(value, bool) and column.read is _read_points:
        value = str(value)
    if not isinstance(value, str):
        raise ValidationError("must be a text")
    return column.read(value)


class Batch:
    """People that are looked up and written with a handful of statements."""

    def __init__(self, people: list[Person], organisation: Organisation, is_verified: bool) -> None:
        self.people = people
        self.organisation = organisation
        self.is_verified = is_verified
        emails = [person.email for person in people]
        self.users = {user.email: user for user in User.objects.filter(email__in=emails)}
        #: The ids of the users that `write` has made and changed.
        self.created: set[uuid.UUID] = set()
        self.updated: set[uuid.UUID] = set()

    def find_conflicts(self) -> list[tuple[Person, str]]:
        """Take out the people who claim what is somebody else's, and return them with the reason."""
        usernames = [person.user["username"] for person in self.people if "username" in person.user]
        member_ids = [person.membership["member_id"] for person in self.people if "member_id" in person.membership]
        new = [person.email for person in self.people if person.email not in self.users]
        username_of = dict(User.objects.filter(username__in=usernames).values_list("username", "email"))
        claimed = set(EmailAddress.objects.filter(email__in=new, verified=True).values_list("email", flat=True))
        membership_of = {
            member_id: (email, organisation_id, scheme_name)
            for member_id, email, organisation_id, scheme_name in Membership.objects.filter(
                member_id__in=member_ids
            ).values_list("member_id", "user__email", "organisation_id", "scheme_name")
        }
        conflicts = []
        for person in self.people:
            username: Any = person.user.get("username")
            member_id: Any = person.membership.get("member_id")
            own = (person.email, self.organisation.pk, person.membership.get("scheme_name", ""))
            if person.email in claimed:
                conflicts.append((person, "email: it is another account's second address"))
            elif username_of.get(username, person.email) != person.email:
                conflicts.append((person, f"username: {username} is somebody else's"))
            elif membership_of.get(member_id, own) != own:
                conflicts.append((person, f"membership.member_id: {member_id} is another membership's"))
        refused = {person.email for person, _problem in conflicts}
        self.people = [person for person in self.people if person.email not in refused]
        return conflicts

    def write(self) -> None:
        """Write what is new or different."""
        self._write_users()
        self._write_memberships()
        self._write_values()
        self.updated -= self.created

    def _write_users(self) -> None:
        new, changed = [], []
        for person in self.people:
            user = self.users.get(person.email)
            if user is None:
                # Nobody can log in with it; the user chooses a password by "Forgot your password?".
                user = User(email=person.email, password=_unusable_password(), **person.user)
                new.append(user)
            elif any(getattr(user, name) != value for name, value in person.user.items()):
                for name, value in person.user.items():
                    setattr(user, name, value)
                changed.append(user)
            self.users[person.email] = user
        User.objects.bulk_create(new)
        User.objects.bulk_update(changed, [name for name in USER_COLUMNS if name != "email"])
        # An account that exists keeps what has been proved of its address: whoever made it may not be this person.
        EmailAddress.objects.bulk_create(
            EmailAddress(user=user, email=user.email, verified=self.is_verified, primary=True) for user in new
        )
        self.created = {user.pk for user in new}
        self.updated |= {user.pk for user in changed}

    def _write_memberships(self) -> None:
        given = [person for person in self.people if person.membership]
        present = {
            (row.user_id, row.scheme_name): row
            for row in Membership.objects.filter(
                organisation=self.organisation, user__in=[self.users[person.email] for person in given]
            )
        }
        new, changed = [], []
        for person in given:
            user = self.users[person.email]
            row = present.get((user.pk, person.membership["scheme_name"]))
            if row is None:
                membership = {"created_at": timezone.now(), **person.membership}
                new.append(Membership(user=user, organisation=self.organisation, **membership))
            elif any(getattr(row, name) != value for name, value in person.membership.items()):
                for name, value in person.membership.items():
                    setattr(row, name, value)
                changed.append(row)
        self.updated |= {row.user_id for row in [*new, *changed]}
        Membership.objects.bulk_create(new)
        Membership.objects.bulk_update(changed, [name for name in MEMBERSHIP_COLUMNS if name != "scheme_name"])

    def _write_values(self) -> None:
        given = [
            (self.users[person.email], key, value) for person in self.people for key, value in person.values.items()
        ]
        users = {user for user, _key, _value in given}
        present = {
            (row.user_id, row.key): row
            for row in ProfileValue.objects.filter(user__in=users, key__in={key for _user, key, _value in given})
        }
        new, changed = [], []
        for user, key, value in given:
            row = present.get((user.pk, key))
            if row is None:
                new.append(ProfileValue(user=user, key=key, value=value))
            elif row.value != value:
                row.value, row.updated_at = value, timezone.now()
                changed.append(row)
        self.updated |= {row.user_id for row in [*new, *changed]}
        ProfileValue.objects.bulk_create(new, batch_size=5000)
        ProfileValue.objects.bulk_update(changed, ["value", "updated_at"], batch_size=1000)


def _unusable_password() -> str:
    # Random, as `make_password(None)` makes it in ten times the time: password reset links are derived from it.
    return UNUSABLE_PASSWORD_PREFIX + secrets.token_urlsafe(30)
