"""The trail as a file, row by row, so that neither side has to hold all of it."""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

from apps.audit.selectors import ShownEvent

COLUMNS = (
    "id",
    "happened_at",
    "tag",
    "what",
    "user_id",
    "name",
    "address",
    "user_agent",
    "about_user_id",
    "about_name",
    "application_id",
    "application",
    "organisation_id",
    "organisation",
    "connection_id",
    "details",
    "seal",
)
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class _Echo:
    """A file for csv.writer that gives each line back."""

    def write(self, line: str) -> str:
        return line


def as_csv(events: Iterable[ShownEvent]) -> Iterator[bytes]:
    """Yield the lines of a CSV file (RFC 4180) that a spreadsheet takes for UTF-8 text, and for no formulas."""
    writer = csv.writer(_Echo())
    yield b"\xef\xbb\xbf" + writer.writerow(COLUMNS).encode()
    for shown in events:
        row = _row(shown)
        row["details"] = json.dumps(row["details"], sort_keys=True, ensure_ascii=False)
        yield writer.writerow([_harmless(row[column]) for column in COLUMNS]).encode()


def as_json_lines(events: Iterable[ShownEvent]) -> Iterator[bytes]:
    """Yield one JSON object per line."""
    for shown in events:
        yield json.dumps(_row(shown), ensure_ascii=False).encode() + b"\n"


def _row(shown: ShownEvent) -> dict[str, Any]:
    event, actor, about = shown.event, shown.actor, shown.about
    return {
        "id": event.pk,
        "happened_at": event.happened_at.isoformat(),
        "tag": event.tag,
        "what": shown.sentence,
        "user_id": _text(actor and actor.user_id),
        "name": actor.name if actor else "",
        "address": actor.address if actor else "",
        "user_agent": actor.user_agent if actor else "",
        "about_user_id": _text(about and about.user_id),
        "about_name": about.name if about else "",
        "application_id": _text(event.application_id),
        "application": shown.application_name,
        "organisation_id": _text(event.organisation_id),
        "organisation": shown.organisation_name,
        "connection_id": _text(event.connection_id),
        "details": event.details,
        "seal": shown.seal,
    }


def _text(value: Any) -> str:
    return str(value) if value else ""


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
