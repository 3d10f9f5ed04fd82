"""What is shown of a secret: how it begins and how long it is, never more."""

from typing import Any

#: The names under which a request or an answer carries something that must not be shown.
SECRET_NAMES = frozenset({"access_token", "client_secret", "code", "code_verifier", "refresh_token", "token"})
_SHOWN_CHARACTERS = 6


def mask(secret: str) -> str:
    """Return e.g. `csr_8f…(47 characters)`. Of a short secret nothing is shown."""
    shown = secret[:_SHOWN_CHARACTERS] if len(secret) >= 4 * _SHOWN_CHARACTERS else ""
    return f"{shown}…({len(secret)} characters)"


def mask_fields(fields: dict[str, str]) -> dict[str, str]:
    """Return `fields` with each secret masked."""
    return {name: mask(value) if name in SECRET_NAMES else value for name, value in fields.items()}


def mask_document(document: Any) -> Any:
    """Return a JSON document with each secret in it masked, at any depth."""
    if isinstance(document, dict):
        return {
            name: mask(value) if name in SECRET_NAMES and isinstance(value, str) else mask_document(value)
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [mask_document(item) for item in document]
    return document
