"""Forms that the portal and the administration share."""

from datetime import timedelta

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.developers.services.secrets import DEFAULT_OVERLAP

#: How long an old secret or key may work on.
OVERLAPS = {
    timedelta(0): _("not at all: it ends at once"),
    timedelta(hours=1): _("1 hour"),
    timedelta(hours=24): _("24 hours"),
    timedelta(days=3): _("3 days"),
    timedelta(days=7): _("7 days"),
}


class SecretForm(forms.Form):
    """Asks for how long the old secret works on. `seen` says which secret the page showed as the newest."""

    overlap = forms.TypedChoiceField(
        label=_("The old secret works on for"),
        choices=[(int(overlap.total_seconds()), label) for overlap, label in OVERLAPS.items()],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial=int(DEFAULT_OVERLAP.total_seconds()),
    )
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)
