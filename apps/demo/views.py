"""The demo partner's pages. Each stands for a page of another company's site."""

from typing import Any, cast

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache

from apps.console.wire import Flow, ServerUnreachableError, Wire, show_steps
from apps.demo.flow import PartnerSession
from apps.demo.partners import PROGRAMMES, Partner
from apps.demo.partners.receipts import ReceiptsPartner
from apps.demo.seeding_data import PASSWORD
from apps.developers.models import Application
from apps.developers.redirect_uris import is_loopback_host
from apps.organisations.middleware import host_of

#: The one host that the demo's redirect URIs name.
_DEMO_HOST = "127.0.0.1"


@method_decorator(never_cache, name="dispatch")
class DemoView(View):
    """A page of the demo: at 127.0.0.1, where the redirect URIs lead."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        host = host_of(request)
        if host == _DEMO_HOST:
            return super().dispatch(request, *args, **kwargs)
        port = request.get_host()[len(host) :]
        address = f"http://{_DEMO_HOST}{port}{request.get_full_path()}"
        if is_loopback_host(host.strip("[]")):
            return redirect(address)
        return render(request, "demo/elsewhere.html", {"address": address}, status=404)


class IndexView(DemoView):
    """The three partners, side by side."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        names = [partner.client_id for partner in PROGRAMMES.values()]
        rows = Application.objects.at_host(host_of(request)).filter(client_id__in=names)
        applications = {row.client_id: row for row in rows}
        partners = [(partner, applications.get(partner.client_id)) for partner in PROGRAMMES.values()]
        return render(request, "demo/index.html", {"partners": partners, "messages": []})


class ProgrammeView(DemoView):
    """A view of one programme's partner, with what it remembers of the visitor."""

    partner: Partner
    flow: Flow

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if kwargs["programme"] not in PROGRAMMES:
            raise Http404
        self.partner = PROGRAMMES[kwargs["programme"]]
        self.session = PartnerSession(request)
        self.flow = self.session.load(self.partner.slug)
        return super().dispatch(request, *args, **kwargs)

    @property
    def wire(self) -> Wire:
        return Wire.to_this_server(self.request, self.flow.messages, agent="demo-partner/1.0")

    def leave(self, address: str = "", *, notice: str = "") -> HttpResponse:
        """Keep the flow and send the browser to `address`, without one to the partner's page.

        There it goes to the latest step, or to `notice` if there is one.
        """
        self.flow.notice = notice
        latest = next(reversed(self.flow.outcomes), "connect")
        page = reverse("demo:partner", kwargs={"programme": self.partner.slug})
        response = redirect(address or (page if notice else f"{page}#step-{latest}"))
        self.session.save(self.partner.slug, self.flow, response)
        return response


class PartnerView(ProgrammeView):
    """The partner's page: its steps, and what went over the wire."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, programme: str) -> HttpResponse:
        application = Application.objects.at_host(host_of(request)).filter(client_id=self.partner.client_id).first()
        available = self.partner.available(self.flow)
        context = {
            "partner": self.partner,
            "partners": PROGRAMMES.values(),
            "application": application,
            "steps": show_steps(self.partner.steps, self.flow, available),
            # The experiment that belongs to the exchange: is it possible, and what came of it.
            "has_replay": "replay" in available,
            "replay": self.flow.outcomes.get("replay"),
            "flow": self.flow,
            "password": PASSWORD,
            # What the server has to tell the user is for the server's own pages.
            "messages": [self.flow.notice] if self.flow.notice else [],
        }
        return render(request, "demo/partner.html", context)


class ConnectView(ProgrammeView):
    """Begins a new run and sends the browser to the authorization server."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, programme: str) -> HttpResponse:
        self.flow = Flow()
        try:
            address = self.partner.connect(self.flow, self.wire, asks_again="asks_again" in request.POST)
        except ServerUnreachableError as error:
            return self.leave(notice=str(error))
        return self.leave(address)


class CallbackView(ProgrammeView):
    """The redirect URI: where the authorization server, or the membership page, sends the browser back to."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, programme: str) -> HttpResponse:
        answer = {name: values[-1] for name, values in cast(Any, request.GET).lists()}
        if isinstance(self.partner, ReceiptsPartner) and "status" in answer:
            self.partner.receive_membership(self.flow, self.wire, answer)
        elif self.flow.state:
            self.partner.receive(self.flow, self.wire, answer)
        else:
            return self.leave(notice=_("We are not waiting for an answer. Each answer counts once."))
        # The code must not stay in the address bar.
        return self.leave()


class StepView(ProgrammeView):
    """Takes one step."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, programme: str, step: str) -> HttpResponse:
        if step not in self.partner.available(self.flow):
            return self.leave(notice=_("This step cannot be taken now."))
        if isinstance(self.partner, ReceiptsPartner) and step == "membership":
            return self.leave(self.partner.membership_address(self.flow, self.wire))
        self.partner.take(step, self.flow, self.wire)
        return self.leave()


class StartOverView(ProgrammeView):
    """Forgets the run."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, programme: str) -> HttpResponse:
        self.flow = Flow()
        return self.leave()
