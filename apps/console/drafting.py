"""Keeping what is typed into a form: the address that its script and its "Save draft" button send to."""

from abc import abstractmethod

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from apps.console.forms.version import ScopesForm, typed_fields
from apps.console.permissions import SignedInView
from apps.developers import rules
from apps.developers.errors import RefusedError
from apps.developers.models import Application
from apps.developers.scopes import ALL
from apps.developers.services import drafts


def wants_json(request: HttpRequest) -> bool:
    """Say whether the page's script asks, and not a person who pressed a button (which has a name)."""
    if request.method == "POST":
        return "action" not in request.POST
    return request.headers.get("Accept") == "application/json"


class ReturnsWhatWasTyped(SignedInView):
    """Sends people to log in; but whoever has just sent a long text, and was logged out meanwhile, gets it back."""

    def handle_no_permission(self) -> HttpResponseBase:  # type: ignore[override]  # a page, too
        if self.request.method != "POST":
            return super().handle_no_permission()
        labels = {"name": _("App name"), "redirect_uris": _("Redirect URLs"), "description": _("Description")}
        labels |= {rules.reason_field(name): str(scope.label) for name, scope in ALL.items()}
        typed = [(label, self.request.POST[name]) for name, label in labels.items() if self.request.POST.get(name)]
        return render(self.request, "console/logged_out.html", {"typed": typed}, status=403)


class DraftView(ReturnsWhatWasTyped):
    """Saves or forgets a draft. To be mixed into the view that makes and shows the form.

    The script sends the form's fields and gets JSON: `message` if nothing was saved. GET tells it a fresh CSRF token,
    for when somebody had to log in again in another tab.
    """

    http_method_names = ["get", "post"]

    def drafted_application(self) -> Application | None:
        """Return the application whose next version it is; None: a new one."""
        return None

    @abstractmethod
    def make_form(self) -> ScopesForm:
        """Return the form with what was sent."""

    @abstractmethod
    def show(self, form: ScopesForm, *, status: int, refusal: str = "") -> HttpResponse:
        """Return the page with the form as it was sent."""

    def refuse(self, form: ScopesForm, refusal: RefusedError) -> HttpResponse:
        """Return the page that says why what was typed is not kept."""
        return self.show(form, status=409, refusal=str(refusal.message))

    @abstractmethod
    def form_address(self) -> str:
        """Return the address of the page."""

    @abstractmethod
    def form_key(self, form: ScopesForm) -> str | None:
        """Return what tells which form it is (`services.drafts`); None if somebody has changed it."""

    def handle_no_permission(self) -> HttpResponseBase:  # type: ignore[override]  # its script follows no redirect
        if wants_json(self.request):
            return JsonResponse({"message": _("You are not logged in any more.")}, status=401)
        return super().handle_no_permission()

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        if not wants_json(request):
            return redirect(self.form_address())
        return JsonResponse({"csrf_token": get_token(request)})

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        if request.POST.get("action") == "forget":
            try:
                drafts.throw_draft_away(user=self.user, application=self.drafted_application())
            except RefusedError as refusal:
                messages.error(request, str(refusal.message))
            return redirect(self.form_address())
        form = self.make_form()
        try:
            drafts.save_draft(
                user=self.user,
                application=self.drafted_application(),
                fields=typed_fields(request.POST, form),
                form_key=self.form_key(form),
            )
        except RefusedError as refusal:
            if wants_json(request):
                return JsonResponse({"message": str(refusal.message)}, status=409)
            return self.refuse(form, refusal)
        if wants_json(request):
            return JsonResponse({})
        messages.success(request, _("Your draft is saved. Nobody else sees it."))
        return redirect(self.form_address())
