"""One act of issuing, and how every code and token follows from it."""

import base64
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime

from apps.sealing import derive_secret, derive_secrets

_SUCCESSORS = "refresh-successors"
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
        return opaque_token(self.seed, kind)

    def _derive(self, purpose: str) -> bytes:
        return _derive(self.seed, purpose)


def opaque_token(seed: bytes, kind: str) -> str:
    """Return the opaque token of `kind` that follows from the seed of an issuance."""
    return PREFIXES[kind] + base64.urlsafe_b64encode(_derive(seed, kind)).rstrip(b"=").decode()


def _derive(seed: bytes, purpose: str) -> bytes:
    return hmac.digest(seed, purpose.encode(), "sha256")


def random_seed() -> bytes:
    return secrets.token_bytes(32)


def successor_seed(refresh_token: str) -> bytes:
    """Return the seed of what a refresh token is exchanged for: the same for the same token, each time."""
    return _seed_under(derive_secret(_SUCCESSORS), refresh_token)


def find_successor_seed(refresh_token: str, *, successor: str) -> bytes | None:
    """Return the seed from which the successor with that hash has come, also if the deployment's secret was another."""
    for secret in derive_secrets(_SUCCESSORS):
        seed = _seed_under(secret, refresh_token)
        if hmac.compare_digest(hash_token(opaque_token(seed, "refresh")), successor):
            return seed
    return None


def _seed_under(secret: bytes, refresh_token: str) -> bytes:
    return hmac.digest(secret, refresh_token.encode(), "sha256")


def make_authorization_code() -> str:
    return PREFIXES["code"] + secrets.token_urlsafe(32)
