"""Browsers in which somebody has logged in to an account: strangers cannot use up their tries.

A signed cookie names up to a few accounts (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). It proves
nothing but that somebody logged in there before: it opens no account, and only chooses the bucket in which wrong
passwords and codes are counted. It outlives the log-out, and not the password: whoever was in an account before its
password was changed is a stranger to it again.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from apps.accounts.models import User
from apps.sealing import derive_secret

#: Seconds for which a browser that nobody logs in with stays known.
LIFETIME = 180 * 86_400
#: Accounts that one browser is known to; the one used longest ago goes first.
MOST_ACCOUNTS = 6
_PURPOSE = "known-browser"
_MOST_CHARACTERS = 2_000

#: Account, number of this browser, fingerprint of the password; all of them hexadecimal.
Entry = tuple[str, str, str]


def find_browser(request: HttpRequest, user: User) -> str | None:
    """Return the number of this browser if somebody has logged in to the user's account in it, else None."""
    account, fingerprint = _account(user), _fingerprint(user)
    for entry_account, browser, entry_fingerprint in _entries(request):
        if entry_account == account and hmac.compare_digest(entry_fingerprint, fingerprint):
            return browser
    return None


def has_entries(request: HttpRequest) -> bool:
    """Say whether this browser is known to any account, without asking the database."""
    return bool(_entries(request))


def note_log_in(request: HttpRequest | None, user: User) -> None:
    """Let the answer to this request make the browser known to the user's account."""
    if request is not None and settings.RATE_LIMITS:
        request.newly_known_to = user  # type: ignore[attr-defined]


def remember(request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie, if somebody has logged in with this request."""
    user: User | None = getattr(request, "newly_known_to", None)
    if user is None:
        return
    account = _account(user)
    browser = find_browser(request, user) or secrets.token_hex(8)
    others = [entry for entry in _entries(request) if entry[0] != account]
    entries = [(account, browser, _fingerprint(user)), *others][:MOST_ACCOUNTS]
    response.set_cookie(
        settings.KNOWN_BROWSER_COOKIE_NAME,
        signing.dumps(entries, key=_key(), salt=_PURPOSE),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _entries(request: HttpRequest) -> list[Entry]:
    text = request.COOKIES.get(settings.KNOWN_BROWSER_COOKIE_NAME, "")
    if not text or len(text) > _MOST_CHARACTERS:
        return []
    try:
        found: Iterable[Any] = signing.loads(text, key=_key(), salt=_PURPOSE, max_age=LIFETIME)
    except signing.BadSignature:
        return []
    return [(str(account), str(browser), str(fingerprint)) for account, browser, fingerprint in found]


def _key() -> str:
    return derive_secret(_PURPOSE).hex()


def _account(user: User) -> str:
    return _digest("account", str(user.pk))


def _fingerprint(user: User) -> str:
    return _digest("password", str(user.pk), user.password)


def _digest(*parts: str) -> str:
    return hmac.digest(derive_secret(_PURPOSE), "\x00".join(parts).encode(), hashlib.sha256)[:12].hex()
