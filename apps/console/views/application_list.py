from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.console.permissions import DeveloperView
from apps.developers import selectors
from apps.organisations.middleware import organisation_of


class ApplicationListView(DeveloperView):
    """The applications of the user's teams, and the teams that ask them to join."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        context = {
            "memberships": selectors.memberships_of(self.user),
            "invitations": selectors.invitations_to(self.user),
            "site": organisation_of(request),
            "draft": self.user.drafts.filter(application=None).first(),
        }
        return render(request, "console/application_list.html", context)
