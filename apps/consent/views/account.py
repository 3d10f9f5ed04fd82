from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView, View

from apps.accounts.selectors import signed_in_user
from apps.audit import trail
from apps.connections.models import Connection
from apps.consent.account_data import write_account_data
from apps.consent.selectors import recent_sign_ins
from apps.consent.services import close_account
from apps.developers.errors import RefusedError
from apps.developers.selectors import applications_owned_alone
from apps.organisations.addresses import site_address
from apps.organisations.middleware import organisation_of


@method_decorator(never_cache, name="dispatch")
class AccountView(LoginRequiredMixin, TemplateView):
    """Who has logged in of late, and the ways to one's data and out."""

    template_name = "account/overview.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(sign_ins=recent_sign_ins(signed_in_user(self.request)), **kwargs)


class ProvedView(LoginRequiredMixin, View):
    """A page for somebody who has just shown once more that it is them: a browser left open is not enough."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        try:
            response: HttpResponseBase = reauthentication_required(super().dispatch)(request, *args, **kwargs)
        except ReauthenticationRequired:
            if request.method == "GET":
                raise
            # The page asks, and shows again what was to be confirmed.
            return redirect(request.path)
        return response


@method_decorator(never_cache, name="dispatch")
class AccountDataView(ProvedView):
    """All that is kept about the user, as a file."""

    http_method_names = ["get", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return render(request, "account/data.html")

    def post(self, request: HttpRequest) -> StreamingHttpResponse:
        user = signed_in_user(request)
        trail.record("user:account:downloaded", actor=user, organisation=organisation_of(request))
        name = f"account-{timezone.now():%Y%m%d}.json"
        return StreamingHttpResponse(
            write_account_data(user),
            content_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


@method_decorator(never_cache, name="dispatch")
class AccountCloseView(ProvedView):
    """Says what closing the account does, and does it."""

    http_method_names = ["get", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._show()

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            close_account(user=signed_in_user(request), organisation=organisation_of(request))
        except RefusedError as error:
            return self._show(refusal=str(error.message), status=409)
        logout(request)
        messages.success(request, _("Your account is closed. We have sent you a last mail that says so."))
        return redirect("home")

    def _show(self, *, refusal: str = "", status: int = 200) -> HttpResponse:
        user = signed_in_user(self.request)
        connections = Connection.objects.active().filter(user=user).select_related("application")
        context = {
            "refusal": refusal,
            "connections": connections.order_by("application__name", "pk"),
            "owned_alone": [
                {
                    "application": application,
                    "team": site_address(application.organisation, reverse("developer:team", args=[application.pk])),
                }
                for application in applications_owned_alone(user)
            ],
        }
        return render(self.request, "account/close.html", context, status=status)
