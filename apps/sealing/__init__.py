"""Owns what only this deployment can open: keys derived from its secret, and ciphers made of them.

While the secret is changed, `SECRET_KEY_FALLBACKS` has the earlier ones: what was made with them is still read, and
what is made now is made with the new one.
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


@lru_cache(maxsize=16)
def derive_secret(purpose: str) -> bytes:
    """Return 32 bytes derived from the deployment secret for one purpose (HKDF-SHA-256, RFC 5869)."""
    return derive_secret_of(settings.SECRET_KEY, purpose)


@lru_cache(maxsize=64)
def derive_secret_of(secret_key: str, purpose: str) -> bytes:
    """Return what `derive_secret` returns in a deployment with that secret."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"countersign/{purpose}".encode())
    return kdf.derive(secret_key.encode())


def derive_secrets(purpose: str) -> list[bytes]:
    """Return what `derive_secret` returns, and after it the same of each earlier secret that still counts."""
    return [derive_secret(purpose), *(derive_secret_of(earlier, purpose) for earlier in settings.SECRET_KEY_FALLBACKS)]


def cipher(purpose: str) -> MultiFernet:
    """Return the authenticated cipher for what is kept encrypted for one purpose."""
    return MultiFernet([Fernet(base64.urlsafe_b64encode(secret)) for secret in derive_secrets(purpose)])


def needs_resealing(purpose: str, sealed: bytes) -> bool:
    """Say whether only an earlier secret opens it. Raises InvalidToken if none does."""
    try:
        Fernet(base64.urlsafe_b64encode(derive_secret(purpose))).decrypt(sealed)
    except InvalidToken:
        cipher(purpose).decrypt(sealed)
        return True
    return False
