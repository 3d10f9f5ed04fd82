"""Which token an application gets for a request: its profile's, made from the request's issuance."""

from datetime import datetime, timedelta

from django.utils import timezone
from oauth2_provider.models import RefreshToken
from oauthlib.common import Request

from apps.developers.models import Application
from apps.tokens.issuance import Issuance, random_seed
from apps.tokens.profiles import PROFILES, TokenProfile
from apps.tokens.profiles.base import NEVER


def profile_of(application: Application) -> TokenProfile:
    return PROFILES[application.profile]


def access_token_lifetime(request: Request) -> int | None:
    """Return the lifetime in seconds of the access token about to be made, None for ever."""
    return profile_of(request.client).access_token_lifetime


def access_token_expiry(application: Application, issued_at: datetime) -> datetime:
    lifetime = profile_of(application).access_token_lifetime
    return issued_at + (timedelta(seconds=lifetime) if lifetime is not None else NEVER)


def issuance_of(request: Request) -> Issuance:
    """Return the issuance of the token request being answered; the validator prepared seed and instant."""
    if getattr(request, "issuance", None) is None:
        connection = getattr(request, "connection", None)
        request.issuance = Issuance(
            seed=getattr(request, "issuance_seed", None) or random_seed(),
            issued_at=getattr(request, "issued_at", None) or timezone.now(),
            client_id=request.client.client_id,
            issuer=request.client.organisation.issuer,
            scopes=list(request.scopes or []),
            user_id=connection.user_id if connection else None,
            connection_id=connection.id if connection else None,
        )
    return request.issuance


def make_access_token(request: Request, refresh_token: bool = False) -> str:
    """Oauthlib's token generator: the application's profile makes the token."""
    return profile_of(request.client).make_access_token(issuance_of(request))


def make_refresh_token(request: Request, refresh_token: bool = True) -> str | None:
    """Oauthlib's refresh token generator; None where the profile issues none."""
    if profile_of(request.client).refresh_token_lifetime is None:
        return None
    return issuance_of(request).opaque("refresh")


def refresh_token_expiry(row: RefreshToken) -> datetime:
    """Return when a refresh token expires: its profile's lifetime after it was issued."""
    return row.created + timedelta(seconds=profile_of(row.application).refresh_token_lifetime or 0)
