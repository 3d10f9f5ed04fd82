"""How an application is connected: its addresses, and programs to copy."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.console.permissions import TeamView
from apps.console.snippets import addresses_of, write_snippets
from apps.console.snippets.addresses import site_of


class IntegrateView(TeamView):
    """The exact addresses of one application, and programs that use them as they stand."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        application = self.application
        site = site_of(application.organisation, request)
        addresses = addresses_of(application.profile, base=site, issuer=application.organisation.issuer)
        context = self.get_context_data(
            addresses=list(addresses),
            issuer=addresses.issuer,
            snippets=write_snippets(application, addresses),
            may_try=addresses.authorize is not None and self.member.may_edit,
        )
        return render(request, "console/integrate.html", context)
