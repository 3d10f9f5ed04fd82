"""What a check answers with."""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Level(enum.IntEnum):
    """How bad it is; also the command's exit status."""

    OK = 0
    WARNING = 1
    PROBLEM = 2


@dataclass(frozen=True)
class Finding:
    """One line: how it is, and what to do unless it is well."""

    level: Level
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What is examined: this deployment, and if they are named its public address and whom to send a mail.

    `connect` is host:port of the proxy, for where the public name leads elsewhere.
    """

    url: str = ""
    mail_to: str = ""
    connect: str = ""


@dataclass(frozen=True)
class Check:
    """One thing to look at. It may find several things, and finds at least one.

    One that `waits` for somebody else's server is left to itself when it takes too long.
    """

    name: str
    examine: Callable[[Patient], Iterator[Finding]]
    needs_database: bool = False
    waits: bool = False


def ok(what: str) -> Finding:
    return Finding(Level.OK, what)


def warning(what: str, advice: str) -> Finding:
    return Finding(Level.WARNING, what, advice)


def problem(what: str, advice: str) -> Finding:
    return Finding(Level.PROBLEM, what, advice)


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Return the number with its noun: "1 job", "2 jobs"."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def span(seconds: float) -> str:
    """Return a length of time in the unit that one would say it in."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return plural(round(seconds / length), unit)
    return plural(round(seconds), "second")
