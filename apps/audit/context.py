"""From where the request comes that is being answered, so that services can say it without having the request."""

from contextvars import ContextVar

from django.http import HttpRequest

from apps.telemetry.addresses import address_of as address_of

MAX_USER_AGENT = 400

current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)


def user_agent_of(request: HttpRequest) -> str:
    """Return the header as text that can be stored: what does not print is replaced, what is too long is cut."""
    header = str(request.META.get("HTTP_USER_AGENT", ""))[: MAX_USER_AGENT * 2]
    try:
        # A WSGI header is bytes spelt as Latin-1 (PEP 3333).
        header = header.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        header = header.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in header)[
        :MAX_USER_AGENT
    ]
