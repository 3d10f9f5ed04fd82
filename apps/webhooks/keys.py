"""The keys of an endpoint: made, kept encrypted, opened to be sent or to sign with."""

import base64
import secrets

from apps.sealing import cipher
from apps.webhooks.models import Endpoint, EndpointKey, KeyKind

#: What a key begins with, so that people and scanners of code know one when they see it.
PREFIXES = {KeyKind.API_KEY: "cswk_", KeyKind.SIGNING_SECRET: "whsec_"}
_HINT_LENGTH = 4


def new_value(kind: KeyKind) -> str:
    """Return a new key: 256 random bits. A signing secret is base64, as Standard Webhooks has it."""
    if kind == KeyKind.SIGNING_SECRET:
        return PREFIXES[kind] + base64.b64encode(secrets.token_bytes(32)).decode()
    return PREFIXES[kind] + secrets.token_urlsafe(32)


def seal_key(*, endpoint: Endpoint, kind: KeyKind, value: str) -> EndpointKey:
    """Return a row, not saved yet, that holds the key encrypted."""
    encrypted = cipher(f"webhook-{kind.value}").encrypt(value.encode())
    hint = value.rstrip("=")[-_HINT_LENGTH:]
    return EndpointKey(endpoint=endpoint, kind=kind, encrypted_value=encrypted, hint=hint)


def open_key(key: EndpointKey) -> str:
    """Return the key itself."""
    return cipher(f"webhook-{key.kind}").decrypt(bytes(key.encrypted_value)).decode()
