"""What happens when a user says yes."""

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction

from apps.accounts.models import User
from apps.audit import trail
from apps.connections.models import Connection
from apps.developers.models import Application


@transaction.atomic
def grant_consent(
    *,
    user: User,
    application: Application,
    asked_scopes: Iterable[str],
    granted_scopes: Iterable[str],
    partner_metadata: dict[str, Any] | None,
) -> Connection:
    """Make the user's connection to the application, or update the active one (same id).

    What was asked is decided by `granted_scopes`; what was not asked this time stays as it was. Metadata of an
    existing connection changes only when the partner redeems the code: anybody can write a `state` into a link,
    but only the partner can check that it is its own.
    """
    asked, granted = set(asked_scopes), list(granted_scopes)
    connection = _lock_active(user, application)
    if connection is None:
        try:
            with transaction.atomic():
                connection = Connection.objects.create(
                    user=user, application=application, scopes=granted, partner_metadata=partner_metadata
                )
                _record("user:connection:granted", connection, user, application, scopes=granted)
                return connection
        except IntegrityError:
            # The same user said yes in another window at the same moment.
            connection = _lock_active(user, application)
            if connection is None:
                raise
    before = set(connection.scopes)
    connection.scopes = [scope for scope in connection.scopes if scope not in asked] + granted
    connection.save(update_fields=["scopes", "changed_at"])
    action = "confirmed" if set(connection.scopes) == before else "changed"
    _record(f"user:connection:{action}", connection, user, application, scopes=connection.scopes)
    return connection


def deny_consent(*, user: User, application: Application, asked_scopes: Iterable[str]) -> None:
    """Keep on record that the user said no; nothing else comes of it."""
    trail.record("user:connection:denied", actor=user, application=application, scopes=list(asked_scopes))


def _record(tag: str, connection: Connection, user: User, application: Application, *, scopes: list[str]) -> None:
    trail.record(tag, actor=user, application=application, connection=connection, scopes=scopes)


def _lock_active(user: User, application: Application) -> Connection | None:
    active = Connection.objects.active().filter(user=user, application=application)
    return active.select_for_update().first()
