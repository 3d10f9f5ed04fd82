"""The headers by which a receiver knows that a notification is ours (Standard Webhooks 1.0, CONTRACT section 10)."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook


def headers_of(
    *, notification_id: uuid.UUID, body: str, api_key: str, signing_secrets: Iterable[str], at: datetime
) -> dict[str, str]:
    """Return the headers of one try. It is signed with each secret, so that either verifies while secrets change."""
    whole_second = datetime.fromtimestamp(int(at.timestamp()), UTC)
    identifier = str(notification_id)
    signatures = [Webhook(secret).sign(identifier, whole_second, body) for secret in signing_secrets]
    return {
        "Authorization": f"Token {api_key}",
        "webhook-id": identifier,
        "webhook-timestamp": str(int(whole_second.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
