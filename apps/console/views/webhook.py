from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.console.permissions import TeamView


class WebhookView(TeamView):
    """Says that there are no webhooks yet, and what they will do."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return render(request, "console/webhook.html", self.get_context_data())
