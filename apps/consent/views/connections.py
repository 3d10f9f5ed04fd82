from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView, View

from apps.accounts.selectors import signed_in_user
from apps.connections.models import Connection, EndReason
from apps.consent.forms import ScopesForm
from apps.consent.selectors import active_connections, ended_connections, other_sites, shown_scopes
from apps.organisations.addresses import site_address
from apps.organisations.middleware import host_of, organisation_of
from apps.tokens.services import change_scopes, end_connection, end_connections

PAGE_SIZE = 25
#: Of those that have ended, the last so many are shown.
MOST_ENDED = 10


def _own_connections(request: HttpRequest) -> QuerySet[Connection]:
    return active_connections(signed_in_user(request), host=host_of(request))


def _effective(connection: Connection) -> set[str]:
    """Return what is left of what the user granted, now that the application may have given up some of it."""
    return set(connection.scopes) & set(connection.application.scopes)


@method_decorator(never_cache, name="dispatch")
class ConnectionListView(LoginRequiredMixin, TemplateView):
    """What a user has connected here, with a way to take each back."""

    template_name = "consent/connection_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        connections = _own_connections(self.request).prefetch_related("application__requested_scopes")
        page = Paginator(connections, PAGE_SIZE).get_page(self.request.GET.get("page"))
        shown = [(connection, shown_scopes(connection.application, _effective(connection))) for connection in page]
        ended = ended_connections(signed_in_user(self.request), host=host_of(self.request))
        others = other_sites(signed_in_user(self.request), organisation=organisation_of(self.request))
        return super().get_context_data(
            page=page,
            connections=shown,
            ended=ended[:MOST_ENDED],
            other_sites=[(site.name, site_address(site, self.request.path)) for site in others],
            **kwargs,
        )


@method_decorator(never_cache, name="dispatch")
class ConnectionView(LoginRequiredMixin, View):
    """One connection: what it may do, as switches."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        connection = get_object_or_404(_own_connections(request), pk=kwargs["pk"])
        return self._show(connection, ScopesForm(scopes=list(connection.application.scopes)), connection.scopes)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        connection = get_object_or_404(_own_connections(request), pk=kwargs["pk"])
        form = ScopesForm(request.POST, scopes=list(connection.application.scopes))
        if not form.is_valid():
            return self._show(connection, form, request.POST.getlist("scopes"), status=400)
        scopes, name = form.cleaned_data["scopes"], connection.application.name
        if change_scopes(connection=connection, scopes=scopes, actor=signed_in_user(request)):
            messages.success(request, _("Saved. %(name)s may do what you chose, from now on.") % {"name": name})
        else:
            messages.info(request, _("Nothing was changed for %(name)s.") % {"name": name})
        return redirect("connections")

    def _show(
        self, connection: Connection, form: ScopesForm, switched_on: list[str], *, status: int = 200
    ) -> HttpResponse:
        application = connection.application
        context = {
            "connection": connection,
            "application": application,
            "form": form,
            "scope_groups": shown_scopes(application, application.scopes, granted=switched_on),
        }
        return render(self.request, "consent/connection.html", context, status=status)


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
        return get_object_or_404(_own_connections(request), pk=self.kwargs["pk"])


@method_decorator(never_cache, name="dispatch")
class ConnectionRemoveAllView(LoginRequiredMixin, View):
    """Asks once more, then ends every connection at this organisation."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        connections = list(_own_connections(request))
        if not connections:
            return redirect("connections")
        return render(request, "consent/connection_remove_all.html", {"connections": connections})

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        user = signed_in_user(request)
        count = end_connections(connections=_own_connections(request), reason=EndReason.USER, actor=user)
        if count:
            said = ngettext(
                "%(count)d application can no longer use your account.",
                "%(count)d applications can no longer use your account.",
                count,
            )
            messages.success(request, said % {"count": count})
        return redirect("connections")
