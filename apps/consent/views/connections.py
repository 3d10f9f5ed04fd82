from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView, View

from apps.accounts.selectors import signed_in_user
from apps.connections.models import Connection, EndReason
from apps.consent.selectors import active_connections, shown_scopes
from apps.organisations.middleware import host_of
from apps.tokens.services import end_connection


@method_decorator(never_cache, name="dispatch")
class ConnectionListView(LoginRequiredMixin, TemplateView):
    """What a user has connected here, with a way to take each back."""

    template_name = "consent/connection_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        connections = active_connections(signed_in_user(self.request), host=host_of(self.request))
        shown = [(connection, shown_scopes(connection.application, connection.scopes)) for connection in connections]
        return super().get_context_data(connections=shown, **kwargs)


@method_decorator(never_cache, name="dispatch")
class ConnectionRemoveView(LoginRequiredMixin, View):
    """Asks once more, then ends a connection."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return render(request, "consent/connection_remove.html", {"connection": self._connection(request)})

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        connection = self._connection(request)
        end_connection(connection=connection, reason=EndReason.USER, actor=signed_in_user(request))
        name = connection.application.name
        messages.success(request, _("%(name)s can no longer use your account.") % {"name": name})
        return redirect("connections")

    def _connection(self, request: HttpRequest) -> Connection:
        return get_object_or_404(
            active_connections(signed_in_user(request), host=host_of(request)), pk=self.kwargs["pk"]
        )
