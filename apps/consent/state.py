"""What a partner may put into `state`: a message for the user, and metadata for its webhooks."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PartnerState:
    """The parts of a `state` that is more than an opaque string."""

    message: str | None = None
    partner_metadata: dict[str, Any] | None = None


def read_partner_state(state: str | None) -> PartnerState:
    """Return what `state` carries (CONTRACT section 2); an opaque one carries nothing and is just as valid.

    It is base64 (standard or URL-safe, padded or not) of a JSON object with `message` and `partner_metadata`.
    """
    document = _decode(state or "")
    if not isinstance(document, dict):
        return PartnerState()
    message, metadata = document.get("message"), document.get("partner_metadata")
    return PartnerState(
        message=message.strip() or None if isinstance(message, str) else None,
        partner_metadata=metadata if isinstance(metadata, dict) else None,
    )


def _decode(state: str) -> Any:
    # A "+" that the partner forgot to encode arrives as a space.
    text = state.replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        # What PostgreSQL cannot hold (infinite numbers, lone surrogates, NUL) makes it opaque too.
        stored = json.dumps(document, ensure_ascii=False, allow_nan=False)
        stored.encode()
    except (binascii.Error, ValueError, RecursionError):
        return None
    return None if "\\u0000" in stored else document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
