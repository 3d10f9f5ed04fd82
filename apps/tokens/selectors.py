"""Reads that several endpoints share: what a presented token is, and what it may still do."""

import uuid
from dataclasses import dataclass

from django.db import models
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.accounts.models import User
from apps.connections.models import Connection
from apps.developers.models import Application, Status
from apps.organisations.models import served_at
from apps.tokens.issuance import hash_token
from apps.tokens.issuing import refresh_token_expiry
from apps.tokens.models import Grant, TokenFamily
from apps.tokens.prepared_reads import PreparedRead

find_application: PreparedRead[Application] = PreparedRead(
    lambda host, client_id: (
        Application.objects.at_host(host).select_related("organisation").filter(client_id=client_id)
    ),
    host=str,
    client_id=str,
)

#: A code's row by its hash, with connection and user.
find_grant: PreparedRead[Grant] = PreparedRead(
    lambda code: Grant.objects.select_related("connection", "user").filter(code=code), code=str
)

_find_access_token: PreparedRead[AccessToken] = PreparedRead(
    lambda host, checksum: AccessToken.objects.select_related(
        "application__organisation", "user", "family__connection"
    ).filter(served_at(host, "application__organisation"), token_checksum=checksum),
    host=str,
    checksum=str,
)

# A token and its rotated namesakes cannot share a checksum unless 256 random bits repeat; the live one comes first.
_find_refresh_token: PreparedRead[RefreshToken] = PreparedRead(
    lambda checksum: (
        RefreshToken.objects.select_related("application", "user", "access_token__family__connection")
        .filter(token_checksum=checksum)
        .order_by(models.F("revoked").desc(nulls_first=True))
    ),
    checksum=str,
)

_find_family: PreparedRead[TokenFamily] = PreparedRead(
    lambda family_id: TokenFamily.objects.select_related("connection").filter(pk=family_id),
    family_id=uuid.UUID,
)


def effective_scopes(scope: str, connection: Connection | None, application: Application) -> list[str]:
    """Return what is left of a token's `scope` after what the user and the developers have narrowed since."""
    allowed = set(application.scopes)
    if connection is not None:
        allowed &= set(connection.scopes)
    return [name for name in scope.split() if name in allowed]


@dataclass(frozen=True)
class PresentedToken:
    """A stored access token that somebody has presented, and what belongs to it."""

    row: AccessToken
    application: Application
    #: None for a service's own token, which belongs to no user.
    user: User | None
    family: TokenFamily | None
    #: What it may still do.
    scopes: list[str]

    @property
    def connection(self) -> Connection | None:
        return self.family.connection if self.family else None

    @property
    def is_usable(self) -> bool:
        """Say whether it opens anything: an approved application's, and an active user's who is still connected."""
        if not self.application.is_approved:
            return False
        if self.user is None:
            return True
        is_connected = self.family is not None and not self.family.revoked_at and self.family.connection.is_active
        return self.user.is_active and is_connected


def find_access_token(token: str, *, host: str) -> PresentedToken | None:
    """Return the usable access token, with its application, user and connection, in one query.

    None when it is unknown, expired or revoked, when it belongs to another organisation than `host`'s, or when
    its user or application is suspended.
    """
    presented = find_token_to_revoke(token, host=host)
    return presented if presented and presented.is_usable else None


def find_token_to_revoke(token: str, *, host: str) -> PresentedToken | None:
    """Return the stored, unexpired access token, whoever is suspended: giving up access is always possible.

    With a deleted application all its access has gone, so there is none to give up.
    """
    row = _find_access_token(host=host, checksum=hash_token(token))
    if row is None or row.application is None or row.is_expired() or row.application.status == Status.DELETED:
        return None
    family: TokenFamily | None = getattr(row, "family", None)
    scopes = effective_scopes(row.scope, family.connection if family else None, row.application)
    return PresentedToken(row=row, application=row.application, user=row.user, family=family, scopes=scopes)


def find_live_refresh_token(token: str) -> tuple[RefreshToken, TokenFamily] | None:
    """Return the usable refresh token with its application, user and connection, in one query."""
    row = _find_refresh_token(checksum=hash_token(token))
    if row is None or row.revoked is not None or row.access_token is None:
        return None
    if not row.application.is_approved or not row.user.is_active:
        return None
    family = row.access_token.family
    if family.revoked_at is not None or not family.connection.is_active:
        return None
    return (row, family) if timezone.now() < refresh_token_expiry(row) else None


def find_refresh_token(token: str) -> tuple[RefreshToken, TokenFamily] | None:
    """Return the refresh token, live or not, with its user, and its family with the connection."""
    row = _find_refresh_token(checksum=hash_token(token))
    if row is None or row.token_family is None:
        return None
    # A rotated token has lost its access token, and with it this way to its family.
    family = row.access_token.family if row.access_token else _find_family(family_id=row.token_family)
    return (row, family) if family else None
