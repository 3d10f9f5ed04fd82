"""Traces, if the host wants them. What needs OpenTelemetry is in `spans.py`, which is imported only then."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from apps.telemetry.spans import Span, Tracing

#: What makes the spans of this process; None while there are none.
active: "Tracing | None" = None


def start() -> None:
    """Begin to trace if the settings name a receiver. Called by what serves and what works, once or more."""
    global active
    if settings.TRACES_ENDPOINT and active is None:
        from apps.telemetry.spans import Tracing

        active = Tracing(endpoint=settings.TRACES_ENDPOINT, service_name=settings.TRACES_SERVICE_NAME)


@contextmanager
def span(name: str, **attributes: str | int) -> "Iterator[Span | None]":
    """Trace a step of the work under way. Attributes are facts of our own: no text that somebody sent, no address."""
    if active is None:
        yield None
    else:
        with active.step(name, attributes) as made:
            yield made
