"""Where the demo partner keeps what it remembers of its visitors."""

from datetime import timedelta

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse

from apps.console.wire import Flow

COOKIE_NAME = "countersign_demo_partner"
COOKIE_PATH = "/demo/"
SESSION_LIFETIME = timedelta(hours=2)
#: What the flows in it are encrypted for.
PURPOSE = "demo-partner"


class PartnerSession:
    """The demo partner's own session, beside the server's: a real partner is another site.

    So it outlives the user logging in as somebody else.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._store = SessionStore(request.COOKIES.get(COOKIE_NAME))

    def load(self, programme: str) -> Flow:
        """Return the visitor's flow, a new one if there is none that can be read."""
        return Flow.unseal(self._store.get(programme), PURPOSE)

    def save(self, programme: str, flow: Flow, response: HttpResponse) -> None:
        """Keep the flow, and give the browser the session's cookie."""
        self._store[programme] = flow.seal(PURPOSE)
        self._store.set_expiry(SESSION_LIFETIME)
        self._store.save()
        response.set_cookie(
            COOKIE_NAME,
            self._store.session_key or "",
            max_age=SESSION_LIFETIME,
            path=COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
