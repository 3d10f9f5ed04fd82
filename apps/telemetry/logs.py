"""Log lines: as JSON objects for machines or as lines for people, and without what may be secret in either.

A request's path may hold the key of a mailed link, and the words of an exception may quote a row of the database or
what somebody typed. Neither is written: a door's name and the place in the code say enough.
"""

import json
import logging
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from apps.telemetry.work import current_work

#: What our own lines add by `extra=`, and the queue's `job` beside it.
_FIELDS = ("door", "method", "status", "ms", "grant", "outcome", "address", "task")

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class WorkFilter(logging.Filter):
    """Adds to each line which request or job it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        work = current_work.get()
        if work is not None:
            record.request_id, record.trace_id = work.id, work.trace_id
            if not hasattr(record, "door"):
                record.door = work.door
        return True


class PathFilter(logging.Filter):
    """Takes the request's path out of Django's own lines about requests, and says the door's name instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        path = getattr(request, "path", None)
        if path is not None and isinstance(record.args, tuple):
            work = current_work.get()
            door = (work.door if work is not None else "") or "a request"
            # Django escapes what it logs of a request.
            paths = (path, path.encode("unicode_escape").decode("ascii"))
            record.args = tuple(door if argument in paths else argument for argument in record.args)
        return True


def describe_exception(error: BaseException) -> str:
    """Name the exception without its words: of the database and of the system, only what quotes nobody."""
    name = type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: errno {error.errno}"
    diagnosis = getattr(error, "diag", None)
    if diagnosis is None:
        return name
    facts = [getattr(diagnosis, fact, None) for fact in ("sqlstate", "table_name", "constraint_name")]
    return f"{name}: {' '.join(fact for fact in facts if fact)}" if any(facts) else name


def format_exception(error: BaseException) -> str:
    """Return the traceback of the exception and of what caused it: places in the code, no words, no variables."""
    parts: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        frames = traceback.format_list(traceback.extract_tb(following.__traceback__))
        group = following.exceptions if isinstance(following, BaseExceptionGroup) else ()
        inner = "".join(f"\nin the group: {format_exception(one)}" for one in group)
        parts.append("".join(frames) + describe_exception(following) + inner)
        hidden = following.__suppress_context__ and following.__cause__ is None
        following = None if hidden else following.__cause__ or following.__context__
    return "\nwhich came of:\n".join(parts)


class LineFormatter(logging.Formatter):
    """Lines for people. `shows_messages`: exceptions with their words, for development."""

    def __init__(self, format: str, shows_messages: bool = False) -> None:
        super().__init__(format)
        self._shows_messages = shows_messages

    def formatException(self, ei: Any) -> str:  # noqa: N802 (its name in the standard library)
        return super().formatException(ei) if self._shows_messages else _format_raised(ei)


class JsonFormatter(logging.Formatter):
    """One JSON object per line. No text that is logged can make two lines of one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "trace_id", *_FIELDS):
            value = getattr(record, name, None)
            if value not in (None, ""):
                line[name] = value if isinstance(value, int | float) else str(value)
        if record.exc_info:
            line["exception"] = _format_raised(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _format_raised(raised: _Raised) -> str:
    return format_exception(raised[1]) if raised[1] is not None else ""
