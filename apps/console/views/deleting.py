from typing import ClassVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from apps.console.forms.dashboard import DeletionForm
from apps.console.permissions import TeamView
from apps.console.services import delete_application
from apps.developers.errors import RefusedError
from apps.developers.models import Role


class DeleteView(TeamView):
    """Says what deleting does, and does it for an owner who types the application's name."""

    http_method_names = ["get", "head", "post"]
    may_write: ClassVar[Role] = Role.OWNER

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self._show(DeletionForm(application=self.application))

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = DeletionForm(request.POST, application=self.application)
        if not form.is_valid():
            return self._show(form, status=400)
        try:
            delete_application(application=self.application, actor=self.user)
        except RefusedError as refusal:
            form.add_error(None, str(refusal.message))
            return self._show(form, status=409)
        messages.success(
            request,
            _("%(name)s is deleted. Its connections are being ended.") % {"name": self.application.name},
        )
        return redirect("developer:applications")

    def _show(self, form: DeletionForm, *, status: int = 200) -> HttpResponse:
        return render(self.request, "console/delete.html", self.get_context_data(form=form), status=status)
