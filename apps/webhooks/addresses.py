"""Which URLs an application may set for its webhook, and which network addresses we connect to.

The URL is checked when it is set, in words for the developer. What protects the network we run in is the second rule,
asked for each address that the host's name resolves to, at each connection (transport.py).
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import httpx
import idna
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

MAX_LENGTH = 2000

# RFC 3986: unreserved and reserved characters, and "%" with its two hexadecimal digits.
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()+,;=*]|%[0-9A-Fa-f]{2})+")
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
#: 10, 010, 0x0a: what inet_aton takes for a part of an IPv4 address (WHATWG URL: "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

#: IANA's special-purpose registry, and what is no unicast at all.
_REFUSED_IPV4 = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
]
#: All of IPv6's public addresses are in the first; not all in it are public: protocol assignments with Teredo, two
#: ranges for documentation, and 6to4, which would carry any IPv4 address (and is retired, RFC 7526).
_GLOBAL_IPV6 = ip_network("2000::/3")
_REFUSED_IPV6 = [ip_network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
#: In a network without IPv4 this is how every IPv4 address looks (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")


def may_connect_to(address: IPv4Address | IPv6Address) -> bool:
    """Say whether a webhook may be sent to this network address: a public one; for a first look (`INSECURE_HTTP`) this
    machine itself as well.
    """
    if settings.INSECURE_HTTP and address in (IPv4Address("127.0.0.1"), IPv6Address("::1")):
        return True
    return is_public(address)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Say whether the address is one of the public internet, and does not stand for another that is none."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_IPV4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    # With that IPv4-mapped, IPv4-compatible, link-local, unique local and multicast addresses are refused.
    return address in _GLOBAL_IPV6 and not any(address in network for network in _REFUSED_IPV6)


def clean_url(url: str) -> str:
    """Return the URL as it is kept: an international host name in its ASCII form.

    Raises ValidationError with words for the developer: what is wrong and what to write instead.
    """
    url = url.strip()
    if len(url) > MAX_LENGTH:
        raise ValidationError(
            _("This URL is too long: use at most %(length)s characters."), params={"length": MAX_LENGTH}
        )
    url = _with_ascii_host(url)
    if not _URI_CHARACTERS.fullmatch(url):
        raise ValidationError(_("This URL has a character that a URL may not have."))
    parts = _split(url)
    if "#" in url:
        raise ValidationError(_("The URL must not have a fragment (#…)."))
    if "@" in parts.netloc:
        raise ValidationError(_("The URL must not have a user name or password in it: we send the API key."))
    host = parts.hostname
    if not host:
        raise ValidationError(_("Write a whole URL that starts with https://."))
    is_loopback = _check_host(host)
    if parts.scheme == "http" and not is_loopback:
        raise ValidationError(_("The URL must start with https://: what we send is for your server only."))
    _check_others_read_the_same(url, host)
    return url


def _with_ascii_host(url: str) -> str:
    """Return `url` with its host in ASCII, as browsers and resolvers have it (UTS 46)."""
    if url.isascii():
        return url
    try:
        parts = urlsplit(url)
        host = idna.encode(parts.hostname or "", uts46=True).decode()
    except (ValueError, UnicodeError) as error:
        raise ValidationError(_("This URL has a character that a URL may not have.")) from error
    user, at, after = parts.netloc.rpartition("@")
    port = after[after.rindex(":") :] if ":" in after else ""
    return parts._replace(netloc=f"{user}{at}{host}{port}").geturl()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValidationError(_("This is not a URL.")) from error
    if parts.scheme not in {"http", "https"}:
        raise ValidationError(_("Write a whole URL that starts with https://."))
    if port == 0:
        raise ValidationError(_("This is not a URL."))
    return parts


def _check_host(host: str) -> bool:
    """Say whether the host is this machine itself, on a first look; raises ValidationError for what is not public."""
    if ":" in host:  # in brackets: urlsplit has checked that it is an IPv6 address
        return _check_address(host)
    if host.endswith("."):
        raise ValidationError(_("Write the host name without the dot at its end."))
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _check_address(host)
    if not _HOST_NAME.fullmatch(host):
        raise ValidationError(_("The URL has no proper host name."))
    if labels[-1] == "localhost":
        if not settings.INSECURE_HTTP:
            raise _not_public()
        return True
    if len(labels) == 1 or labels[-1] in {"local", "internal", "lan", "home", "arpa", "onion"}:
        raise _not_public()
    return False


def _check_address(host: str) -> bool:
    try:
        address = ip_address(host)  # four decimal numbers without leading zeros, or IPv6
    except ValueError as error:
        raise ValidationError(_("Write the host’s name, or its IP address in the usual form.")) from error
    if not may_connect_to(address):
        raise _not_public()
    return address.is_loopback


def _check_others_read_the_same(url: str, host: str) -> None:
    """Refuse what the HTTP client would take for another host than the one that was checked."""
    try:
        read = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValidationError(_("This is not a URL.")) from error
    if read.host.lower() not in {host, host.lower()} and read.raw_host.decode("ascii", "replace").lower() != host:
        raise ValidationError(_("The URL has no proper host name."))


def _not_public() -> ValidationError:
    return ValidationError(_("This host is not on the public internet, so we cannot reach it."))
