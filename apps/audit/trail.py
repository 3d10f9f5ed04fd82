"""Writing an event: one statement, in the transaction of the fact."""

import json
import logging
import re
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from django.conf import settings
from django.db import connection as database
from django.db import transaction

from apps.audit.context import address_of, current_request, user_agent_of
from apps.audit.digests import commitment
from apps.telemetry.work import current_request_id

log = logging.getLogger("countersign.audit")

_TAG = re.compile(r"[a-z_]+:[a-z_]+:[a-z_]+")
_MAX_NAME = 300

_WRITE = """
WITH event AS (
    INSERT INTO audit_auditevent
        (tag, application_id, organisation_id, connection_id, details, person_commitment, about_commitment)
    VALUES (%(tag)s::text, %(application)s::uuid, %(organisation)s::uuid, %(connection)s::uuid, %(details)s::jsonb,
            %(actor_commitment)s::bytea, %(about_commitment)s::bytea)
    RETURNING id, happened_at
), people AS (
    INSERT INTO audit_auditperson (event_id, part, salt, user_id, name, address, user_agent)
    SELECT event.id, p.part, p.salt, p.user_id, p.name, p.address, p.user_agent
    FROM event, (VALUES
        ('actor', %(actor_salt)s::bytea, %(actor_id)s::uuid, %(actor_name)s::text, %(actor_address)s::inet,
         %(actor_user_agent)s::text),
        ('about', %(about_salt)s::bytea, %(about_id)s::uuid, %(about_name)s::text, %(about_address)s::inet,
         %(about_user_agent)s::text)
    ) AS p (part, salt, user_id, name, address, user_agent)
    WHERE p.salt IS NOT NULL
)
SELECT id, happened_at FROM event
"""


class Row(Protocol):
    """A row of another app; this one knows none of them."""

    @property
    def pk(self) -> Any: ...


class ApplicationRow(Row, Protocol):
    """An application, which belongs to an organisation."""

    @property
    def organisation_id(self) -> Any: ...


@dataclass(frozen=True)
class _Person:
    """The personal part of an event; without any fact it is not stored."""

    user_id: uuid.UUID | None = None
    name: str = ""
    address: str | None = None
    user_agent: str = ""

    def as_parameters(self, part: str) -> dict[str, Any]:
        salt = None if self == _Person() else secrets.token_bytes(16)
        committed = salt and commitment(salt, self.user_id, self.name, self.address, self.user_agent)
        return {
            f"{part}_salt": salt,
            f"{part}_commitment": committed,
            f"{part}_id": self.user_id,
            f"{part}_name": self.name,
            f"{part}_address": self.address,
            f"{part}_user_agent": self.user_agent,
        }


def record(
    tag: str,
    *,
    actor: Row | uuid.UUID | None = None,
    about: Row | uuid.UUID | None = None,
    application: ApplicationRow | None = None,
    organisation: Row | None = None,
    connection: Row | None = None,
    **details: Any,
) -> None:
    """Record that something has happened, in the caller's transaction: rolled back with it, it has not happened.

    `tag` is "subject:object:action". `actor` did it, `about` is the user it was done to (a user, or an id where the
    user is not at hand). Address and browser are those of the request that is being answered. `details` are facts:
    never a secret, a code or a token, and nothing personal, because they stay when the people are anonymised.
    After the commit there is a log line, with ids only. Raises ValueError for a tag that is none.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is not subject:object:action")
    request = current_request.get()
    doer = _person(actor, address_of(request) if request else None, user_agent_of(request) if request else "")
    concerned = _person(about)
    if organisation is not None:
        organisation_id = organisation.pk
    else:
        organisation_id = application.organisation_id if application is not None else None
    values = {
        "tag": tag,
        "application": application.pk if application is not None else None,
        "organisation": organisation_id,
        "connection": connection.pk if connection is not None else None,
        "details": json.dumps(details, allow_nan=False),
        **doer.as_parameters("actor"),
        **concerned.as_parameters("about"),
    }
    with database.cursor() as cursor:
        cursor.execute(_WRITE, values)
        event_id, happened_at = cursor.fetchone()
    transaction.on_commit(partial(_log, event_id, happened_at, values, current_request_id()))


def _person(user: Row | uuid.UUID | None, address: str | None = None, user_agent: str = "") -> _Person:
    if user is None:
        return _Person(address=address, user_agent=user_agent)
    if isinstance(user, uuid.UUID):
        return _Person(user, "", address, user_agent)
    return _Person(user.pk, str(user)[:_MAX_NAME], address, user_agent)


def _log(event_id: int, happened_at: datetime, values: dict[str, Any], request_id: str) -> None:
    line = {"event": event_id, "at": happened_at.isoformat(), "tag": values["tag"]}
    if request_id:
        line["request_id"] = request_id
    ids = {"user": "actor_id", "about": "about_id"}
    ids |= {name: name for name in ("application", "organisation", "connection")}
    if settings.AUDIT_LOG_ADDRESSES:
        ids["address"] = "actor_address"
    line |= {name: str(values[key]) for name, key in ids.items() if values[key] is not None}
    log.info("%s", json.dumps(line))
