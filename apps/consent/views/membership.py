import uuid
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View
from oauth2_provider.http import OAuth2ResponseRedirect

from apps.accounts.selectors import signed_in_user
from apps.connections.models import Connection, EndReason
from apps.consent.forms import MembershipForm
from apps.consent.pending import admit_redirect, form_target
from apps.consent.selectors import active_connections, shown_scopes
from apps.organisations.middleware import host_of
from apps.tokens.backend import append_query
from apps.tokens.parameters import read_query
from apps.tokens.services import change_scopes, end_connection


@method_decorator(never_cache, name="dispatch")
class MembershipView(LoginRequiredMixin, View):
    """The page a partner sends a user to, to change or remove their connection (CONTRACT section 7)."""

    http_method_names = ["get", "head", "post"]
    connection: Connection
    redirect_uri: str

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if str(request.method).lower() not in self.http_method_names:
            return self.http_method_not_allowed(request)
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        parameters, malformed = read_query(request, known=("receipthero_id", "redirect_uri"))
        if "receipthero_id" in malformed or "receipthero_id" not in parameters:
            return self._refuse("receipthero-id")
        if "redirect_uri" in malformed:
            return self._refuse("redirect-uri")
        self.connection = self._find_connection(parameters["receipthero_id"])
        self.redirect_uri = parameters.get("redirect_uri", "")
        if not self.connection.application.redirect_uri_allowed(self.redirect_uri):
            return self._refuse("redirect-uri")
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._show(MembershipForm(scopes=self._scopes))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = MembershipForm(request.POST, scopes=self._scopes)
        if not form.is_valid():
            return self._show(form, status=400)
        action, user = form.cleaned_data["action"], signed_in_user(request)
        if action == "remove":
            return self._show(form, template="consent/membership_remove.html")
        if action == "confirm-remove":
            end_connection(connection=self.connection, reason=EndReason.USER, actor=user)
            return self._leave("removed")
        scopes = form.cleaned_data["scopes"]
        is_changed = action == "save" and change_scopes(connection=self.connection, scopes=scopes, actor=user)
        return self._leave("modified" if is_changed else "cancelled")

    @property
    def _scopes(self) -> list[str]:
        return list(self.connection.application.scopes)

    def _find_connection(self, receipthero_id: str) -> Connection:
        """Return the user's own active connection. Raises Http404, the same for every other case."""
        try:
            connection_id = uuid.UUID(receipthero_id)
        except ValueError as error:
            raise Http404 from error
        mine = active_connections(signed_in_user(self.request), host=host_of(self.request))
        connection = mine.filter(pk=connection_id).first()
        if connection is None:
            raise Http404
        return connection

    def _show(
        self, form: MembershipForm, *, template: str = "consent/membership.html", status: int = 200
    ) -> HttpResponse:
        granted = form.cleaned_data["scopes"] if form.is_bound and form.is_valid() else self.connection.scopes
        context = {
            "connection": self.connection,
            "application": self.connection.application,
            "form": form,
            "scope_groups": shown_scopes(self.connection.application, self._scopes, granted=granted),
            "destination": urlsplit(self.redirect_uri).netloc or self.redirect_uri,
        }
        response = render(self.request, template, context, status=status)
        admit_redirect(response, [form_target(self.redirect_uri)])
        return response

    def _leave(self, status: str) -> HttpResponse:
        answer = [("status", status), ("receipthero_id", str(self.connection.pk))]
        address = append_query(self.redirect_uri, answer)
        return OAuth2ResponseRedirect(address, allowed_schemes=[urlsplit(address).scheme])

    def _refuse(self, problem: str) -> HttpResponse:
        return render(self.request, "consent/membership_refused.html", {"problem": problem}, status=400)
