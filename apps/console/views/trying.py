"""The "try it" run: a developer goes through their application's own flow, and sees each message.

What the browser is sent to and what this server calls are addresses of ours, made from the application's profile and
the host of the request; nothing that anybody types becomes one.
"""

from typing import Any, cast

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import View

from apps.accounts.selectors import signed_in_user
from apps.console.permissions import TeamView
from apps.console.snippets import Addresses, addresses_of
from apps.console.snippets.addresses import site_of
from apps.console.trying import Run, find_run, forget_run, keep_run
from apps.console.views.actions import ActionView
from apps.console.wire import Flow, Wire, show_steps
from apps.developers.errors import RefusedError
from apps.developers.models import Application, Role
from apps.developers.selectors import find_membership
from apps.developers.services import applications
from apps.organisations.middleware import organisation_of

_AGENT = "countersign-try-it/1.0"
#: A secret of ours has 128 characters; nobody has to send more.
_MAX_SECRET_LENGTH = 1000


def _addresses(application: Application, request: HttpRequest) -> Addresses:
    site = site_of(application.organisation, request)
    return addresses_of(application.profile, base=site, issuer=application.organisation.issuer)


def _run(application: Application, request: HttpRequest, flow: Flow) -> Run:
    wire = Wire.to_this_server(request, flow.messages, agent=_AGENT)
    return Run(application, _addresses(application, request), flow, wire)


class TryView(TeamView):
    """A page or a button of the run, for owners and developers; at the site of the application's organisation."""

    may_read = Role.DEVELOPER
    #: Whether users could connect, so that the run could begin.
    is_possible: bool
    #: Where the browser comes back to: one address for all applications of a site.
    callback: str

    def admit(self, request: HttpRequest) -> HttpResponseBase | None:
        answer = super().admit(request)
        if answer is not None:
            return answer
        application = self.application
        addresses = _addresses(application, request)
        if addresses.authorize is None:
            # A service has no users to ask.
            raise Http404
        site = site_of(application.organisation, request)
        self.callback = site + reverse("developer:try-callback")
        self.is_here = organisation_of(request).pk == application.organisation_id
        self.is_registered = application.redirect_uri_allowed(self.callback)
        self.is_possible = self.is_here and application.is_approved and self.is_registered
        self.address_there = site + reverse("developer:try", args=[application.pk])
        return None

    def find_flow(self) -> Flow:
        """Return the session's run if it is about this application, else a new one."""
        found = find_run(self.request)
        return found[1] if found and found[0] == self.application.pk else Flow()

    def keep(self, flow: Flow) -> None:
        keep_run(self.request, application_id=self.application.pk, flow=flow)


class TryPageView(TryView):
    """The steps of the run, what came of each, and its button when it can be taken."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        flow = self.find_flow()
        run = _run(self.application, request, flow)
        steps = show_steps(run.steps, flow, run.available if self.is_possible else ())
        context = self.get_context_data(
            flow=flow,
            steps=[(shown, run.needs_secret(shown.step.name)) for shown in steps],
            authorization_address=run.authorization_address,
            callback=self.callback,
            address_there=self.address_there,
            is_here=self.is_here,
            is_registered=self.is_registered,
            is_possible=self.is_possible,
            may_remove=self.callback in self.application.redirect_uri_list[1:],
        )
        return render(request, "console/try.html", context)


class TryButtonView(ActionView, TryView):
    """One of the page's buttons."""

    page = "developer:try"

    def back(self, step: str = "") -> HttpResponse:
        """Return to the page, at that step of it."""
        address = reverse(self.page, args=[self.application.pk])
        return redirect(f"{address}#step-{step}" if step else address)


class TryStartView(TryButtonView):
    """Makes a new authorization request; the run before it is forgotten."""

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        if not self.is_possible:
            return self.back()
        flow = Flow()
        _run(self.application, request, flow).prepare(self.callback, asks_again="asks_again" in request.POST)
        self.keep(flow)
        return self.back("request")


@method_decorator(sensitive_post_parameters("client_secret"), name="dispatch")
class TryStepView(TryButtonView):
    """Takes one step, with the client secret that was typed for it. It is sent, and forgotten."""

    @sensitive_variables("secret")
    def post(self, request: HttpRequest, step: str, **kwargs: object) -> HttpResponse:
        flow = self.find_flow()
        run = _run(self.application, request, flow)
        secret = str(request.POST.get("client_secret", "")).strip()
        if not self.is_possible or step not in run.available or step == "request":
            messages.error(request, _("This step cannot be taken now."))
            return self.back()
        if run.needs_secret(step) and not 0 < len(secret) <= _MAX_SECRET_LENGTH:
            messages.error(request, _("Type the client secret: your application proves with it who it is."))
            return self.back(step)
        run.take(step, secret)
        self.keep(flow)
        return self.back(step)


class TryOverView(TryButtonView):
    """Forgets the run."""

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        forget_run(request)
        return self.back()


class TryRedirectView(TryButtonView):
    """Adds the run's own address to the application's redirect URLs, or takes it away again."""

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        # At the end: the first one is where users go when a request names none (CONTRACT section 2).
        present = self.application.redirect_uri_list
        wanted = [uri for uri in present if uri != self.callback]
        if request.POST.get("action") == "add":
            wanted.append(self.callback)
        try:
            applications.set_redirect_uris(
                application=self.application, actor=self.user, redirect_uris=wanted, seen=present
            )
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        except RefusedError as error:
            messages.error(request, str(error.message))
        return self.back()


@method_decorator(never_cache, name="dispatch")
class TryCallbackView(View):
    """Where the browser comes back to. The code goes into the run, and out of the address bar."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        # Nobody is sent to log in from here: the way back would have the code in its address.
        found = find_run(request) if request.user.is_authenticated else None
        if found is None or not found[1].state:
            return render(request, "console/try_unexpected.html", status=400)
        application_id, flow = found
        member = find_membership(user=signed_in_user(request), application_id=application_id)
        if member is None or not member.may_edit:
            raise Http404
        answer = {name: values[-1] for name, values in cast(Any, request.GET).lists()}
        _run(member.application, request, flow).receive(answer, request.path)
        keep_run(request, application_id=application_id, flow=flow)
        return redirect(f"{reverse('developer:try', args=[application_id])}#step-receive")
