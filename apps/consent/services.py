"""What happens when a user says yes, and when they leave for good."""

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction

from apps.accounts.models import User
from apps.accounts.services import erase_user, lock_open_account
from apps.audit import trail
from apps.audit.retention import request_anonymisation
from apps.connections.models import Connection, EndReason
from apps.developers.models import Application
from apps.developers.services.team import leave_teams
from apps.organisations.mail import queue_mail
from apps.organisations.models import Organisation
from apps.tokens.models import Grant
from apps.tokens.services import end_connections
from apps.webhooks.services import forget_notifications_about


@transaction.atomic
def grant_consent(
    *,
    user: User,
    application: Application,
    asked_scopes: Iterable[str],
    granted_scopes: Iterable[str],
) -> Connection:
    """Make the user's connection to the application, or update the active one (same id).

    What was asked is decided by `granted_scopes`; what was not asked this time stays as it was. The partner's metadata
    is not stored here but when the partner redeems the code (tokens/storage.py): anybody can write a `state` into a
    link, and only the partner can check that it is its own.

    Raises PermissionDenied if the account has just been closed.
    """
    # Closing the account locks this row first: either it ends this connection too, or there is nobody to connect.
    if not lock_open_account(user=user):
        raise PermissionDenied
    asked, granted = set(asked_scopes), list(granted_scopes)
    connection = _lock_active(user, application)
    if connection is None:
        try:
            with transaction.atomic():
                connection = Connection.objects.create(user=user, application=application, scopes=granted)
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


@transaction.atomic
def close_account(*, user: User, organisation: Organisation) -> bool:
    """End all that anybody may do for the user, at every organisation, and delete who they were; False: done before.

    Partners are told by webhook, the person by a last mail in the name of `organisation`, whose page they closed the
    account on. What others have on record (teams' timelines, reviews, agreements to terms) stays and refers to a closed
    account; the audit trail forgets who it was after AUDIT_ANONYMISE_AFTER_DAYS. Memberships are deleted: the schemes
    keep books of their own, and these are copies.

    Raises RefusedError, and changes nothing, when the user has to do something about an application first.
    """
    row = User.objects.select_for_update(no_key=True).filter(pk=user.pk, closed_at__isnull=True).first()
    if row is None:
        return False
    leave_teams(user=row)
    active = Connection.objects.active().filter(user=row).select_related("application")
    end_connections(connections=active, reason=EndReason.USER, actor=row)
    # What we have told partners about the person, or were to tell; and what they had noted.
    forget_notifications_about(user=row)
    Connection.objects.filter(user=row).update(partner_metadata=None)
    Grant.objects.filter(user=row).update(partner_metadata=None)
    queue_mail(organisation=organisation, to=row.email, template="accounts/account_closed", context={"name": str(row)})
    trail.record("user:account:closed", actor=row, organisation=organisation)
    # Last: from here on, whoever refers to the user's row waits for us.
    erase_user(user=row)
    request_anonymisation(user_id=row.pk)
    return True


def _record(tag: str, connection: Connection, user: User, application: Application, *, scopes: list[str]) -> None:
    trail.record(tag, actor=user, application=application, connection=connection, scopes=scopes)


def _lock_active(user: User, application: Application) -> Connection | None:
    active = Connection.objects.active().filter(user=user, application=application)
    return active.select_for_update().first()
