from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from apps.console.permissions import TeamView
from apps.console.views.actions import ActionView
from apps.developers.errors import RefusedError
from apps.developers.forms import SecretForm
from apps.developers.services import secrets


class CredentialsPage(TeamView):
    def show(self, form: SecretForm | None = None, *, status: int = 200) -> HttpResponse:
        mark = secrets.mark_of(self.application)
        context = self.get_context_data(form=form or SecretForm(initial={"seen": mark}), mark=mark)
        return render(self.request, "console/credentials.html", context, status=status)

    def refuse(self, refusal: RefusedError) -> HttpResponse:
        """Show the page as it is now, with the reason."""
        self.application.refresh_from_db()
        messages.error(self.request, str(refusal.message))
        return self.show(status=409)


class CredentialsView(CredentialsPage):
    """The client ID, and what there is to say of the secrets: never they themselves."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self.show()


class SecretCreateView(ActionView, CredentialsPage):
    """Makes a new client secret and shows it in the answer, the only time that it is anywhere to be seen.

    No redirect, because it would have to wait somewhere for the next page. So that loading the answer again makes no
    third secret, the form says which was the newest when it was made.
    """

    page = "developer:credentials"

    @method_decorator(sensitive_variables("secret"))
    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = SecretForm(request.POST)
        if not form.is_valid():
            return self.show(form, status=400)
        try:
            secret = secrets.create_secret(
                application=self.application,
                actor=self.user,
                overlap=form.cleaned_data["overlap"],
                seen=form.cleaned_data["seen"],
            )
        except RefusedError as refusal:
            return self.refuse(refusal)
        return render(request, "console/secret_created.html", self.get_context_data(secret=secret))


class SecretEndView(ActionView, CredentialsPage):
    page = "developer:credentials"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        try:
            has_ended = secrets.end_previous_secret(
                application=self.application, actor=self.user, seen=str(request.POST.get("seen", ""))
            )
        except RefusedError as refusal:
            return self.refuse(refusal)
        if has_ended:
            messages.success(request, _("The previous client secret works no more."))
        else:
            messages.info(request, _("The previous client secret had ended before."))
        return redirect("developer:credentials", self.application.pk)
