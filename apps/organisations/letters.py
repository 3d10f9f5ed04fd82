"""A mail on its way to the worker: written, and sealed, because some carry a link that lets in whoever has it."""

import json
from dataclasses import asdict, dataclass

from apps.sealing import cipher, needs_resealing

_PURPOSE = "mail"


@dataclass(frozen=True)
class Letter:
    """One mail to one address; `reply_to` and `html` may be empty."""

    to: str
    sender: str
    reply_to: str
    subject: str
    text: str
    html: str

    def seal(self) -> str:
        """Return the letter as only this deployment can read it. It lies in the queue until a day after it was sent."""
        return cipher(_PURPOSE).encrypt(json.dumps(asdict(self)).encode()).decode()


def unseal(sealed: str) -> Letter:
    """Return the letter. Raises cryptography.fernet.InvalidToken if the deployment has another secret now."""
    return Letter(**json.loads(cipher(_PURPOSE).decrypt(sealed)))


def reseal(sealed: str) -> str | None:
    """Return the letter sealed with the newest secret; None if it is already. Raises InvalidToken as `unseal` does."""
    if not needs_resealing(_PURPOSE, sealed.encode()):
        return None
    return cipher(_PURPOSE).rotate(sealed.encode()).decode()
