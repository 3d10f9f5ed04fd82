"""Where an address leads, so that a person sees whose it is."""

import unicodedata
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from apps.developers.redirect_uris import is_loopback_host


@dataclass(frozen=True)
class Destination:
    """An address and its host, the way programs read it and the way people do."""

    address: str
    kind: Literal["web", "loopback", "scheme"]
    #: As it goes over the wire, in ASCII (RFC 5890: A-labels); for a scheme of its own the scheme.
    host: str
    #: As a browser may show it, if that is something else: letters of other alphabets, that may look like ours.
    shown_host: str = ""
    #: The alphabets that the host mixes within one name, e.g. ("Cyrillic", "Latin").
    mixed_alphabets: tuple[str, ...] = ()

    @property
    def is_link(self) -> bool:
        """Say whether it can be opened in a browser without handing anything to a program."""
        return self.kind == "web"


def find_destination(address: str) -> Destination:
    """Return where `address` leads. Never raises: what cannot be read is shown as it is."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return Destination(address, "scheme", address)
    scheme = parts.scheme.lower()
    if scheme not in {"http", "https"}:
        return Destination(address, "scheme", f"{scheme}:")
    if is_loopback_host(host):
        return Destination(address, "loopback", host)
    wire, shown = _to_ascii(host), _to_unicode(host)
    return Destination(
        address,
        "web",
        wire,
        shown_host="" if shown == wire else shown,
        mixed_alphabets=_mixed_alphabets(shown),
    )


def _to_ascii(host: str) -> str:
    return ".".join(_convert(label, encode=True) for label in host.split("."))


def _to_unicode(host: str) -> str:
    return ".".join(_convert(label, encode=False) for label in host.split("."))


def _convert(label: str, *, encode: bool) -> str:
    try:
        if encode:
            return label if label.isascii() else label.encode("idna").decode("ascii")
        return label.encode("ascii").decode("idna") if label.startswith("xn--") else label
    except UnicodeError:
        return label


def _mixed_alphabets(host: str) -> tuple[str, ...]:
    for label in host.split("."):
        alphabets = {
            # The first word of a letter's name is its alphabet: "CYRILLIC SMALL LETTER A".
            unicodedata.name(character, "UNKNOWN").split()[0].capitalize()
            for character in label
            if character.isalpha()
        }
        if len(alphabets) > 1:
            return tuple(sorted(alphabets))
    return ()
