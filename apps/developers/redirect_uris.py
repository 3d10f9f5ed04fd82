"""Which redirect URIs may be registered, and which presented one matches a registered one."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

# RFC 8252 7.3 frees the port of the loopback IP literals, and of nothing else.
_LOOPBACK_IP = re.compile(r"^(http://(?:127\.0\.0\.1|\[::1\]))(?::\d{1,5})?((?:[/?].*)?)$", re.DOTALL)
_UNRESERVED_OR_RESERVED = re.compile(r"^[A-Za-z0-9\-._~:/?\[\]@!$&'()+,;=%*]+$")
_PRIVATE_USE_SCHEME = re.compile(r"^[a-z][a-z0-9+\-]*(\.[a-z0-9+\-]+)+$")
# Schemes that a browser runs or opens instead of handing them to an app.
_DANGEROUS_SCHEMES = {"javascript", "data", "file", "vbscript", "about", "blob", "filesystem", "ftp", "ws", "wss"}


def is_loopback_host(host: str | None) -> bool:
    """Say whether `host` (no port) always means the user's own machine."""
    return host in {"localhost", "127.0.0.1", "::1"} or bool(host and host.endswith(".localhost"))


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Compare by simple string comparison (RFC 9700 2.1); only a loopback IP's port may differ (RFC 8252 7.3)."""
    presented = _LOOPBACK_IP.match(uri)
    for candidate in registered:
        if uri == candidate:
            return True
        loopback = _LOOPBACK_IP.match(candidate)
        if presented and loopback and presented.groups() == loopback.groups():
            return True
    return False


def validate_redirect_uri(uri: str, *, is_public: bool) -> None:
    """Check one redirect URI before it is registered (CONTRACT section 9).

    Raises ValidationError with words for the developer: what is wrong and what to write instead.
    """
    if not _UNRESERVED_OR_RESERVED.match(uri):
        raise ValidationError(_("“%(uri)s” has a character that a URL may not have."), params={"uri": uri})
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValidationError(_("“%(uri)s” is not a URL."), params={"uri": uri}) from error
    scheme = parts.scheme.lower()
    if not scheme or scheme in _DANGEROUS_SCHEMES:
        raise ValidationError(
            _("“%(uri)s” must be a whole URL that starts with https://."), params={"uri": uri}
        )
    if "#" in uri:
        raise ValidationError(_("“%(uri)s” must not have a fragment (#…)."), params={"uri": uri})
    if "*" in uri:
        raise ValidationError(_("“%(uri)s” must not have a wildcard (*)."), params={"uri": uri})
    if "@" in parts.netloc:
        raise ValidationError(_("“%(uri)s” must not have a user name in it."), params={"uri": uri})
    if scheme in {"http", "https"}:
        if not host:
            raise ValidationError(_("“%(uri)s” has no host."), params={"uri": uri})
        if scheme == "http" and not is_loopback_host(host):
            raise ValidationError(
                _("“%(uri)s” must start with https://. Plain http is for your own machine only."),
                params={"uri": uri},
            )
    elif not is_public:
        raise ValidationError(
            _("“%(uri)s”: a scheme of your own is for public clients (apps on a phone or desktop) only."),
            params={"uri": uri},
        )
    elif not _PRIVATE_USE_SCHEME.match(scheme):
        # RFC 8252 7.1: a domain name under one's control, reversed.
        raise ValidationError(
            _("“%(uri)s”: use a scheme made of your domain, e.g. com.example.app:/callback."),
            params={"uri": uri},
        )
