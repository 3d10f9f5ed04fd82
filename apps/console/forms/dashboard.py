"""The forms of an application's dashboard. The rules are the services' (apps/developers/rules.py), not theirs."""

import unicodedata
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.developers import rules
from apps.developers.models import Application, Role, TeamMember
from apps.organisations.logos import LogoField


class BrandingForm(forms.Form):
    """What users see of the application, but for its logo."""

    name = forms.CharField(label=_("App name"), max_length=rules.MAX_NAME_LENGTH)
    website_url = forms.CharField(label=_("Website"), required=False, max_length=200, widget=forms.URLInput)
    privacy_policy_url = forms.CharField(
        label=_("Privacy policy"), required=False, max_length=200, widget=forms.URLInput
    )
    terms_url = forms.CharField(label=_("Terms of service"), required=False, max_length=200, widget=forms.URLInput)
    brand_colour = forms.CharField(
        label=_("Brand colour"),
        required=False,
        max_length=7,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
        help_text=_(
            "A # and six digits or letters from a to f, for example #2c5282. It is behind the first letter of the name "
            "where there is no logo."
        ),
    )

    def __init__(self, *args: Any, application: Application, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial = {field: getattr(application, field) for field in self.fields}
        for name in rules.LASTING_PAGES:
            self.fields[name].required = bool(self.initial[name])
            self.fields[name].error_messages["required"] = _("Give the address of the page.")


class LogoForm(forms.Form):
    logo = LogoField(
        label=_("New logo"),
        widget=forms.FileInput,
        help_text=_("PNG, JPEG or WebP, at most 1 MB and 2 000 pixels a side. We keep the square in its middle."),
        error_messages={"required": _("Choose a picture first.")},
    )


class RedirectsForm(forms.Form):
    """The redirect URLs, one a line. `seen` is what was registered when the page was made."""

    redirect_uris = forms.CharField(
        label=_("Redirect URLs"),
        error_messages={"required": _("Give at least one redirect URL.")},
        max_length=50_000,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "autocapitalize": "off", "wrap": "off"}),
        help_text=_(
            "One a line, exactly as your application sends it. Users go to the first where a request names none."
        ),
    )
    seen = forms.CharField(required=False, max_length=50_000, widget=forms.HiddenInput)

    @property
    def uris(self) -> list[str]:
        return str(self.cleaned_data["redirect_uris"]).split()

    @property
    def seen_uris(self) -> list[str]:
        return str(self.cleaned_data["seen"]).split()


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)


class InvitationForm(RoleForm):
    email = forms.CharField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        help_text=_("They need an account with this address, and can make one when they follow the link."),
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.DEVELOPER)

    field_order = ["email", "role"]


class TransferForm(forms.Form):
    """Asks who is the owner from now on."""

    to = forms.ModelChoiceField(
        label=_("New owner"), queryset=TeamMember.objects.none(), empty_label=_("Choose a member of the team")
    )
    is_sure = forms.BooleanField(
        label=_("I give up ownership and stay as a developer"),
        error_messages={"required": _("Tick this if you want to give up ownership.")},
    )

    def __init__(self, *args: Any, member: TeamMember, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = TeamMember.objects.filter(application=member.application_id).exclude(pk=member.pk)
        self.fields["to"].queryset = others.select_related("user").order_by("joined_at", "pk")  # type: ignore[attr-defined]


class DeletionForm(forms.Form):
    """Asks for the application's name, so that nobody deletes the wrong one."""

    name = forms.CharField(
        label=_("Name of the application"), max_length=1_000, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, *args: Any, application: Application, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.application = application

    def clean_name(self) -> str:
        typed = str(self.cleaned_data["name"])
        if _comparable(typed) != _comparable(self.application.name):
            raise forms.ValidationError(_("This is not the name. Nothing was deleted."))
        return typed


def _comparable(name: str) -> str:
    """Return `name` as it is read: spaces and ways of writing one letter that look the same are the same."""
    return " ".join(unicodedata.normalize("NFC", name).split())
