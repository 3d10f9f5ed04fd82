"""What a team has sent for review, and what came of it."""

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from apps.console.comparing import Version, compare
from apps.console.permissions import ReviewedTeamView
from apps.developers import selectors

PAGE_SIZE = 25


class SentVersionsView(ReviewedTeamView):
    """All versions, the newest first."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        versions = selectors.sent_versions(self.application).defer("description", "scopes")
        page = Paginator(versions, PAGE_SIZE).get_page(request.GET.get("page"))
        return render(request, "console/sent_versions.html", self.get_context_data(page=page))


class SentVersionView(ReviewedTeamView):
    """One version as it was sent, and what was different in it from the one before."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, *, number: int, **kwargs: object) -> HttpResponse:
        # Two at most: it, and the one before.
        found = list(selectors.sent_versions(self.application).filter(number__lte=number)[:2])
        if not found or found[0].number != number:
            raise Http404
        sent = found[0]
        previous = found[1] if len(found) > 1 else None
        context = self.get_context_data(
            sent=sent,
            previous=previous,
            **compare(
                Version(sent.description, sent.scopes),
                Version(previous.description, previous.scopes) if previous else None,
            ),
        )
        return render(request, "console/sent_version.html", context)
