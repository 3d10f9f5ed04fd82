"""What a team and its reviewers write to each other. The rule is the service's, on both pages."""

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.developers import rules


class CommentForm(forms.Form):
    """A comment for the timeline that team and reviewers share."""

    #: A browser counts and sends a line end as two characters; the rule (`rules.check_comment`) as one.
    text = forms.CharField(
        label=_("Comment"),
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("The team and the reviewers read it."),
        error_messages={"required": _("Write something first.")},
    )

    def clean_text(self) -> str:
        text = rules.clean_text(self.cleaned_data["text"])
        rules.check_comment(text)
        return text
