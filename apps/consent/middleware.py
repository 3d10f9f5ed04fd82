from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.consent.pending import admit_redirect, form_targets


class FinalRedirectMiddleware:
    """Lets the forms on the way through an authorization (log-in, second factor, consent) end at the application.

    Other pages keep the strict policy, and an answer to a partner's server never touches the session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_authorizing = getattr(request, "is_authorizing", False)
        is_account_page = request.path.startswith(reverse("account_login").removesuffix("login/"))
        has_session = settings.SESSION_COOKIE_NAME in request.COOKIES
        # An error page must not look up a session that may be the reason for the error.
        if response.status_code < 500 and (is_authorizing or (is_account_page and has_session)):
            admit_redirect(response, form_targets(request))
        return response
