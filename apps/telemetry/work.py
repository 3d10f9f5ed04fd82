"""What is being done just now: a request that is answered, or a job of the queue. Log lines and traces refer to it."""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

#: What a proxy may call a request. Nothing in it could break a log line, a page or a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Work:
    """One request or one job, and what is known of it so far."""

    #: What a person can quote. Of a job: "job-" and its number in the queue.
    id: str
    #: The name of the request's address, or of the job's task; empty until it is known.
    door: str = ""
    #: What an OAuth request asked for and what it got; empty if it is none.
    grant: str = ""
    outcome: str = ""
    #: 32 hexadecimal digits, if it is traced.
    trace_id: str = ""


current_work: ContextVar[Work | None] = ContextVar("current_work", default=None)


def current_request_id() -> str:
    """Return the id of the request or job that is being worked on; empty outside of both."""
    work = current_work.get()
    return work.id if work is not None else ""


def note_outcome(outcome: str, *, grant: str = "") -> None:
    """Say what came of the OAuth request that is being answered: "ok", or an error's code.

    Both end in the access log and, if they are known words, in the metrics; neither may be a client's own text.
    """
    work = current_work.get()
    if work is not None:
        work.outcome, work.grant = outcome, grant


def make_request_id(presented: str | None) -> str:
    """Return the id that the host's own proxy presents, if it is a proper one; a new one otherwise."""
    if presented is not None and _REQUEST_ID.fullmatch(presented):
        return presented
    return secrets.token_hex(8)
