from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.console.permissions import ReviewedApplicationView


class ReviewView(ReviewedApplicationView):
    """One application as its reviewers see it."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return render(request, "console/review/application.html", {"application": self.application})
