from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from apps.console.forms.dashboard import BrandingForm, LogoForm
from apps.console.permissions import TeamView
from apps.developers.errors import RefusedError
from apps.developers.services import applications


class BrandingView(TeamView):
    """What users see of the application. The logo has a form of its own: a refused form forgets the chosen file."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self._show()

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        try:
            match request.POST.get("action"):
                case "upload-logo":
                    return self._upload_logo()
                case "remove-logo":
                    applications.change_logo(application=self.application, actor=self.user, logo=None)
                    return self._done(_("The logo is gone."))
                case _other:
                    return self._change_words()
        except RefusedError as refusal:
            messages.error(request, str(refusal.message))
            return self._show(status=409)

    def _upload_logo(self) -> HttpResponse:
        form = LogoForm(self.request.POST, self.request.FILES)
        if not form.is_valid():
            return self._show(logo_form=form, status=400)
        applications.change_logo(application=self.application, actor=self.user, logo=form.cleaned_data["logo"])
        return self._done(_("The new logo is there."))

    def _change_words(self) -> HttpResponse:
        form = BrandingForm(self.request.POST, application=self.application)
        if not form.is_valid():
            return self._show(form=form, status=400)
        try:
            applications.change_branding(application=self.application, actor=self.user, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
            return self._show(form=form, status=400)
        return self._done(_("Saved. Users see it from now on."))

    def _done(self, message: str) -> HttpResponse:
        messages.success(self.request, message)
        return redirect("developer:branding", self.application.pk)

    def _show(
        self, *, form: BrandingForm | None = None, logo_form: LogoForm | None = None, status: int = 200
    ) -> HttpResponse:
        context = self.get_context_data(
            form=form or BrandingForm(application=self.application), logo_form=logo_form or LogoForm()
        )
        return render(self.request, "console/branding.html", context, status=status)
