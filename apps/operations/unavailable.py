"""What a request is answered when the database is away: 503 and when to try again, for programs and for people."""

import sys

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve
from django.views import defaults

from apps.members.views import ResourceView
from apps.operations.outage import is_outage, is_transient, outage
from apps.tokens.views import ClientEndpoint, JwksView, MetadataView, RevokeConnectionView

RETRY_AFTER_SECONDS = 5
#: Who is a program: the doors that partners' servers call.
_FOR_PROGRAMS = (ClientEndpoint, RevokeConnectionView, ResourceView, MetadataView, JwksView)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request that failed (Django's `handler500`, called while its error is handled).

    It is asked for errors of views, of middleware and of whatever is looked up when first needed. An outage is
    answered with 503, everything else with 500.
    """
    error = sys.exc_info()[1]
    if is_outage(error):
        outage.count_refusal()
        response = unavailable(request)
        # Django would log each of these requests; the outage is logged once.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response
    if is_transient(error):
        return unavailable(request)
    return defaults.server_error(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refuses to read (`handler400`): 413 when it is too long, else 400."""
    if isinstance(exception, RequestDataTooBig):
        return HttpResponse(render_to_string("413.html"), status=413)
    return defaults.bad_request(request, exception)


def unavailable(request: HttpRequest) -> HttpResponse:
    """Answer that the database is away, without asking it anything.

    Whether a transaction that was being committed is in the database nobody knows at that moment, so nothing is said
    to be lost, and nothing to be kept. The authorization doors never redirect here: whether the address that the
    request names is the application's own is in the database (RFC 6749 4.1.2.1).
    """
    if _is_for_programs(request):
        description = "The server cannot answer at the moment. Try again in a few seconds."
        response: HttpResponse = JsonResponse(
            {"error": "temporarily_unavailable", "error_description": description}, status=503
        )
        # RFC 6749 5.1
        response["Pragma"] = "no-cache"
    else:
        was_sending = request.method not in ("GET", "HEAD")
        response = HttpResponse(render_to_string("503.html", {"was_sending": was_sending}), status=503)

    response["Cache-Control"] = "no-store"
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _is_for_programs(request: HttpRequest) -> bool:
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return False
    # Django's as_view() names the class on the function, REST framework's too.
    view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    return isinstance(view_class, type) and issubclass(view_class, _FOR_PROGRAMS)
