"""What the seals are made of. Nothing here may change without breaking every chain there is."""

import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from apps.audit.models import AuditEvent, AuditSeal
from apps.sealing import derive_secret, derive_secrets

#: What the first seal says came before it.
BEGINNING = bytes(32)
_PURPOSE = "audit-seals"


def canonical(*values: Any) -> bytes:
    """Return the one spelling of `values`: JSON without spaces, names in order, instants in UTC to the microsecond."""
    return json.dumps(
        values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_spell
    ).encode()


def commitment(salt: bytes, user_id: uuid.UUID | None, name: str, address: str | None, user_agent: str) -> bytes:
    """Return what an event keeps of a person: it says nothing without the salt, which goes with the person's row."""
    # The address as bytes: languages and databases spell the same one differently.
    packed = ip_address(address).packed if address else None
    return hashlib.sha256(canonical(salt, user_id, name, packed, user_agent)).digest()


def event_digest(event: AuditEvent) -> bytes:
    """Return the digest of everything in the event."""
    return hashlib.sha256(
        canonical(
            event.pk,
            event.happened_at,
            event.tag,
            event.application_id,
            event.organisation_id,
            event.connection_id,
            event.details,
            event.transaction_id,
            event.person_commitment,
            event.about_commitment,
        )
    ).digest()


def seal_digest(seal: AuditSeal, event_digests: list[bytes]) -> bytes:
    """Return the digest of the seal before, of what the seal says of itself, and of its events in their order."""
    return hashlib.sha256(bytes(seal.previous_digest) + _header(seal) + b"".join(event_digests)).digest()


def signing_keys() -> list[bytes]:
    """Return the key that signs, and after it those of the deployment's earlier secrets, as far as they still count."""
    return derive_secrets(_PURPOSE)


def seal_signature(seal: AuditSeal, key: bytes | None = None) -> bytes:
    """Return the HMAC over the seal; it can be checked when the events are gone."""
    return _sign(bytes(seal.previous_digest) + bytes(seal.digest) + _header(seal), key)


def pruning_signature(seal_id: int, pruned_at: datetime, key: bytes | None = None) -> bytes:
    """Return the HMAC that says that retention has pruned the seal at that time."""
    return _sign(canonical("pruned", seal_id, pruned_at), key)


def anonymisation_signature(event_id: int, part: str, committed: bytes, key: bytes | None = None) -> bytes:
    """Return the HMAC that says that the person of that part, to whom the event is committed, was made anonymous."""
    return _sign(canonical("anonymised", event_id, part, committed), key)


def _header(seal: AuditSeal) -> bytes:
    return canonical(
        seal.pk,
        seal.event_count,
        seal.first_happened_at,
        seal.last_happened_at,
        seal.sealed_at,
        seal.horizon,
        seal.is_complete,
        seal.cluster,
    )


def _sign(message: bytes, key: bytes | None) -> bytes:
    return hmac.digest(key or derive_secret(_PURPOSE), message, "sha256")


def _spell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical spelling")
