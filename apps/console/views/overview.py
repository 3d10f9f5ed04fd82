from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from apps.activity.selectors import activity_of
from apps.connections.models import Connection
from apps.console import timeline
from apps.console.forms.comment import CommentForm
from apps.console.permissions import TeamView
from apps.console.views.actions import ActionView
from apps.developers.errors import RefusedError
from apps.developers.models import Application, HistoryKind, Outcome, Status
from apps.developers.services import review

#: Connections are counted up to here: an exact number of many is not worth reading them all.
MOST_CONNECTIONS_COUNTED = 10_000


class OverviewPage(TeamView):
    """The first page of an application's dashboard: where it is in the review, and what was said."""

    def show(self, form: CommentForm, *, status: int = 200) -> HttpResponse:
        application = self.application
        shown = timeline.timeline_of(application, page=self.request.GET.get("page"))
        context = self.get_context_data(
            form=form,
            shown=shown,
            entries=[timeline.show(entry) for entry in shown],
            totals=activity_of(application).totals,
            connections=_count_connections(application),
            most_connections=MOST_CONNECTIONS_COUNTED,
            **_reviewed(application),
        )
        return render(self.request, "console/application.html", context, status=status)


class ApplicationView(OverviewPage):
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self.show(CommentForm())


class CommentView(ActionView, OverviewPage):
    """Adds the team's word to the timeline."""

    page = "developer:application"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = CommentForm(request.POST)
        if not form.is_valid():
            return self.show(form, status=400)
        try:
            review.add_comment(
                application=self.application, actor=self.user, text=form.cleaned_data["text"], is_by_reviewer=False
            )
        except ValidationError as error:
            form.add_error("text", error)
            return self.show(form, status=400)
        except RefusedError as refusal:
            form.add_error(None, str(refusal.message))
            return self.show(form, status=409)
        messages.success(request, _("Your comment is on the timeline, and was sent to the reviewers and the team."))
        return redirect("developer:application", self.application.pk)


def _reviewed(application: Application) -> dict[str, Any]:
    """Return what waits for the review, what was decided last, and the suspension if there is one."""
    latest = application.submissions.select_related("decided_by").order_by("-number")
    # A handful at most is between the two: withdrawn ones.
    waiting = latest.filter(outcome=Outcome.WAITING).first()
    decided = latest.exclude(outcome__in=[Outcome.WAITING, Outcome.WITHDRAWN]).first()
    suspension = None
    if application.status == Status.SUSPENDED:
        suspension = application.history.filter(kind=HistoryKind.SUSPENDED).order_by("-created_at", "-pk").first()
    return {"waiting": waiting, "decided": decided, "suspension": suspension}


def _count_connections(application: Application) -> int:
    """Count the active connections, up to one more than `MOST_CONNECTIONS_COUNTED`, in their own index."""
    return Connection.objects.active().filter(application=application)[: MOST_CONNECTIONS_COUNTED + 1].count()
