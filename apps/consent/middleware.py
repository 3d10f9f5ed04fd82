from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.consent.pending import admit_redirect, form_targets


class FinalRedirectMiddleware:
    """Lets the forms on the way through an authorization (log-in, second factor, consent) end at the application.

    Only pages are concerned: an answer to a partner's server never touches the session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        if (is_page and settings.SESSION_COOKIE_NAME in request.COOKIES) or getattr(request, "is_authorizing", False):
            admit_redirect(response, form_targets(request))
        return response
