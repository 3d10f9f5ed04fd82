"""The forms of the review desk."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.developers import rules
from apps.developers.models import Profile, Status

#: The value of the filter that shows what waits, and of the one that shows everything.
SHOW_WAITING, SHOW_ALL = "waiting", "all"


class QueueForm(forms.Form):
    """What the queue shows. Everything may be left out."""

    q = forms.CharField(
        label=_("Search"),
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": _("Name, client ID, owner or e-mail")}),
    )
    status = forms.ChoiceField(
        label=_("Status"),
        required=False,
        choices=[
            (SHOW_WAITING, _("Waiting for review")),
            (Status.CHANGES_REQUESTED.value, Status.CHANGES_REQUESTED.label),
            (Status.APPROVED.value, Status.APPROVED.label),
            (Status.REJECTED.value, Status.REJECTED.label),
            (Status.SUSPENDED.value, Status.SUSPENDED.label),
            (SHOW_ALL, _("All")),
        ],
    )
    profile = forms.ChoiceField(
        label=_("Profile"),
        required=False,
        choices=[("", _("All")), *((value, label) for value, label in Profile.choices if value != Profile.SERVICE)],
    )
    organisation = forms.ChoiceField(label=_("Organisation"), required=False)

    def __init__(self, data: Any, *, organisations: list[Any]) -> None:
        super().__init__(data, label_suffix="")
        if len(organisations) > 1:
            choices = [("", _("All")), *((row.slug, row.name) for row in organisations)]
            self.fields["organisation"].choices = choices  # type: ignore[attr-defined]
        else:
            del self.fields["organisation"]

    def value(self, name: str) -> str:
        """Return what a valid field says, "" for one that is wrong or left out."""
        if not self.is_bound:
            return ""
        self.is_valid()
        return str(self.cleaned_data.get(name) or "")


def _reason_field(label: Any, help_text: Any, *, required: bool = False) -> forms.CharField:
    messages = {"required": _("Say why, so that the team knows what to do.")}
    return forms.CharField(
        label=label,
        help_text=help_text,
        required=required,
        error_messages=messages,
        widget=forms.Textarea(attrs={"rows": 5}),
    )


class DecisionForm(forms.Form):
    """What a reviewer decides, about which version and which redirect URLs, and why."""

    submission = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=2**63 - 1)
    #: As the page showed them, separated by a space.
    redirect_uris = forms.CharField(widget=forms.HiddenInput, required=False)
    decision = forms.ChoiceField(
        choices=[("approve", _("Approve")), ("request-changes", _("Request changes")), ("reject", _("Reject"))]
    )
    reason = _reason_field(
        _("Note to the team"),
        _("The team reads it, here and by e-mail. Needed when you request changes or reject."),
    )

    def clean_reason(self) -> str:
        return rules.clean_text(self.cleaned_data["reason"])


class SuspendForm(forms.Form):
    """Why an application is stopped."""

    reason = _reason_field(_("Reason"), _("The team reads it, here and by e-mail."), required=True)

    def clean_reason(self) -> str:
        reason = rules.clean_text(self.cleaned_data["reason"])
        rules.check_decision_reason(reason)
        return reason


class ReinstateForm(forms.Form):
    """What the team is told when the suspension ends."""

    reason = _reason_field(_("Note to the team"), _("The team reads it, here and by e-mail."))

    def clean_reason(self) -> str:
        reason = rules.clean_text(self.cleaned_data["reason"])
        rules.check_note(reason)
        return reason


class TrustForm(forms.Form):
    """Whether the application is to be trusted, as the page that was sent has it."""

    is_trusted = forms.TypedChoiceField(
        choices=[("yes", "yes"), ("no", "no")], coerce=lambda value: value == "yes", widget=forms.HiddenInput
    )
    #: As the page showed them, separated by a space.
    redirect_uris = forms.CharField(widget=forms.HiddenInput, required=False)
