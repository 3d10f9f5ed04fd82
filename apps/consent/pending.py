"""The authorization requests a browser is in the middle of, kept in its session.

The request itself stays in the URL and is validated anew each time; the session only remembers what the pages on
the way (log-in, sign-up, a second factor) have to know: whom the user is about to connect to, and where the last
redirect will lead, because Chromium applies `form-action` to that redirect too.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.http import MAX_URL_LENGTH

from apps.accounts.models import User

_SESSION_KEY = "authorizations"
#: A browser with more requests open than this loses the names of the oldest, nothing else.
_MAX_KEPT = 5
#: And with more characters in all of them together. The newest is kept, however long its `state` is.
_MAX_CHARACTERS = 20_000


@dataclass(frozen=True)
class PendingAuthorization:
    """What is remembered of one authorization request."""

    #: The request itself: the door's path with the query.
    path: str
    application_name: str
    #: What the log-in page itself tells that will be shared: for trusted applications, which have no other page.
    shown_scopes: list[str]
    form_target: str
    is_trusted: bool = False
    #: The user has sent a log-in form that said what is shared.
    is_noticed: bool = False
    #: And they have got through the log-in, on their way to this request.
    is_answered: bool = False

    @property
    def notice(self) -> str:
        """The seal on what the log-in page says will be shared; its form sends it back, and none else can."""
        said = json.dumps([self.path, self.application_name, self.shown_scopes, self.is_trusted])
        return salted_hmac("consent.notice", said, algorithm="sha256").hexdigest()


def form_target(uri: str) -> str:
    """Return the Content Security Policy source that admits a redirect to `uri`."""
    parts = urlsplit(uri)
    # A policy cannot name an IPv6 address, and an app's own scheme has no host.
    if parts.scheme not in {"http", "https"} or parts.netloc.startswith("["):
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"


def way_back(path: str) -> str:
    """Return the address that leads back to the authorization request at `path`, for a `next` parameter.

    That is the request itself, unless it is longer than what Django takes for a safe `next` (a `state` alone may
    have 4 096 characters): then a short address stands for it (ContinueView).
    """
    if len(path) <= MAX_URL_LENGTH:
        return path
    return reverse("continue", args=[hashlib.sha256(path.encode()).hexdigest()[:32]])


def remember(request: HttpRequest, pending: PendingAuthorization) -> None:
    """Remember that an authorization request is under way."""
    kept = _all(request)
    address = way_back(pending.path)
    kept.pop(address, None)
    kept[address] = asdict(pending)
    while len(kept) > _MAX_KEPT or (len(kept) > 1 and len(json.dumps(kept)) > _MAX_CHARACTERS):
        kept.pop(next(iter(kept)))
    request.session[_SESSION_KEY] = kept


def forget(request: HttpRequest) -> None:
    """Forget the authorization request at this request's URL: it has been answered."""
    kept = _all(request)
    if kept.pop(way_back(request.get_full_path()), None) is not None:
        request.session[_SESSION_KEY] = kept


def find(request: HttpRequest, address: str) -> PendingAuthorization | None:
    """Return what is remembered of the authorization request that `address` (see `way_back`) leads to."""
    entry = _all(request).get(address)
    return PendingAuthorization(**entry) if entry else None


def form_targets(request: HttpRequest) -> list[str]:
    """Return every Content Security Policy source that a form on the way may end up at."""
    return sorted({entry["form_target"] for entry in _all(request).values()})


def admit_redirect(response: HttpResponse, targets: list[str]) -> None:
    """Let forms of this page lead on to `targets`."""
    if targets:
        admitted = getattr(response, "_csp_update", {}).get("form-action", [])
        response._csp_update = {"form-action": [*admitted, *targets]}  # type: ignore[attr-defined]


def note_notice(sender: type[User], request: HttpRequest, **kwargs: Any) -> None:
    """Note that the log-in form which the user has just sent was one that said what is shared.

    A second factor may follow, on a page that says nothing of it.
    """
    address = request.POST.get("next") or request.GET.get("next", "")
    pending = find(request, address)
    if pending and constant_time_compare(request.POST.get("notice", ""), pending.notice):
        _replace(request, address, replace(pending, is_noticed=True))


def note_login(sender: type[User], request: HttpRequest, response: Any = None, **kwargs: Any) -> None:
    """Note that the user has logged in, with notice, on their way to an authorization request."""
    address = getattr(response, "url", None)
    pending = find(request, address) if address else None
    if address and pending and pending.is_noticed:
        _replace(request, address, replace(pending, is_answered=True))


def _replace(request: HttpRequest, address: str, pending: PendingAuthorization) -> None:
    request.session[_SESSION_KEY] = {**_all(request), address: asdict(pending)}


def _all(request: HttpRequest) -> dict[str, Any]:
    return dict(request.session.get(_SESSION_KEY, {}))
