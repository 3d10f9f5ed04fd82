"""The keys of an endpoint: made, kept encrypted, opened to be sent or to sign with."""

import base64
import secrets
from collections.abc import Iterable

from cryptography.fernet import InvalidToken

from apps.sealing import cipher, needs_resealing
from apps.webhooks.models import Endpoint, EndpointKey, KeyKind

#: What a key begins with, so that people and scanners of code know one when they see it.
PREFIXES = {KeyKind.API_KEY: "cswk_", KeyKind.SIGNING_SECRET: "whsec_"}
_HINT_LENGTH = 4


def new_value(kind: KeyKind) -> str:
    """Return a new key: 256 random bits. A signing secret is base64, as Standard Webhooks has it."""
    if kind == KeyKind.SIGNING_SECRET:
        return PREFIXES[kind] + base64.b64encode(secrets.token_bytes(32)).decode()
    return PREFIXES[kind] + secrets.token_urlsafe(32)


class ClosedKeyError(Exception):
    """No key of a kind that the endpoint has can be opened: they were made with another deployment secret."""


def seal_key(*, endpoint: Endpoint, kind: KeyKind, value: str) -> EndpointKey:
    """Return a row, not saved yet, that holds the key encrypted."""
    encrypted = cipher(_purpose(kind)).encrypt(value.encode())
    hint = value.rstrip("=")[-_HINT_LENGTH:]
    return EndpointKey(endpoint=endpoint, kind=kind, encrypted_value=encrypted, hint=hint)


def open_key(key: EndpointKey) -> str:
    """Return the key itself. Raises cryptography.fernet.InvalidToken if it was made with another deployment secret."""
    return cipher(_purpose(key.kind)).decrypt(bytes(key.encrypted_value)).decode()


def open_keys(keys: Iterable[EndpointKey]) -> list[str]:
    """Return those that can be opened, in their order; ClosedKeyError if there are some, and none of them can be."""
    opened, closed = [], 0
    for key in keys:
        try:
            opened.append(open_key(key))
        except InvalidToken:
            closed += 1
    if closed and not opened:
        raise ClosedKeyError
    return opened


def reseal_key(key: EndpointKey) -> bool:
    """Seal the key with the newest secret, if it is not, and say whether it was not; it is not saved yet.

    Raises InvalidToken.
    """
    purpose, sealed = _purpose(key.kind), bytes(key.encrypted_value)
    if not needs_resealing(purpose, sealed):
        return False
    key.encrypted_value = cipher(purpose).rotate(sealed)
    return True


def _purpose(kind: str) -> str:
    return f"webhook-{KeyKind(kind).value}"
