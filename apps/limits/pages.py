"""What a person is shown who has tried something too often."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.limits.refusals import Refusal

#: Parts of field names whose values are never written into a page.
_SECRETS = ("password", "secret", "code", "credential", "token", "key")
#: Characters: what is longer than any form of ours is not carried along.
_MOST_KEPT = 100_000


def refuse(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Answer 429 with a page that says when to try again, and has what was typed in it to send once more."""
    kept = _kept_fields(request)
    context = {
        "refusal": refusal,
        "kept": kept,
        "has_pictures": kept is not None and bool(request.FILES),
        "path": request.get_full_path(),
        "is_get": request.method == "GET",
    }
    response = render(request, "429.html", context, status=HTTPStatus.TOO_MANY_REQUESTS)
    return with_retry_after(response, refusal)


def with_retry_after(response: HttpResponse, refusal: Refusal) -> HttpResponse:
    """Say that the response is a refusal: its status, when to try again (RFC 9110 10.2.3), and not to be stored."""
    response.status_code = HTTPStatus.TOO_MANY_REQUESTS
    response["Retry-After"] = str(refusal.seconds)
    response["Cache-Control"] = "no-store"
    return response


def _kept_fields(request: HttpRequest) -> list[tuple[str, str]] | None:
    """Return what was typed, to be sent again; None where there is nothing to send, or a secret would be missing."""
    if request.method != "POST":
        return None
    fields = [
        (name, str(value)) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken" for value in values
    ]
    if any(part in name.lower() for name, _value in fields for part in _SECRETS):
        return None
    if sum(len(name) + len(value) for name, value in fields) > _MOST_KEPT:
        return None
    return fields
