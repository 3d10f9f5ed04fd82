"""What the value of a data point may be, and how it is written in a cell of a table."""

import json
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.utils.translation import gettext_lazy as _

from apps.accounts.data_points import DataPoint
from apps.organisations.text import is_storable

MAX_TEXT_LENGTH = 2000
MAX_ENTRIES = 50
_is_url = URLValidator(schemes=["http", "https"])


def check_value(point: DataPoint, value: Any) -> Any:
    """Return the JSON value if it is one of the data point's kind. Raises ValidationError that says what to write."""
    return _CHECKS[point.kind](value)


def read_value(point: DataPoint, text: str) -> Any:
    """Return the JSON value that a cell means, checked. Raises ValidationError.

    Texts are separated by ";", links are written as "name=URL" and separated by ";"; JSON is read as well.
    """
    return check_value(point, _READERS.get(point.kind, str)(text.strip()))


def write_value(point: DataPoint, value: Any) -> str:
    """Return `value` as `read_value` reads it."""
    if point.kind in {"texts", "links"}:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _check_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValidationError(_("must be a text"))
    if not value.strip():
        raise ValidationError(_("must not be empty"))
    if len(value) > MAX_TEXT_LENGTH:
        raise ValidationError(_("must have at most %(limit)s characters"), params={"limit": MAX_TEXT_LENGTH})
    if not is_storable(value):
        raise ValidationError(_("has a character that cannot be stored"))
    return value


def _check_date(value: Any) -> Any:
    if not isinstance(value, str) or read_date(value) is None:
        raise ValidationError(_("must be a day, written as YYYY-MM-DD"))
    return value


def _check_number(value: Any) -> Any:
    # 15 digits: what every reader of JSON keeps exactly.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**15:
        raise ValidationError(_("must be a number"))
    return value


def _check_flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValidationError(_("must be yes or no"))
    return value


def _check_texts(value: Any) -> Any:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ENTRIES:
        raise ValidationError(_("must be a list of texts"))
    for entry in value:
        _check_text(entry)
    return value


def _check_links(value: Any) -> Any:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ENTRIES:
        raise ValidationError(_("must be a list of links"))
    for entry in value:
        if not isinstance(entry, dict) or set(entry) != {"site", "url"}:
            raise ValidationError(_("must be links, each with site and url"))
        _check_text(entry["site"])
        _check_text(entry["url"])
        try:
            _is_url(entry["url"])
        except ValidationError as error:
            raise ValidationError(_("has a link that is no web address")) from error
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "text": _check_text,
    "date": _check_date,
    "number": _check_number,
    "flag": _check_flag,
    "texts": _check_texts,
    "links": _check_links,
}


def read_date(text: str) -> date | None:
    """Return the day that is written as YYYY-MM-DD, or None."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _read_number(text: str) -> Any:
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return int(text) if len(text) < 20 else text
    return float(text) if re.fullmatch(r"[+-]?\d+\.\d+", text, re.ASCII) else text


def _read_flag(text: str) -> Any:
    return {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(text.lower())


def _read_texts(text: str) -> Any:
    if text.startswith("["):
        return _read_json(text)
    return [part.strip() for part in text.split(";") if part.strip()]


def _read_links(text: str) -> Any:
    if text.startswith("["):
        return _read_json(text)
    pairs = [part.strip().partition("=") for part in text.split(";") if part.strip()]
    return [{"site": site.strip(), "url": url.strip()} for site, _is, url in pairs]


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError(_("starts like JSON but is not")) from error


_READERS: dict[str, Callable[[str], Any]] = {
    "number": _read_number,
    "flag": _read_flag,
    "texts": _read_texts,
    "links": _read_links,
}
