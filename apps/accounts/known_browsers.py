"""Browsers in which somebody has logged in to an account: strangers cannot use up their tries.

A signed cookie names up to a few accounts (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). It proves
nothing but that somebody logged in there before: it opens no account, and only chooses the bucket in which wrong
passwords and codes are counted. It outlives the log-out, and not the password: whoever was in an account before its
password was changed is a stranger to it again. It also says what was shown there (`Proof`): who reads somebody's mail
can choose new passwords without end, and gets no new tries of the second factor by it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from apps.accounts.models import User
from apps.sealing import derive_secret, derive_secrets

#: Seconds for which a browser that nobody logs in with stays known.
LIFETIME = 180 * 86_400
#: Accounts that one browser is known to; the one used longest ago goes first.
MOST_ACCOUNTS = 6
_PURPOSE = "known-browser"
_MOST_CHARACTERS = 2_000
#: Of an entry; what has fewer was written by an older version.
_PARTS = 4


class Proof(StrEnum):
    """What somebody has shown in a browser."""

    #: The mail for a forgotten password, and no second factor.
    MAIL = "m"
    #: All that a log-in asked for, which was no second factor.
    LOG_IN = "l"
    #: A second factor, at a log-in or when it was set up.
    SECOND_FACTOR = "s"


@dataclass(frozen=True)
class Entry:
    """An account that the browser is known to; all texts but the proof are hexadecimal."""

    account: str
    #: The browser's number at this account.
    browser: str
    #: Of the password.
    fingerprint: str
    proof: Proof


def find_entry(request: HttpRequest, user: User) -> Entry | None:
    """Return what this browser has of the user's account if somebody has logged in to it there, else None."""
    # Also what was made with an earlier secret of the deployment, while that still counts.
    digests = {_account(user, secret): fingerprint(user, secret) for secret in derive_secrets(_PURPOSE)}
    for entry in _entries(request):
        if entry.account in digests and hmac.compare_digest(entry.fingerprint, digests[entry.account]):
            return entry
    return None


def has_entries(request: HttpRequest) -> bool:
    """Say whether this browser is known to any account, without asking the database."""
    return bool(_entries(request))


def note(request: HttpRequest | None, user: User, proof: Proof) -> None:
    """Let the answer to this request make the browser known to the user's account."""
    if request is not None and settings.RATE_LIMITS:
        request.newly_known_to = user, proof  # type: ignore[attr-defined]


def keep_over_new_password(request: HttpRequest, user: User) -> None:
    """Let the browser stay what it is to the account, should the request change the password."""
    request.kept_entry = find_entry(request, user)  # type: ignore[attr-defined]


def remember(request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie, if somebody has logged in with this request."""
    noted: tuple[User, Proof] | None = getattr(request, "newly_known_to", None)
    if noted is None:
        return
    user, proof = noted
    accounts = [_account(user, secret) for secret in derive_secrets(_PURPOSE)]
    old = find_entry(request, user) or getattr(request, "kept_entry", None)
    if old is not None and old.account in accounts:
        browser = old.browser
        if old.proof is Proof.SECOND_FACTOR:
            proof = old.proof
    else:
        browser = secrets.token_hex(8)
    others = [entry for entry in _entries(request) if entry.account not in accounts]
    entries = [Entry(accounts[0], browser, fingerprint(user), proof), *others][:MOST_ACCOUNTS]
    response.set_cookie(
        settings.KNOWN_BROWSER_COOKIE_NAME,
        signing.dumps([astuple(entry) for entry in entries], key=derive_secret(_PURPOSE).hex(), salt=_PURPOSE),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _entries(request: HttpRequest) -> list[Entry]:
    text = request.COOKIES.get(settings.KNOWN_BROWSER_COOKIE_NAME, "")
    if not text or len(text) > _MOST_CHARACTERS:
        return []
    keys: list[str | bytes] = [secret.hex() for secret in derive_secrets(_PURPOSE)]
    try:
        found: Iterable[Any] = signing.loads(text, key=keys[0], fallback_keys=keys[1:], salt=_PURPOSE, max_age=LIFETIME)
    except signing.BadSignature:
        return []
    parts = [entry for entry in found if len(entry) == _PARTS]
    return [Entry(account, browser, fingerprint, Proof(proof)) for account, browser, fingerprint, proof in parts]


def fingerprint(user: User, secret: bytes | None = None) -> str:
    """Return what is another one as soon as the password is, and says nothing of it."""
    return _digest(secret, "password", str(user.pk), user.password)


def _account(user: User, secret: bytes) -> str:
    return _digest(secret, "account", str(user.pk))


def _digest(secret: bytes | None, *parts: str) -> str:
    return hmac.digest(secret or derive_secret(_PURPOSE), "\x00".join(parts).encode(), hashlib.sha256)[:12].hex()
