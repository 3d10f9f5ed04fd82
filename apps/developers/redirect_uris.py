"""Which redirect URIs may be registered, and which presented one matches a registered one."""

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

MAX_LENGTH = 2000
# RFC 8252 7.3 frees the port of the loopback IP literals, and of nothing else.
_LOOPBACK_IP = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::\d{1,5})?((?:[/?].*)?)", re.DOTALL)
# RFC 3986: unreserved and reserved characters, and "%" with its two hexadecimal digits.
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()+,;=*]|%[0-9A-Fa-f]{2})+")
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
# What browsers read as an IPv4 address, in decimal, octal or hexadecimal (WHATWG URL 3.5, "ends in a number").
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
# urlsplit checks what stands in the brackets; neither a zone (RFC 6874) nor an address of the future is for us.
_IPV6_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")
_PRIVATE_USE_SCHEME = re.compile(r"[a-z][a-z0-9+\-]*(\.[a-z0-9+\-]+)+")
#: What the answer adds (RFC 6749 4.1.2, RFC 9207): one that is already there would be taken for ours.
_RESPONSE_PARAMETERS = {"code", "state", "iss", "error", "error_description", "error_uri"}


def is_loopback_host(host: str | None) -> bool:
    """Say whether `host` (no port) always means the user's own machine."""
    return host in {"localhost", "127.0.0.1", "::1"} or bool(host and host.endswith(".localhost"))


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Compare the strings (RFC 9700 2.1); only the port of a loopback IP may differ (RFC 8252 7.3)."""
    presented = _LOOPBACK_IP.fullmatch(uri)
    for candidate in registered:
        if uri == candidate:
            return True
        loopback = _LOOPBACK_IP.fullmatch(candidate)
        if presented and loopback and presented.groups() == loopback.groups():
            return True
    return False


def validate_redirect_uri(uri: str, *, is_public: bool) -> None:
    """Check one redirect URI before it is registered (CONTRACT section 9).

    Raises ValidationError with words for the developer: what is wrong and what to write instead.
    """
    parts = _split(uri)
    scheme = parts.scheme.lower()
    if scheme in {"http", "https"}:
        _check_web_address(uri, parts)
    elif is_public and parts.netloc and not parts.path and _PRIVATE_USE_SCHEME.fullmatch(scheme):
        # What follows two slashes is a host (RFC 3986 3.2), which a scheme of an app has none of (RFC 8252 7.1).
        raise ValidationError(
            _("“%(uri)s”: write it with one slash: %(better)s"),
            params={"uri": uri, "better": uri.replace("://", ":/", 1)},
        )
    elif "." not in scheme or not parts.path.startswith("/"):
        # No scheme ("www.example.com/callback"), a forgotten one ("example.com:8080/callback"), or one that a
        # browser runs or opens itself ("javascript:", "data:", "file:").
        raise _refusal(_("“%(uri)s” must be a whole URL that starts with https://."), uri)
    elif not is_public:
        raise _refusal(
            _("“%(uri)s”: a scheme of your own is for public clients (apps on a phone or desktop) only."), uri
        )
    elif not _PRIVATE_USE_SCHEME.fullmatch(scheme):
        # RFC 8252 7.1: a domain name under one's control, reversed.
        raise _refusal(_("“%(uri)s”: use a scheme made of your domain, e.g. com.example.app:/callback."), uri)
    names = {name for name, _value in parse_qsl(parts.query, keep_blank_values=True)}
    if names & _RESPONSE_PARAMETERS:
        raise ValidationError(
            _("“%(uri)s” must not have “%(name)s” in its query: the answer adds that."),
            params={"uri": uri, "name": min(names & _RESPONSE_PARAMETERS)},
        )


def _split(uri: str) -> SplitResult:
    if len(uri) > MAX_LENGTH:
        raise ValidationError(
            _("“%(uri)s…” is too long: use at most %(length)s characters."),
            params={"uri": uri[:60], "length": MAX_LENGTH},
        )
    if not _URI_CHARACTERS.fullmatch(uri):
        raise _refusal(_("“%(uri)s” has a character that a URL may not have."), uri)
    if "#" in uri:
        raise _refusal(_("“%(uri)s” must not have a fragment (#…)."), uri)
    if "*" in uri:
        raise _refusal(_("“%(uri)s” must not have a wildcard (*)."), uri)
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise _refusal(_("“%(uri)s” is not a URL."), uri) from error
    if port == 0:
        raise _refusal(_("“%(uri)s” is not a URL."), uri)
    if "@" in parts.netloc:
        raise _refusal(_("“%(uri)s” must not have a user name in it."), uri)
    if any(character < " " or character == "\x7f" for character in _decode(uri)):
        raise _refusal(_("“%(uri)s” must not have a line break or a control character in it."), uri)
    _check_path(uri, parts.path)
    return parts


def _check_path(uri: str, path: str) -> None:
    """Refuse what servers and proxies read as another path than the one that is registered (RFC 3986 6.2.2)."""
    decoded = _decode(path)
    if "\\" in decoded or decoded.count("/") != path.count("/"):
        raise _refusal(_("“%(uri)s” must not have an encoded slash or backslash (%%2F, %%5C) in its path."), uri)
    # What follows a ";" is a parameter of the segment (RFC 3986 3.3): some servers take "..;" for "..".
    if {segment.partition(";")[0] for segment in decoded.split("/")} & {".", ".."}:
        raise _refusal(_("“%(uri)s” must not have “.” or “..” as a part of its path: write the path itself."), uri)
    if "\ufffd" in decoded:
        raise _refusal(_("“%(uri)s” has a character that a URL may not have."), uri)


def _decode(text: str) -> str:
    """Return `text` without percent-encoding, however often it was encoded."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return text


def _check_web_address(uri: str, parts: SplitResult) -> None:
    host = parts.hostname
    if not host:
        raise _refusal(_("“%(uri)s” has no host."), uri)
    # Not every Python minds what stands behind the brackets of an IPv6 address: "[::1].evil.example".
    is_proper = _IPV6_HOST.fullmatch(parts.netloc) if "[" in parts.netloc else _is_host_name(host)
    if not is_proper or parts.netloc.endswith(":"):
        raise _refusal(_("“%(uri)s” has no proper host name."), uri)
    if parts.scheme.lower() == "http" and not is_loopback_host(host):
        raise _refusal(_("“%(uri)s” must start with https://. Plain http is for your own machine only."), uri)


def _is_host_name(host: str) -> bool:
    """Say whether `host` is a name, or an IPv4 address in the one way that everybody reads alike."""
    if _ENDS_IN_A_NUMBER.fullmatch(host):
        try:
            IPv4Address(host)
        except AddressValueError:
            return False
    return bool(_HOST_NAME.fullmatch(host))


def _refusal(message: object, uri: str) -> ValidationError:
    return ValidationError(message, params={"uri": uri})  # type: ignore[arg-type]
