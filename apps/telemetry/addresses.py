from allauth.account.adapter import get_adapter
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str | None:
    """Return the client's IP address, counted past the host's own proxies as the limits of log-ins count it.

    None when it cannot be told: fewer proxies than the settings say, or text that is no address.
    """
    try:
        return str(get_adapter(request).get_client_ip(request))
    except (ImproperlyConfigured, PermissionDenied):
        return None
