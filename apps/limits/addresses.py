"""Whom a limit by address counts."""

import ipaddress

from django.http import HttpRequest

from apps.audit.context import address_of

#: What one customer of a network gets of IPv6 at least (RFC 6177): counting single addresses would limit nobody.
_IPV6_PREFIX = 64
#: All whose address cannot be told: TRUSTED_PROXIES is wrong then, and they are counted together.
UNKNOWN = "unknown"


def network_of(request: HttpRequest) -> str:
    """Return the client's IPv4 address or IPv6 network, counted past the host's own proxies."""
    text = address_of(request)
    if text is None:
        return UNKNOWN
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address), _IPV6_PREFIX), strict=False))
