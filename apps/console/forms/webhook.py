from datetime import timedelta

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.developers.forms import OVERLAPS
from apps.webhooks.addresses import MAX_LENGTH
from apps.webhooks.models import KeyKind
from apps.webhooks.services import DEFAULT_OVERLAP


class WebhookForm(forms.Form):
    url = forms.CharField(
        label=_("URL"),
        max_length=MAX_LENGTH,
        widget=forms.URLInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("An https address of your server, for example https://example.com/countersign."),
    )


class WebhookKeyForm(forms.Form):
    """Asks which key to make anew, and for how long the old one is used. `seen` says which key the page showed."""

    kind = forms.TypedChoiceField(choices=KeyKind.choices, coerce=KeyKind, widget=forms.HiddenInput)
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)
    overlap = forms.TypedChoiceField(
        label=_("The old key is used for"),
        choices=[(int(overlap.total_seconds()), label) for overlap, label in OVERLAPS.items()],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial=int(DEFAULT_OVERLAP.total_seconds()),
    )
