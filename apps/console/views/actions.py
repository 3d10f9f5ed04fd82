from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from apps.console.permissions import TeamView


class ActionView(TeamView):
    """Takes a form of another page. Whoever opens its address in another way gets that page instead.

    That happens: after a log-in in between, and when somebody reloads a form that was refused from the address bar.
    """

    http_method_names = ["get", "head", "post"]
    #: The name of the page that the form is on.
    page: ClassVar[str]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return redirect(self.page, self.application.pk)
