from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.mixins import PermissionRequiredMixin
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from apps.audit import trail
from apps.audit.export import as_csv, as_json_lines
from apps.audit.forms import SearchForm
from apps.audit.selectors import Place, ShownEvent, find_page, walk


@method_decorator(never_cache, name="dispatch")
class AuditView(PermissionRequiredMixin, View):
    """A page for administrators with the permission to see the trail.

    It shows every organisation's events and every user's, so it is not for reviewers or developers: they have the
    timeline of each application. Who is not logged in is sent to the log-in, anybody else gets a 403.
    """

    permission_required = "audit.view_auditevent"
    http_method_names = ["get", "head"]


class EventListView(AuditView):
    """The search."""

    def get(self, request: HttpRequest) -> HttpResponse:
        form = SearchForm(request.GET)
        context: dict[str, Any] = {"form": form, "is_search": any(_filters(request).values())}
        if not form.is_valid():
            return render(request, "audit/events.html", context, status=400)
        page = find_page(
            form.search,
            older_than=Place.read(request.GET.get("before", "")),
            newer_than=Place.read(request.GET.get("after", "")),
        )
        filters = {name: value for name, value in _filters(request).items() if value}
        context |= {
            "page": page,
            "filters": urlencode(filters),
            "newer": urlencode({**filters, "after": str(page.newer)}) if page.newer else "",
            "older": urlencode({**filters, "before": str(page.older)}) if page.older else "",
        }
        return render(request, "audit/events.html", context)


class ExportView(AuditView):
    """What the search finds, all of it, as a file; that it was exported is an event of its own."""

    formats: dict[str, tuple[str, Callable[[Iterable[ShownEvent]], Iterator[bytes]]]] = {
        "csv": ("text/csv; charset=utf-8", as_csv),
        "jsonl": ("application/jsonl", as_json_lines),
    }

    def get(self, request: HttpRequest, extension: str) -> HttpResponseBase:
        form = SearchForm(request.GET)
        if not form.is_valid():
            return render(request, "audit/events.html", {"form": form, "is_search": True}, status=400)
        content_type, write = self.formats[extension]
        if request.method == "GET":
            # Which fields were searched by, not what for: that may be an address.
            searched = sorted(name for name, value in _filters(request).items() if value)
            trail.record("administrator:audit:exported", actor=request.user, format=extension, searched_by=searched)
        name = f"audit-{timezone.now():%Y%m%d-%H%M%S}.{extension}"
        return StreamingHttpResponse(
            write(walk(form.search)),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _filters(request: HttpRequest) -> dict[str, str]:
    return {name: request.GET.get(name, "").strip() for name in SearchForm.base_fields}
