"""What came of a step, in words and figures for a person."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from apps.console.wire.exchange import Answer
from apps.console.wire.masking import mask


@dataclass(frozen=True)
class Check:
    """Something the client has to make sure of, and whether it held."""

    label: str
    passed: bool


@dataclass(frozen=True)
class Fact:
    """Something the client learned, or told. The note says what it is for."""

    label: str
    value: str
    note: str = ""


@dataclass
class Outcome:
    """What came of a step. `is_expected` is False when the person should look twice."""

    headline: str
    is_expected: bool = True
    checks: list[Check] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


def refused(answer: Answer) -> Outcome:
    """Return the outcome of a step that the server refused."""
    description = str((answer.document or {}).get("error_description", ""))
    facts = [Fact("error_description", description)] if description else []
    return Outcome(
        _("Refused: %(status)s %(error)s.") % {"status": answer.status, "error": answer.error}, False, [], facts
    )


def show_tokens(tokens: dict[str, Any]) -> list[Fact]:
    """Return a token response: the tokens masked, the lifetime readably."""
    return [
        Fact(name, mask(str(value)) if name.endswith("_token") else _show_lifetime(name, value))
        for name, value in tokens.items()
    ]


def show_claims(claims: dict[str, Any]) -> Iterable[Fact]:
    """Return a token's claims; the instants readably."""
    for name, value in claims.items():
        yield Fact(name, show_instant(value) if name in {"iat", "nbf", "exp"} else show_value(value))


def show_instant(seconds: Any) -> str:
    """Return a NumericDate (RFC 7519 section 2) for people, and as it stands in the token."""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%-d %b %Y, %H:%M:%S} UTC ({seconds})"


def show_value(value: Any) -> str:
    """Return a JSON value as a person writes it."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(show_value(item) for item in value) or _("none")
    if isinstance(value, dict):
        return ", ".join(f"{name}: {show_value(item)}" for name, item in value.items())
    return str(value)


def _show_lifetime(name: str, value: Any) -> str:
    if name != "expires_in":
        return show_value(value)
    days, seconds = divmod(int(value), 86_400)
    span = _("%(days)s days") % {"days": days} if days else _("%(hours)s hours") % {"hours": seconds // 3600}
    return f"{value} ({span})"
