import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

from apps.telemetry import metrics, tracing
from apps.telemetry.addresses import address_of
from apps.telemetry.doors import door_of, door_of_match
from apps.telemetry.shared_folder import fold_ended_processes
from apps.telemetry.work import Work, current_work, make_request_id

log = logging.getLogger("countersign.access")

#: Seconds between two looks at how the pool of connections fares.
POOL_INTERVAL = 1.0


class TelemetryMiddleware:
    """Gives each request an id, and counts, traces and logs it. No SQL; nothing is read of its query or body."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._pool_lock = threading.Lock()
        self._pool_looked_at = 0.0
        # Here and not at Django's start: commands and the process that only starts others need none of it.
        tracing.start()
        fold_ended_processes()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        start = time.perf_counter()
        has_proxy = settings.ALLAUTH_TRUSTED_PROXY_COUNT > 0
        work = Work(make_request_id(request.META.get("HTTP_X_REQUEST_ID") if has_proxy else None))
        token = current_work.set(work)
        try:
            active = tracing.active
            if active is None:
                response = self._answer(request, work)
            else:
                response = active.answer(self._answer, request, work, trusts_parent=has_proxy)
            response.headers["X-Request-ID"] = work.id
            self._note(request, response, work, time.perf_counter() - start)
            return response
        finally:
            current_work.reset(token)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Name the door before the view is called, for what it logs."""
        work = current_work.get()
        if work is not None and request.resolver_match is not None:
            work.door = door_of_match(request.resolver_match)

    def _answer(self, request: HttpRequest, work: Work) -> HttpResponse:
        response = self.get_response(request)
        work.door = work.door or door_of(request)
        return response

    def _note(self, request: HttpRequest, response: HttpResponse, work: Work, seconds: float) -> None:
        method = metrics.one_of(str(request.method), metrics.METHODS)
        metrics.requests.labels(work.door, method, str(response.status_code)).inc()
        metrics.request_seconds.labels(work.door).observe(seconds)
        if work.outcome:
            grant = work.grant and metrics.one_of(work.grant, metrics.GRANTS)
            outcome = metrics.one_of(work.outcome, metrics.OUTCOMES)
            metrics.oauth_requests.labels(work.door, grant, outcome).inc()
        if connection.connection is not None:
            self._note_pool()
        if log.isEnabledFor(logging.INFO):
            milliseconds = round(seconds * 1000, 1)
            facts = {"method": method, "status": response.status_code, "ms": milliseconds}
            if work.outcome:
                facts |= {"grant": work.grant, "outcome": work.outcome}
            if settings.AUDIT_LOG_ADDRESSES:
                facts["address"] = address_of(request)
            log.info("%s %s %s %s ms", method, work.door, response.status_code, milliseconds, extra=facts)

    def _note_pool(self) -> None:
        """Take over what the pool has counted since the last look."""
        now = time.monotonic()
        if now - self._pool_looked_at < POOL_INTERVAL:
            return
        with self._pool_lock:
            if now - self._pool_looked_at < POOL_INTERVAL:
                return
            self._pool_looked_at = now
            pool = connection.pool  # type: ignore[attr-defined]
            counted = pool.pop_stats() if pool is not None else {}
        metrics.pool_waits.inc(counted.get("requests_queued", 0))
        metrics.pool_wait_seconds.inc(counted.get("requests_wait_ms", 0) / 1000)
        metrics.pool_failures.inc(counted.get("requests_errors", 0))
