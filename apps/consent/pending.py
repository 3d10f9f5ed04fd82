"""The authorization requests a browser is in the middle of, kept in its session.

The request itself stays in the URL and is validated anew each time; the session only remembers what the pages on
the way (log-in, sign-up, a second factor) have to know: whom the user is about to connect to, and where the last
redirect will lead, because Chromium applies `form-action` to that redirect too.
"""

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse

from apps.accounts.models import User

_SESSION_KEY = "authorizations"
#: A browser with more requests open than this loses the names of the oldest, nothing else.
_MAX_KEPT = 5


@dataclass(frozen=True)
class PendingAuthorization:
    """What is remembered of one authorization request."""

    client_id: str
    application_name: str
    #: What the log-in page itself tells that will be shared: for trusted applications, which have no other page.
    shown_scopes: list[str]
    form_target: str
    is_trusted: bool = False
    #: The user has logged in on a page that said what is shared.
    is_answered: bool = False


def form_target(uri: str) -> str:
    """Return the Content Security Policy source that admits a redirect to `uri`."""
    parts = urlsplit(uri)
    # A policy cannot name an IPv6 address, and an app's own scheme has no host.
    if parts.scheme not in {"http", "https"} or parts.netloc.startswith("["):
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"


def remember(request: HttpRequest, pending: PendingAuthorization, *, path: str) -> None:
    """Remember that `path`, with its query, is an authorization request under way."""
    kept = _all(request)
    kept.pop(path, None)
    kept[path] = asdict(pending)
    while len(kept) > _MAX_KEPT:
        kept.pop(next(iter(kept)))
    request.session[_SESSION_KEY] = kept


def forget(request: HttpRequest) -> None:
    """Forget this request's URL: it has been answered."""
    kept = _all(request)
    if kept.pop(request.get_full_path(), None) is not None:
        request.session[_SESSION_KEY] = kept


def find(request: HttpRequest, path: str) -> PendingAuthorization | None:
    """Return what is remembered of the authorization request at `path`."""
    entry = _all(request).get(path)
    return PendingAuthorization(**entry) if entry else None


def form_targets(request: HttpRequest) -> list[str]:
    """Return every Content Security Policy source that a form on the way may end up at."""
    return sorted({entry["form_target"] for entry in _all(request).values()})


def admit_redirect(response: HttpResponse, targets: list[str]) -> None:
    """Let forms of this page lead on to `targets`."""
    if targets:
        response._csp_update = {"form-action": targets}  # type: ignore[attr-defined]


def note_login(sender: type[User], request: HttpRequest, response: Any = None, **kwargs: Any) -> None:
    """Note that the user has just logged in on their way to an authorization request."""
    path = getattr(response, "url", None)
    pending = find(request, path) if path else None
    if path and pending:
        request.session[_SESSION_KEY] = {**_all(request), path: {**asdict(pending), "is_answered": True}}


def _all(request: HttpRequest) -> dict[str, Any]:
    return dict(request.session.get(_SESSION_KEY, {}))
