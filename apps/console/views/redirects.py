from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from apps.activity.models import RedirectMismatch
from apps.activity.selectors import redirect_mismatches_of
from apps.console.forms.dashboard import RedirectsForm
from apps.console.permissions import TeamView
from apps.developers.errors import RefusedError
from apps.developers.services import applications


class RedirectsView(TeamView):
    """Where users may be sent back to, and which requests asked for another place."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        mismatches = redirect_mismatches_of(self.application)
        # "Add this URL" names a row of the list: an address of a stranger's choice in a link would be typed in by it.
        wanted = request.GET.get("add", "")
        chosen = next((row for row in mismatches if str(row.pk) == wanted and row.is_whole), None)
        return self._show(mismatches=mismatches, chosen=chosen)

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = RedirectsForm(request.POST)
        if not form.is_valid():
            return self._show(form, status=400)
        try:
            is_changed = applications.set_redirect_uris(
                application=self.application, actor=self.user, redirect_uris=form.uris, seen=form.seen_uris
            )
        except ValidationError as error:
            form.add_error("redirect_uris", error)
            return self._show(form, status=400)
        except RefusedError as refusal:
            self.application.refresh_from_db()
            # What was typed stays; pressing the button again is then a choice made in sight of what is there.
            data = request.POST.copy()
            data["seen"] = "\n".join(self.application.redirect_uri_list)
            form = RedirectsForm(data)
            form.add_error(None, str(refusal.message))
            return self._show(form, status=409, is_stale=True)
        message = _("Saved. Requests are compared with these from now on.") if is_changed else _("Nothing was changed.")
        messages.success(request, message)
        return redirect("developer:redirects", self.application.pk)

    def _show(
        self,
        form: RedirectsForm | None = None,
        *,
        mismatches: list[RedirectMismatch] | None = None,
        chosen: RedirectMismatch | None = None,
        is_stale: bool = False,
        status: int = 200,
    ) -> HttpResponse:
        registered = self.application.redirect_uri_list
        if mismatches is None:
            mismatches = redirect_mismatches_of(self.application)
        if form is None:
            typed = [*registered, chosen.presented] if chosen and chosen.presented not in registered else registered
            form = RedirectsForm(initial={"redirect_uris": "\n".join(typed), "seen": "\n".join(registered)})
        context = self.get_context_data(
            form=form,
            mismatches=[(row, row.presented in registered) for row in mismatches],
            chosen=chosen,
            registered=registered,
            is_stale=is_stale,
        )
        return render(self.request, "console/redirects.html", context, status=status)
