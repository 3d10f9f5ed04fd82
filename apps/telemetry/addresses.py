import ipaddress

from django.conf import settings
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str | None:
    """Return the client's IP address, counted past the host's own proxies: for limits, audit trail and logs alike.

    An IPv4 address in IPv6 (`::ffff:192.0.2.1`) is the IPv4 address, and an IPv6 address has no zone: a zone (`%eth0`,
    RFC 4007 11) means something on one machine only. None when the address cannot be told: fewer proxies than the
    settings say, or text that is no address.
    """
    text = request.META.get("REMOTE_ADDR", "")
    proxies: int = settings.ALLAUTH_TRUSTED_PROXY_COUNT
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if proxies > 0 and forwarded:
        named = forwarded.split(",")
        if len(named) < proxies:
            return None
        text = named[-proxies]
    return _read(text.strip())


def _read(text: str) -> str | None:
    """Return the address in its one spelling, without the port that some proxies add; None for what is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)
