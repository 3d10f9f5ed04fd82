"""The signing keys: made on first use, encrypted at rest, loaded once per process."""

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import IntegrityError, transaction
from django.utils import timezone
from jwt.algorithms import RSAAlgorithm

from apps.sealing import cipher, needs_resealing
from apps.tokens.models import SigningKey

#: How long a process goes on with the keys it has loaded before it looks for a rotation, in seconds.
RELOAD_INTERVAL = 300
#: How much longer than its last token a retired key is kept, so that a process that has not yet noticed the
#: rotation signs nothing that outlives its key.
RETIREMENT_MARGIN = timedelta(seconds=2 * RELOAD_INTERVAL)


@dataclass(frozen=True)
class LoadedKey:
    """A signing key, decrypted and parsed: parsing a PEM for each token would cost 40 ms."""

    kid: str
    algorithm: str
    key: Any

    def sign(self, claims: dict[str, Any]) -> str:
        """Return the compact JWS of `claims` (RFC 7515 7.1) with this key's `kid`."""
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": self.kid})


@dataclass(frozen=True)
class _Loaded:
    at: float
    keys: dict[str, LoadedKey]


_lock = threading.Lock()
_loaded: _Loaded | None = None


def signing_key(algorithm: str) -> LoadedKey:
    """Return the key that signs with `algorithm`, loaded once per process."""
    global _loaded
    loaded = _loaded
    if loaded is None or time.monotonic() - loaded.at > RELOAD_INTERVAL:
        with _lock:
            loaded = _loaded
            if loaded is None or time.monotonic() - loaded.at > RELOAD_INTERVAL:
                loaded = _loaded = _Loaded(time.monotonic(), _load())
    return loaded.keys[algorithm]


def forget_loaded_keys() -> None:
    """Make this process read the keys anew, after a rotation in it."""
    global _loaded
    _loaded = None


def ensure_signing_keys() -> None:
    """Make the keys that are missing. Any number of processes may do this at once: one key wins."""
    present = set(SigningKey.objects.filter(retired_at__isnull=True).values_list("algorithm", flat=True))
    for algorithm in SigningKey.Algorithm.values:
        if algorithm not in present:
            try:
                with transaction.atomic():
                    _make_key(algorithm).save(force_insert=True)
            except IntegrityError:
                # Another process made it first: the unique constraint let one through.
                continue


def rotate_signing_keys(*, lifetimes: dict[str, timedelta | None]) -> list[SigningKey]:
    """Retire each signing key and make its successor; return the new keys.

    `lifetimes` gives for each algorithm how long its tokens live, None for ever. The old key goes on verifying
    until its last token has expired.
    """
    now = timezone.now()
    with transaction.atomic():
        for key in SigningKey.objects.select_for_update().filter(retired_at__isnull=True):
            lifetime = lifetimes[key.algorithm]
            key.retired_at = now
            key.verifiable_until = now + lifetime + RETIREMENT_MARGIN if lifetime else None
            key.save(update_fields=["retired_at", "verifiable_until"])
        fresh = [_make_key(algorithm) for algorithm in SigningKey.Algorithm.values]
        for key in fresh:
            key.save(force_insert=True)
    forget_loaded_keys()
    return fresh


def is_readable(key: SigningKey) -> bool:
    """Say whether this deployment's secret opens the key."""
    try:
        cipher("signing-keys").decrypt(bytes(key.encrypted_private_key))
    except InvalidToken:
        return False
    return True


def reseal_key(key: SigningKey) -> bool:
    """Seal the private part with the newest secret, if it is not, and say whether it was not; it is not saved yet.

    Raises InvalidToken if no secret that we have opens it.
    """
    sealed = bytes(key.encrypted_private_key)
    if not needs_resealing("signing-keys", sealed):
        return False
    key.encrypted_private_key = cipher("signing-keys").rotate(sealed)
    return True


def public_jwks(now: datetime | None = None) -> dict[str, Any]:
    """Return the JWK Set (RFC 7517 section 5) of every public key whose tokens may still be valid."""
    keys = SigningKey.objects.verifiable(now or timezone.now()).filter(algorithm=SigningKey.Algorithm.RS256)
    published = list(keys.order_by("-created_at").values_list("public_jwk", flat=True))
    if not published:
        # Nobody has asked for a token yet.
        ensure_signing_keys()
        published = list(keys.order_by("-created_at").values_list("public_jwk", flat=True))
    return {"keys": published}


def _load() -> dict[str, LoadedKey]:
    """Read the keys that sign. Retired ones are only published: a token used here is looked up, not verified."""
    signing = SigningKey.objects.filter(retired_at__isnull=True)
    rows = list(signing)
    if len(rows) < len(SigningKey.Algorithm.values):
        ensure_signing_keys()
        rows = list(signing.all())
    return {row.algorithm: LoadedKey(kid=row.kid, algorithm=row.algorithm, key=_private_key(row)) for row in rows}


def _private_key(row: SigningKey) -> Any:
    private = cipher("signing-keys").decrypt(bytes(row.encrypted_private_key))
    is_rsa = row.algorithm == SigningKey.Algorithm.RS256
    return serialization.load_pem_private_key(private, password=None) if is_rsa else private


def _make_key(algorithm: str) -> SigningKey:
    private, jwk = _make_rsa() if algorithm == SigningKey.Algorithm.RS256 else (secrets.token_bytes(64), {})
    kid = jwk.get("kid") or secrets.token_urlsafe(16)
    return SigningKey(
        kid=kid,
        algorithm=algorithm,
        encrypted_private_key=cipher("signing-keys").encrypt(private),
        public_jwk=jwk,
    )


def _make_rsa() -> tuple[bytes, dict[str, Any]]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    jwk = {name: jwk[name] for name in ("kty", "n", "e")}
    # RFC 7638: the thumbprint names the key.
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    kid = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    return pem, {**jwk, "kid": kid, "use": "sig", "alg": "RS256"}
