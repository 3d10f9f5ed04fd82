"""Reads that several endpoints share: what a presented token is, and what it may still do."""

from django.db import models
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.connections.models import Connection
from apps.developers.models import Application
from apps.organisations.models import served_at
from apps.tokens.issuing import hash_token, refresh_token_expiry
from apps.tokens.models import TokenFamily


def effective_scopes(scope: str, connection: Connection | None, application: Application) -> list[str]:
    """Return what is left of a token's `scope` after what the user and the developers have narrowed since."""
    allowed = set(application.scopes)
    if connection is not None:
        allowed &= set(connection.scopes)
    return [name for name in scope.split() if name in allowed]


def find_access_token(token: str, *, host: str) -> AccessToken | None:
    """Return the usable access token, with its application, user and connection, in one query.

    Its `scope` is what it may still do. None when it is unknown, expired or revoked, when it belongs to another
    organisation than `host`'s, or when its user or application is suspended.
    """
    row = find_token_to_revoke(token, host=host)
    if row is None or not row.application.is_approved:
        return None
    family = family_of(row)
    if row.user is not None and (
        not row.user.is_active or family is None or family.revoked_at or not family.connection.is_active
    ):
        return None
    row.scope = " ".join(effective_scopes(row.scope, family and family.connection, row.application))
    return row


def find_token_to_revoke(token: str, *, host: str) -> AccessToken | None:
    """Return the stored, unexpired access token, whoever is suspended: giving up access is always possible."""
    row = (
        AccessToken.objects.select_related("application__organisation", "user", "family__connection")
        .filter(served_at(host, "application__organisation"), token_checksum=hash_token(token))
        .first()
    )
    return None if row is None or row.is_expired() else row


def find_live_refresh_token(token: str) -> RefreshToken | None:
    """Return the usable refresh token with its application, user and connection, in one query."""
    row = (
        RefreshToken.objects.select_related("application", "user", "access_token__family__connection")
        .filter(token_checksum=hash_token(token), revoked__isnull=True, access_token__isnull=False)
        .first()
    )
    if row is None or not row.application.is_approved or not row.user.is_active:
        return None
    return row if timezone.now() < refresh_token_expiry(row) else None


def family_of(access_token: AccessToken) -> TokenFamily | None:
    """Return the family that an access token belongs to; a service's token belongs to none."""
    return getattr(access_token, "family", None)


def find_refresh_token(token: str) -> tuple[RefreshToken, TokenFamily] | None:
    """Return the refresh token, live or not, and its family with connection and user."""
    row = (
        RefreshToken.objects.filter(token_checksum=hash_token(token))
        .order_by(models.F("revoked").desc(nulls_first=True))
        .first()
    )
    if row is None:
        return None
    family = TokenFamily.objects.select_related("connection__user", "access_token").filter(id=row.token_family).first()
    return (row, family) if family else None
