"""From where the request comes that is being answered, so that services can say it without having the request."""

from contextvars import ContextVar

from allauth.account.adapter import get_adapter
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest

MAX_USER_AGENT = 400

current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)


def address_of(request: HttpRequest) -> str | None:
    """Return the client's IP address, counted past the host's own proxies as the limits of log-ins count it.

    None when it cannot be told: fewer proxies than the settings say, or text that is no address.
    """
    try:
        return str(get_adapter(request).get_client_ip(request))
    except (ImproperlyConfigured, PermissionDenied):
        return None


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
