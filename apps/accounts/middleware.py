from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth import logout
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from apps.accounts.models import User

#: The triggers of migration 0004 give it as the constraint that was violated.
_CONSTRAINT = "closed_account_stays_closed"


class ClosedAccountMiddleware:
    """Answers whoever has come too late: while they wrote something about a user, that account was closed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Lead away from the page, with a word of what has happened: nothing has been written."""
        if not isinstance(exception, IntegrityError) or not _is_about_closed_account(exception):
            return None
        if request.user.is_authenticated and User.objects.filter(pk=request.user.pk, closed_at__isnull=False).exists():
            logout(request)
            messages.error(request, _("Your account has been closed meanwhile, so nothing was changed."))
            return redirect("home")
        messages.error(request, _("This account has been closed meanwhile, so nothing was changed."))
        # Where it was sent from; what was only looked at would lead here again.
        return redirect("home" if request.method == "GET" else request.path)


def _is_about_closed_account(error: IntegrityError) -> bool:
    diagnosis = getattr(error.__cause__, "diag", None)
    return getattr(diagnosis, "constraint_name", None) == _CONSTRAINT
