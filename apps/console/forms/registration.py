"""Registering an application (CONTRACT section 9)."""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from apps.console.forms.version import PORTAL_PROFILES, ScopesForm, TypedField, description_field
from apps.developers import rules
from apps.developers.models import Application, Profile, TermsVersion
from apps.developers.scopes import ALL
from apps.organisations.models import Organisation


class OrganisationField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return str(obj.name)


class HeldField(forms.MultipleChoiceField):
    """What the page itself put into the form; `clean` says what it has to be."""

    def validate(self, value: Any) -> None:
        """Leave it to the form."""


def _text(label: Any, help_text: Any = "", **attributes: Any) -> TypedField:
    return TypedField(label=label, help_text=help_text, widget=forms.TextInput(attrs=attributes))


def _address(label: Any, help_text: Any = "", *, required: bool = True) -> TypedField:
    attributes = {"inputmode": "url", "autocapitalize": "none", "spellcheck": "false"}
    widget = forms.TextInput(attrs=attributes)
    return TypedField(label=label, help_text=help_text, required=required, widget=widget)


class RegistrationForm(ScopesForm):
    """All that a developer tells about a new application. The rules say what is wrong, all of it at once."""

    name = _text(_("App name"), _("As people will see it when they are asked to connect."), autocomplete="off")
    organisation = OrganisationField(
        label=_("Organisation"),
        queryset=Organisation.objects.none(),
        empty_label=None,
        help_text=_("Whose users will connect, and whose reviewers read this."),
        error_messages={
            "required": _("Choose the organisation."),
            "invalid_choice": _("Choose one of these organisations."),
        },
    )
    website_url = _address(_("Website"), _("Begins with https://."))
    privacy_policy_url = _address(_("Privacy policy"), _("People find a link to it where they are asked."))
    terms_url = _address(_("Terms of service"), required=False)
    profile = TypedField(label=_("Profile"), widget=forms.RadioSelect)
    client_type = TypedField(label=_("Client type"), widget=forms.RadioSelect, initial=Application.CLIENT_CONFIDENTIAL)
    redirect_uris = TypedField(
        label=_("Redirect URLs"),
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 3, "autocapitalize": "none", "spellcheck": "false", "autocomplete": "off", "wrap": "off"}
        ),
        help_text=_(
            "Where people come back to, one a line, exactly as your program sends it. It begins with https://; http:// "
            "is for your own machine only."
        ),
    )
    description = description_field()
    agreement = forms.BooleanField(
        label=_("I agree to the developer terms of use"),
        error_messages={"required": _("Read the developer terms of use, and tick that you agree.")},
    )
    #: The versions of the terms that the page offered to read: what was ticked is about them.
    terms = HeldField(required=False)
    #: The same on every sending of one form, so that it registers once.
    form_key = TypedField(required=False)

    def __init__(
        self,
        *args: Any,
        organisations: Sequence[Organisation],
        terms: Mapping[uuid.UUID, TermsVersion],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, profiles=PORTAL_PROFILES, **kwargs)
        self.organisations = organisations
        organisation: Any = self.fields["organisation"]
        organisation.queryset = Organisation.objects.filter(pk__in=[each.pk for each in organisations])
        organisation.choices = [(str(each.pk), each.name) for each in organisations]
        self.terms_in_force = terms
        profile: Any = self.fields["profile"].widget
        profile.choices = [(each.value, each.label) for each in PORTAL_PROFILES]
        client_type: Any = self.fields["client_type"].widget
        client_type.choices = [
            (Application.CLIENT_CONFIDENTIAL, _("Confidential")),
            (Application.CLIENT_PUBLIC, _("Public")),
        ]
        # As on the page: what is agreed to comes last.
        last = ["agreement", "terms", "form_key"]
        self.order_fields([*(name for name in self.fields if name not in last), *last])

    @property
    def key(self) -> uuid.UUID | None:
        """The form's key; None if somebody has changed it into something else."""
        try:
            return uuid.UUID(self.text_of("form_key"))
        except ValueError:
            return None

    @property
    def chosen_organisation(self) -> Organisation | None:
        chosen = self.text_of("organisation")
        return next((each for each in self.organisations if str(each.pk) == chosen), None)

    @property
    def chosen_profile(self) -> str:
        value = self.text_of("profile")
        return value if value in PORTAL_PROFILES else ""

    @property
    def redirect_uri_list(self) -> list[str]:
        return [line for line in re.split(r"[\r\n]+", self.text_of("redirect_uris")) if line.strip()]

    @property
    def fields_to_register(self) -> dict[str, Any]:
        """Return what was typed as `register_application` takes it."""
        scopes = self.ticked
        return {
            "name": self.text_of("name").strip(),
            "profile": self.text_of("profile"),
            "redirect_uris": [uri.strip() for uri in self.redirect_uri_list],
            "scopes": scopes,
            "reasons": self.reasons(scopes),
            "description": self.text_of("description"),
            "client_type": self.text_of("client_type"),
            "website_url": self.text_of("website_url").strip(),
            "privacy_policy_url": self.text_of("privacy_policy_url").strip(),
            "terms_url": self.text_of("terms_url").strip(),
        }

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        fields = self.fields_to_register
        foreign = self.foreign_scopes()
        fields["scopes"] = [scope for scope in fields["scopes"] if scope not in foreign]
        try:
            rules.check_registration(**fields)
        except ValidationError as error:
            self.add_errors(error)
        if foreign:
            self._refuse_foreign(foreign)
        self._check_terms(data)
        return data

    def _refuse_foreign(self, scopes: list[str]) -> None:
        self.add_error(
            "scopes",
            ValidationError(
                _("The profile “%(profile)s” does not have these: %(scopes)s. Untick them, or choose another profile."),
                params={
                    "profile": Profile(self.chosen_profile).label,
                    "scopes": ", ".join(str(ALL[scope].label) for scope in scopes),
                },
            ),
        )

    def _check_terms(self, data: dict[str, Any]) -> None:
        organisation = data.get("organisation")
        if organisation is None or not data.get("agreement"):
            return
        version = self.terms_in_force[organisation.pk]
        if str(version.pk) not in self.values_of("terms"):
            self.add_error(
                "agreement",
                _("The terms have changed since you opened this page. Read them again, and tick once more."),
            )
