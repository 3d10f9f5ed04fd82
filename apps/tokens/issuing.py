"""What is known when a token is made, and how each token is derived from it."""

import base64
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from oauth2_provider.models import RefreshToken
from oauthlib.common import Request

from apps.developers.models import Application
from apps.tokens.keys import derive_secret
from apps.tokens.profiles import PROFILES, TokenProfile
from apps.tokens.profiles.base import NEVER

# A recognisable start lets secret scanners find a leaked token, and tells us which table to look in.
PREFIXES = {"code": "csc_", "access": "csa_", "refresh": "csr_"}


def hash_token(token: str) -> str:
    """Return what is stored of a code or token: its SHA-256, in hex. They are random, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Issuance:
    """One act of issuing. Every token and `jti` of it follows from `seed`, so a retry can be given the same again.

    The seed is random for a code, and for a refresh token an HMAC of the presented token under a key of the
    server's: nobody can foresee the successor, and nothing has to be kept in clear to repeat it.
    """

    seed: bytes
    issued_at: datetime
    client_id: str
    issuer: str
    scopes: list[str]
    user_id: uuid.UUID | None = None
    connection_id: uuid.UUID | None = None

    @property
    def issued_at_seconds(self) -> int:
        return int(self.issued_at.timestamp())

    @property
    def jti(self) -> str:
        return self._derive("jti").hex()

    def opaque(self, kind: str) -> str:
        """Return the opaque token of `kind` ("access" or "refresh"): 256 bits behind a recognisable prefix."""
        return PREFIXES[kind] + base64.urlsafe_b64encode(self._derive(kind)).rstrip(b"=").decode()

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.seed, purpose.encode(), "sha256")


def random_seed() -> bytes:
    return secrets.token_bytes(32)


def successor_seed(refresh_token: str) -> bytes:
    """Return the seed of what a refresh token is exchanged for: the same for the same token, each time."""
    return hmac.digest(derive_secret("refresh-successors"), refresh_token.encode(), "sha256")


def make_authorization_code() -> str:
    return PREFIXES["code"] + secrets.token_urlsafe(32)


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
