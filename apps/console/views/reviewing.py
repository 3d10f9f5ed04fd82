from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.console.forms.comment import CommentForm
from apps.console.permissions import ReviewedApplicationView, ReviewerView
from apps.console.reviewing.dossier import gather
from apps.console.reviewing.forms import (
    SHOW_ALL,
    SHOW_WAITING,
    DecisionForm,
    QueueForm,
    ReinstateForm,
    SuspendForm,
    TrustForm,
)
from apps.console.reviewing.queue import list_queue
from apps.developers import selectors
from apps.developers.errors import AlreadyDecidedError, OwnApplicationError, RefusedError
from apps.developers.models import Application, HistoryKind, Status, Submission
from apps.developers.services import review
from apps.developers.services.terms import current_terms
from apps.organisations.models import Organisation

PAGE_SIZE = 25


class QueueView(ReviewerView):
    """What waits for the reviewer, oldest first; with filters also what does not wait."""

    def get(self, request: HttpRequest) -> HttpResponse:
        organisations = list(Organisation.objects.filter(pk__in=self.organisation_ids).order_by("name"))
        form = QueueForm(request.GET, organisations=organisations)
        status = form.value("status") or SHOW_WAITING
        applications = list_queue(
            organisation_ids=self.organisation_ids,
            status=status,
            profile=form.value("profile"),
            organisation=form.value("organisation"),
            text=form.value("q"),
        )
        context = {
            "form": form,
            "status": status,
            "page": Paginator(applications, PAGE_SIZE).get_page(request.GET.get("page")),
            "has_several_organisations": len(organisations) > 1,
            "is_filtered": status not in {SHOW_WAITING, SHOW_ALL}
            or any(map(form.value, ("q", "profile", "organisation"))),
        }
        return render(request, "console/review/queue.html", context)


class ReviewView(ReviewedApplicationView):
    """One application as its reviewers see it."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self.show()

    def show(
        self,
        *,
        decision_form: DecisionForm | None = None,
        comment_form: CommentForm | None = None,
        refusal: RefusedError | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """Show the page, with what was typed into its forms and why it was refused.

        What is shown is what is there now: after a refusal another version may be waiting.
        """
        application: Application | None = self.application
        if status != 200:
            application = selectors.find_reviewable(
                organisation_ids=self.organisation_ids, application_id=self.application.pk
            )
        if application is None:
            messages.error(self.request, _("This application has been deleted."))
            return redirect("review:queue")
        context = gather(application, page=self.request.GET.get("page"))
        # What was typed for a decision that has been taken already can still be said.
        unsaid = decision_form["reason"].value() if decision_form and not context["waiting"] else ""
        context |= {
            "application": application,
            "is_own": self.is_own,
            "refusal": refusal,
            "overtaken": refusal if isinstance(refusal, AlreadyDecidedError) else None,
            "decision_form": decision_form or DecisionForm(label_suffix=""),
            "comment_form": comment_form or CommentForm(initial={"text": unsaid}, label_suffix=""),
        }
        return render(self.request, "console/review/application.html", context, status=status)


class DecideView(ReviewView):
    """Approves, asks for changes, or rejects."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        # Whoever had to log in between typing and sending comes back here.
        return redirect("review:application", self.application.pk)

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = DecisionForm(request.POST, label_suffix="")
        if not form.is_valid():
            return self.show(decision_form=form, status=400)
        data = form.cleaned_data
        submission = self.application.submissions.filter(pk=data["submission"]).first()
        if submission is None:
            raise Http404
        try:
            message = self._decide(submission, data)
        except ValidationError as error:
            form.add_error("reason", error)
            return self.show(decision_form=form, status=400)
        except RefusedError as refusal:
            return self.show(decision_form=form, refusal=refusal, status=409)
        messages.success(request, message % {"name": self.application.name})
        return redirect("review:application", self.application.pk)

    def _decide(self, submission: Submission, data: dict[str, Any]) -> str:
        decided: dict[str, Any] = {"submission": submission, "actor": self.user, "reason": data["reason"]}
        if data["decision"] == "approve":
            review.approve_submission(**decided, seen_redirect_uris=data["redirect_uris"].split())
            return _("You have approved %(name)s. The team has been told.")
        if data["decision"] == "request-changes":
            review.request_changes(**decided)
            return _("You have asked the team of %(name)s for changes. They have been told why.")
        review.reject_submission(**decided)
        return _("You have rejected this version of %(name)s. The team has been told why.")


class CommentView(ReviewView):
    """Adds a comment to the timeline that reviewers and team share."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return redirect("review:application", self.application.pk)

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = CommentForm(request.POST, label_suffix="")
        if not form.is_valid():
            return self.show(comment_form=form, status=400)
        try:
            # Whoever is on the team speaks for the team.
            review.add_comment(
                application=self.application,
                actor=self.user,
                text=form.cleaned_data["text"],
                is_by_reviewer=not self.is_on_team,
            )
        except RefusedError as refusal:
            return self.show(comment_form=form, refusal=refusal, status=409)
        messages.success(request, _("Your comment has been added."))
        return redirect("review:application", self.application.pk)


class _ConfirmedView(ReviewedApplicationView):
    """A page that says what will happen and asks once more."""

    template = ""
    form_class: type[forms.Form] = forms.Form
    success_message: Any = ""
    #: What somebody else may have done instead.
    overtaken_by = frozenset({HistoryKind.SUSPENDED, HistoryKind.REINSTATED})

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        if self.is_own:
            messages.error(request, str(OwnApplicationError().message))
        elif message := self.find_obstacle():
            messages.info(request, message)
        else:
            return self.show(self.form_class(label_suffix=""))
        return redirect("review:application", self.application.pk)

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = self.form_class(request.POST, label_suffix="")
        if not form.is_valid():
            return self.show(form, status=400)
        try:
            is_changed = self.carry_out(form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
            return self.show(form, status=400)
        except RefusedError as refusal:
            return self.show(form, refusal=refusal, status=409)
        if not is_changed:
            return self.show(form, refusal=AlreadyDecidedError(), status=409)
        messages.success(request, self.success_message % {"name": self.application.name})
        return redirect("review:application", self.application.pk)

    def find_obstacle(self) -> str:
        """Return why there is nothing to do, "" to go on."""
        raise NotImplementedError

    def carry_out(self, data: dict[str, Any]) -> bool:
        """Do it; say whether that changed anything."""
        raise NotImplementedError

    def show(self, form: forms.Form, *, refusal: RefusedError | None = None, status: int = 200) -> HttpResponse:
        latest = None
        if refusal:
            self.application.refresh_from_db()
        if isinstance(refusal, AlreadyDecidedError):
            history = self.application.history.select_related("actor").filter(kind__in=self.overtaken_by)
            latest = history.order_by("-pk").first()
        context = {"application": self.application, "form": form, "refusal": refusal, "latest": latest}
        return render(self.request, self.template, context, status=status)


class SuspendView(_ConfirmedView):
    """Stops an application, and every token it has, at once."""

    template = "console/review/suspend.html"
    form_class = SuspendForm
    success_message = gettext_lazy("%(name)s is suspended. No token of it works any more. The team has been told why.")

    def find_obstacle(self) -> str:
        if self.application.status == Status.SUSPENDED:
            return _("This application is suspended already.")
        return "" if self.application.is_approved else _("Only an approved application can be suspended.")

    def carry_out(self, data: dict[str, Any]) -> bool:
        return review.suspend_application(application=self.application, actor=self.user, reason=data["reason"])


class ReinstateView(_ConfirmedView):
    """Ends a suspension."""

    template = "console/review/reinstate.html"
    form_class = ReinstateForm
    success_message = gettext_lazy("%(name)s is approved again, and its tokens work. The team has been told.")

    def find_obstacle(self) -> str:
        return "" if self.application.status == Status.SUSPENDED else _("This application is not suspended.")

    def carry_out(self, data: dict[str, Any]) -> bool:
        return review.reinstate_application(application=self.application, actor=self.user, reason=data["reason"])


class TrustView(_ConfirmedView):
    """Lets users of a brand's own partner see no consent screen, or see it again."""

    template = "console/review/trust.html"
    form_class = TrustForm
    overtaken_by = frozenset({HistoryKind.TRUSTED, HistoryKind.UNTRUSTED})

    @property
    def success_message(self) -> Any:
        if self.application.is_trusted:
            return _("%(name)s is trusted now: its users see no consent screen.")
        return _("%(name)s is no longer trusted: its users see the consent screen.")

    def find_obstacle(self) -> str:
        return ""

    def carry_out(self, data: dict[str, Any]) -> bool:
        return review.set_trusted(
            application=self.application,
            actor=self.user,
            is_trusted=data["is_trusted"],
            seen_redirect_uris=data["redirect_uris"].split(),
        )


class ReviewTermsView(ReviewerView):
    """Which terms are in force, and which owners have not agreed to them."""

    def get(self, request: HttpRequest) -> HttpResponse:
        organisations = list(Organisation.objects.filter(pk__in=self.organisation_ids).order_by("name"))
        wanted = request.GET.get("organisation")
        organisation = next((row for row in organisations if row.slug == wanted), organisations[0])
        owners = selectors.owners_who_have_not_agreed(organisation).order_by("application__name", "pk")
        context = {
            "organisations": organisations,
            "shown": organisation,
            "terms": current_terms(organisation),
            "page": Paginator(owners, PAGE_SIZE).get_page(request.GET.get("page")),
        }
        return render(request, "console/review/terms.html", context)
