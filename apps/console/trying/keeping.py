"""Where a run is kept between its steps: in the developer's session, encrypted. One at a time."""

import uuid

from django.http import HttpRequest

from apps.console.wire import Flow

_SESSION_KEY = "try_it"
_PURPOSE = "try-it"


def find_run(request: HttpRequest) -> tuple[uuid.UUID, Flow] | None:
    """Return the run of this session with the application that it is about; None: there is none."""
    kept = request.session.get(_SESSION_KEY)
    return (uuid.UUID(kept["application"]), Flow.unseal(kept["flow"], _PURPOSE)) if kept else None


def keep_run(request: HttpRequest, *, application_id: uuid.UUID, flow: Flow) -> None:
    """Keep the run instead of the one before. Its tokens do not stand in the database in clear, its secret nowhere."""
    request.session[_SESSION_KEY] = {"application": str(application_id), "flow": flow.seal(_PURPOSE)}


def forget_run(request: HttpRequest) -> None:
    request.session.pop(_SESSION_KEY, None)
