"""Owns what only this deployment can open: keys derived from its secret, and ciphers made of them."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


@lru_cache(maxsize=16)
def derive_secret(purpose: str) -> bytes:
    """Return 32 bytes derived from the deployment secret for one purpose (HKDF-SHA-256, RFC 5869)."""
    return derive_secret_of(settings.SECRET_KEY, purpose)


def derive_secret_of(secret_key: str, purpose: str) -> bytes:
    """Return what `derive_secret` returns in a deployment with that secret."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"countersign/{purpose}".encode())
    return kdf.derive(secret_key.encode())


def cipher(purpose: str) -> Fernet:
    """Return the authenticated cipher for what is kept encrypted for one purpose."""
    return Fernet(base64.urlsafe_b64encode(derive_secret(purpose)))
