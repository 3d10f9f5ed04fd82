"""Description and scopes of a registered application: what is live, what waits, and the next version."""

from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from apps.console.differences import differences_from, sentences_for
from apps.console.drafting import DraftView, ReturnsWhatWasTyped
from apps.console.forms.version import ScopesForm, VersionForm, asked_by_text, initial_of, initial_of_draft
from apps.console.permissions import ReviewedTeamView
from apps.console.previewing import preview_of
from apps.console.views.actions import ActionView
from apps.developers import rules, selectors
from apps.developers.errors import RefusedError, StaleVersionError
from apps.developers.models import Application, Draft, Role, Status, Submission, TeamMember
from apps.developers.scopes import ALL
from apps.developers.services import drafts, review
from apps.developers.services.review import SubmitResult
from apps.developers.services.versions import live_scopes, mark_of


class VersionPage(ReviewedTeamView):
    """The form, as it was sent or as it begins, and the page around it."""

    @cached_property
    def begun_with(self) -> Submission | None:
        """What the next version begins with, and what reviewers said of it; None: the live version."""
        return selectors.version_to_edit(self.application)

    def make_form(self, initial: dict[str, Any] | None = None) -> VersionForm:
        """Return the form with what was sent; with `initial`, as it begins."""
        data = self.request.POST if initial is None else None
        return VersionForm(data, initial=initial, application=self.application)

    def show(
        self,
        form: ScopesForm,
        *,
        status: int = 200,
        refusal: str = "",
        draft: Draft | None = None,
        seen: str = "",
    ) -> HttpResponse:
        """Return the page; `seen` is the mark to send along, if it is not the one that came with the form."""
        application = self.application
        counts = selectors.comparable_counts(
            organisation=application.organisation, profile=application.profile, besides=application
        )
        sections = form.profile_scopes({application.profile: counts})
        live = live_scopes(application)
        waiting = selectors.waiting_submission(application)
        differences = differences_from(application, description=form.text_of("description"), scopes=form.version())
        may_submit = self.member.may_edit and application.status != Status.SUSPENDED
        context = self.get_context_data(
            form=form,
            seen=seen or form.text_of("seen"),
            form_key=self.member.form_key,
            profile_scopes=sections,
            reason_characters=rules.REASON_CHARACTERS,
            preview=preview_of(form, sections, application_name=application.name),
            organisations=[application.organisation],
            chosen_organisation=application.organisation,
            waiting=waiting,
            live_scopes=live,
            live={
                "description": rules.clean_text(application.description),
                "scopes": {entry["scope"]: entry for entry in live},
            },
            differences=differences,
            sentences=sentences_for(application),
            may_submit=may_submit,
            may_start_from_live=may_submit and application.is_approved and bool(differences),
            draft=draft,
            draft_address=reverse("developer:version-draft", args=[application.pk]),
            begun_with=self.begun_with,
            refusal=refusal,
            asked_by=asked_by_text("{number}", "{all}"),
            asked_by_one=asked_by_text("{number}", 1),
            asked_by_none=asked_by_text(0, 0),
        )
        return render(self.request, "console/version.html", context, status=status)

    def refuse(self, form: ScopesForm, refusal: RefusedError) -> HttpResponse:
        self.application.refresh_from_db(fields=["description", "scopes", "status"])
        # Nobody's, if they have been taken off the team at this very moment.
        keys = TeamMember.objects.filter(pk=self.member.pk).values_list("form_key", flat=True)
        self.member.form_key = keys.first() or ""
        # Only a page that says so may stand for what the form was written beside; any other sends the form's own mark.
        seen = mark_of(self.application) if isinstance(refusal, StaleVersionError) else ""
        return self.show(form, status=409, refusal=str(refusal.message), seen=seen)


class VersionView(ReturnsWhatWasTyped, VersionPage):
    """Shows the draft against what is live, and sends it for review."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        application = self.application
        draft = Draft.objects.filter(user=self.user, application=application).first()
        if draft is not None:
            return self.show(self.make_form(initial_of_draft(draft.fields)), draft=draft)
        if self.begun_with is not None:
            initial = initial_of(self.begun_with.description, self.begun_with.scopes)
        else:
            initial = initial_of(application.description, live_scopes(application))
        return self.show(self.make_form(initial), seen=mark_of(application))

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = self.make_form()
        if not form.is_valid():
            return self.show(form, status=400)
        scopes = form.ticked
        try:
            result = review.submit_version(
                application=self.application,
                actor=self.user,
                description=form.text_of("description"),
                scopes=scopes,
                reasons=form.reasons(scopes),
                optional_scopes=form.optional_scopes,
                seen=form.text_of("seen"),
            )
        except ValidationError as error:
            form.add_errors(error)
            return self.show(form, status=400)
        except RefusedError as refusal:
            return self.refuse(form, refusal)
        for sentence in _say(result, is_live=self.application.is_approved):
            messages.success(request, sentence)
        return redirect("developer:version", self.application.pk)


class VersionWithdrawView(ActionView, VersionPage):
    """Takes back an update that waits."""

    page = "developer:version"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        number = str(request.POST.get("number", ""))
        # The one that the page showed, not one that somebody has sent since.
        submission = self.application.submissions.filter(number=int(number)).first() if _is_number(number) else None
        if submission is None:
            raise Http404
        try:
            review.withdraw_submission(submission=submission, actor=self.user)
        except RefusedError as refusal:
            messages.error(request, str(refusal.message))
        else:
            messages.success(
                request, _("Version %(number)s is taken back. What is live goes on.") % {"number": submission.number}
            )
        return redirect("developer:version", self.application.pk)


class VersionDraftView(VersionPage, DraftView):
    """Keeps what is typed into the form."""

    def drafted_application(self) -> Application | None:
        return self.application

    def form_address(self) -> str:
        return reverse("developer:version", args=[self.application.pk])

    def form_key(self, form: ScopesForm) -> str:
        return str(self.request.POST.get("form_key", ""))


class VersionLiveView(VersionPage):
    """Says what goes, and then lets the form begin with what is live."""

    http_method_names = ["get", "head", "post"]
    may_read: ClassVar[Role] = Role.DEVELOPER

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        if not self.application.is_approved:
            return redirect("developer:version", self.application.pk)
        draft = Draft.objects.filter(user=self.user, application=self.application).first()
        context = self.get_context_data(draft=draft, begun_with=self.begun_with)
        if draft is not None:
            form = self.make_form(initial_of_draft(draft.fields))
            context |= {"description": form.description_text, "scopes": form.version()}
        return render(request, "console/version_live.html", context)

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        try:
            drafts.start_from_live(user=self.user, application=self.application)
        except RefusedError as refusal:
            messages.error(request, str(refusal.message))
        return redirect("developer:version", self.application.pk)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9


def _say(result: SubmitResult, *, is_live: bool) -> list[str]:
    """Return what came of sending, in sentences."""
    sentences = []
    if is_live and result.removed_scopes:
        labels = ", ".join(f"“{ALL[scope].label}”" if scope in ALL else scope for scope in result.removed_scopes)
        sentences.append(_("Ended at once: %(scopes)s.") % {"scopes": labels})
    if result.submission is None:
        sentences.append(_("Nothing else is different from what is live, so nothing waits for the review."))
    elif is_live:
        sentences.append(
            _("Version %(number)s waits for the review. What is live goes on until it is approved.")
            % {"number": result.submission.number}
        )
    else:
        sentences.append(_("Version %(number)s is sent for review.") % {"number": result.submission.number})
    return sentences
