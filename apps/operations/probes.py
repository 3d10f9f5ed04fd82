"""The addresses that machines ask how we are: `/livez`, `/readyz`, `/metrics`. `ProbeMiddleware` serves them."""

import json
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

from apps.operations.gauges import write_gauges
from apps.operations.readiness import inspector
from apps.telemetry.exposition import CONTENT_TYPE, is_allowed, write_figures

Probe = Callable[[HttpRequest], HttpResponse]


def livez(request: HttpRequest) -> HttpResponse:
    """Answer that the process answers. It asks nobody: a database that is away is no reason to kill it."""
    return _json({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """Answer whether requests can be served: 200 or 503, and the state of each part.

    A missing worker is told ("degraded") and no reason to take web servers out of service, unless the one who asks
    says so with `?worker=required`.
    """
    seen = inspector.look()
    status = "ready" if seen.is_complete else "degraded" if seen.can_serve else "unavailable"
    needs_worker = request.META.get("QUERY_STRING") == "worker=required"
    is_ready = seen.is_complete if needs_worker else seen.can_serve
    return _json({"status": status, **seen.as_dict()}, status=200 if is_ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Tell the figures to whoever has the token. Without one in the settings there is no such page."""
    if not settings.METRICS_TOKEN:
        return HttpResponse(status=404)
    if not is_allowed(request.META.get("HTTP_AUTHORIZATION", ""), settings.METRICS_TOKEN):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(write_figures() + write_gauges(), content_type=CONTENT_TYPE)


def _json(document: dict[str, str], *, status: int = 200) -> HttpResponse:
    return HttpResponse(json.dumps(document), status=status, content_type="application/json")


def _reading(probe: Probe) -> Probe:
    """Let it be read only, and kept by nobody."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        response = probe(request)
        response["Cache-Control"] = "no-store"
        # Django would log a refusal each time; what has changed is logged where it is seen.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response

    return answer


#: By path.
PROBES: dict[str, Probe] = {"/livez": _reading(livez), "/readyz": _reading(readyz), "/metrics": _reading(metrics)}
