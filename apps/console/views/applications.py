from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.console.permissions import TeamView


class ApplicationView(TeamView):
    """The first page of an application's dashboard: where it is in the review, and what was said."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return render(request, "console/application.html", self.get_context_data())
