from datetime import timedelta
from typing import Any, cast

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
    """Asks which key to make anew, and for how long the old one is used. `seen` says which key the page showed.

    `has_previous`: one before the newest is still in use, so that there is no choice but to end both.
    """

    kind = forms.TypedChoiceField(choices=KeyKind.choices, coerce=KeyKind, widget=forms.HiddenInput)
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)
    overlap = forms.TypedChoiceField(
        label=_("The old key is used for"),
        choices=[(int(overlap.total_seconds()), label) for overlap, label in OVERLAPS.items()],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial=int(DEFAULT_OVERLAP.total_seconds()),
    )

    def __init__(self, *args: Any, has_previous: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if has_previous:
            overlap = cast("forms.TypedChoiceField", self.fields["overlap"])
            overlap.label = _("Both old keys are used for")
            overlap.choices = [(0, OVERLAPS[timedelta(0)])]
            overlap.initial = 0
