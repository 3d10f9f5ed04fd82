"""Which part of a redirect URI differs from what is registered."""

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from apps.activity.models import Difference

# RFC 3986 appendix B. It keeps an empty query apart from none.
_URI = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(?:(.*)@)?(\[[^\]]*\]|[^:]*)(:.*)?", re.DOTALL)
_LOOPBACK_IPS = {"127.0.0.1", "[::1]"}

#: How far apart a difference puts two URIs: another host is most likely another registered URI altogether.
_WEIGHTS = {
    Difference.HOST: 8,
    Difference.PATH: 4,
    Difference.SCHEME: 2,
    Difference.PORT: 2,
    Difference.QUERY: 2,
    Difference.FRAGMENT: 2,
    Difference.OTHER: 2,
    Difference.TRAILING_SLASH: 1,
    Difference.CASE: 1,
}
#: Of several differences the first of these is named: with it right, the next one shows.
_ORDER = (
    Difference.SCHEME,
    Difference.HOST,
    Difference.PORT,
    Difference.PATH,
    Difference.TRAILING_SLASH,
    Difference.QUERY,
    Difference.FRAGMENT,
    Difference.CASE,
    Difference.OTHER,
)


class _Parts(NamedTuple):
    scheme: str
    user: str
    host: str
    port: str
    path: str
    query: str
    fragment: str


def describe_mismatch(presented: str, registered: Iterable[str]) -> tuple[str, Difference]:
    """Return the registered URI that `presented` is closest to, and the part that differs from it.

    `presented` may be any text. The closest is "" when nothing is registered. As for matching itself, the port of a
    loopback IP makes no difference (RFC 8252 7.3).
    """
    described = [(candidate, _differences(presented, candidate)) for candidate in registered]
    if not described:
        return "", Difference.OTHER
    closest, differences = min(
        described,
        key=lambda entry: (sum(_WEIGHTS[part] for part in entry[1]), -_shared_length(presented, entry[0])),
    )
    return closest, next((part for part in _ORDER if part in differences), Difference.OTHER)


def _differences(presented: str, registered: str) -> set[Difference]:
    ours, theirs = _split(registered), _split(presented)
    if ours.scheme == theirs.scheme == "http" and ours.host == theirs.host and ours.host in _LOOPBACK_IPS:
        theirs = theirs._replace(port=ours.port)
    parts = {
        Difference.SCHEME: (theirs.scheme, ours.scheme),
        Difference.HOST: (theirs.host, ours.host),
        Difference.PORT: (theirs.port, ours.port),
        Difference.PATH: (theirs.path, ours.path),
        Difference.QUERY: (theirs.query, ours.query),
        Difference.FRAGMENT: (theirs.fragment, ours.fragment),
        Difference.OTHER: (theirs.user, ours.user),
    }
    return {_name(part, *pair) for part, pair in parts.items() if pair[0] != pair[1]}


def _name(part: Difference, presented: str, registered: str) -> Difference:
    """Name a difference in one part: only the case of letters, only a slash at the end, or the part itself."""
    if presented.lower() == registered.lower():
        return Difference.CASE
    if part == Difference.PATH and presented.rstrip("/") == registered.rstrip("/"):
        return Difference.TRAILING_SLASH
    return part


def _split(uri: str) -> _Parts:
    # Both expressions match every string.
    scheme, authority, path, query, fragment = _URI.fullmatch(uri).groups(default="")  # type: ignore[union-attr]
    user, host, port = _AUTHORITY.fullmatch(authority).groups(default="")  # type: ignore[union-attr]
    return _Parts(scheme, user, host, port, path, query, fragment)


def _shared_length(one: str, other: str) -> int:
    """How many characters two texts share at their beginnings and ends."""
    pairs = (zip(one, other, strict=False), zip(reversed(one), reversed(other), strict=False))
    return sum(1 for pair in pairs for _ in takewhile(lambda characters: characters[0] == characters[1], pair))
