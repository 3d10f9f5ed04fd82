"""The spans: of requests, of jobs, of SQL statements and of webhook deliveries.

They are made here by hand, and not by OpenTelemetry's instrumentation of Django, because that puts the whole address
into a span: codes, states and the keys of mailed links. Here only what is named below can get in.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import Any

from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from apps.telemetry import metrics
from apps.telemetry.work import Work

__all__ = ["Span", "Tracing"]

#: Seconds that a receiver of traces gets for a batch. It is sent by a thread of its own, so no request waits for it.
EXPORT_SECONDS = 5.0
#: Seconds that the last batch gets when the process ends.
STOP_SECONDS = 3.0
#: Characters of a statement.
STATEMENT_LENGTH = 1_000


class Tracing:
    """Makes spans and sends them. What cannot be sent is dropped: a trace is not worth a request."""

    def __init__(self, *, endpoint: str, service_name: str) -> None:
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_SECONDS)
        resource = Resource.create({"service.name": service_name})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("countersign")
        self._propagator = TraceContextTextMapPropagator()
        connection_created.connect(self._watch_connection)
        # Not atexit: that is not run where multiprocessing has forked, as it has the web server's processes.
        self._end = Finalize(None, self._stop, exitpriority=10)

    def answer(
        self,
        answer: Callable[[HttpRequest, Work], HttpResponse],
        request: HttpRequest,
        work: Work,
        *,
        trusts_parent: bool,
    ) -> HttpResponse:
        """Trace a request. The trace that the host's own proxy has begun goes on (W3C Trace Context)."""
        carrier = {
            name: request.META[key]
            for name, key in (("traceparent", "HTTP_TRACEPARENT"), ("tracestate", "HTTP_TRACESTATE"))
            if trusts_parent and key in request.META
        }
        method = metrics.one_of(str(request.method), metrics.METHODS)
        with self._span(method, SpanKind.SERVER, context=self._propagator.extract(carrier)) as span:
            work.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            response = answer(request, work)
            span.update_name(f"{method} {work.door}")
            span.set_attributes(
                {
                    "http.request.method": method,
                    "http.route": work.door,
                    "http.response.status_code": response.status_code,
                    "countersign.request_id": work.id,
                }
            )
            if work.outcome:
                span.set_attribute("countersign.outcome", work.outcome)
            if response.status_code >= 500:
                span.set_status(Status(StatusCode.ERROR))
            return response

    @contextmanager
    def job(self, work: Work) -> Iterator[Span]:
        """Trace a job of the queue."""
        with self._span(work.door, SpanKind.CONSUMER, {"countersign.request_id": work.id}) as span:
            work.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            yield span

    @contextmanager
    def step(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[Span]:
        """Trace a step."""
        with self._span(name, SpanKind.CLIENT, attributes) as span:
            yield span

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str | int] | None = None, context: Any = None
    ) -> Iterator[Span]:
        # An exception's words may quote anything, so the span has its class only.
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            context=context,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__name__)
                raise

    def _watch_connection(self, connection: Any, **kwargs: Any) -> None:
        # Django keeps a thread's wrappers while its connections come from the pool and go back.
        if self._trace_statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._trace_statement)

    def _trace_statement(
        self, execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: Mapping[str, Any]
    ) -> Any:
        """Trace a statement as it is before its parameters are filled in; of a request or job only."""
        if not trace.get_current_span().get_span_context().is_valid:
            return execute(sql, parameters, many, context)
        text = sql if isinstance(sql, str) else ""
        facts = {"db.system.name": "postgresql", "db.query.text": text[:STATEMENT_LENGTH]}
        with self._span(text.split(maxsplit=1)[0][:20] if text.strip() else "SQL", SpanKind.CLIENT, facts):
            return execute(sql, parameters, many, context)

    def stop(self) -> None:
        """Send what is left, and trace no more."""
        connection_created.disconnect(self._watch_connection)
        self._end()

    def _stop(self) -> None:
        # In a thread: a receiver that does not answer must not keep the process.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
