"""The administration's form of an application."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminFileWidget
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext_lazy as _

from apps.developers import rules
from apps.developers.models import (
    Application,
    Profile,
)
from apps.developers.scopes import BY_PROFILE
from apps.organisations.logos import LogoField


def _scope_choices(profiles: Iterable[str]) -> list[Any]:
    return [
        (Profile(profile).label, [(scope.name, f"{scope.label} ({scope.name})") for scope in BY_PROFILE[profile]])
        for profile in profiles
        if BY_PROFILE[profile]
    ]


#: The fields that hold addresses of the partner's own pages.
PAGES = ("website_url", "privacy_policy_url", "terms_url")


class ApplicationForm(forms.ModelForm):
    """An application under the rules of registration (`rules.check_application`)."""

    redirect_uris = forms.CharField(
        label=_("Redirect URLs"),
        required=False,
        help_text=_("One a line."),
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80, "spellcheck": "false"}),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Only those of its profile."),
    )
    is_approved = forms.BooleanField(
        label=_("Approve at once"), required=False, help_text=_("Users may authorise it without a review.")
    )
    logo = LogoField(label=_("Logo"), required=False, widget=AdminFileWidget)

    class Meta:
        model = Application
        fields = [
            "name",
            "profile",
            "organisation",
            "client_type",
            "redirect_uris",
            "scopes",
            "is_trusted",
            "description",
            "website_url",
            "privacy_policy_url",
            "terms_url",
            "logo",
            "user",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        is_new = self.instance._state.adding
        if "name" in self.fields:
            # It is not for who may only look.
            self.fields["name"].required = True
        scopes: Any = self.fields.get("scopes")
        if scopes:
            scopes.choices = _scope_choices(Profile.values if is_new else [self.instance.profile])
        if not is_new:
            self.initial["redirect_uris"] = "\n".join(self.instance.redirect_uri_list)

    def clean_redirect_uris(self) -> str:
        """Return them as they are stored: separated by one space."""
        return " ".join(dict.fromkeys(self.cleaned_data["redirect_uris"].split()))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        try:
            rules.check_application(
                name=self._value("name"),
                profile=self._value("profile"),
                redirect_uris=self._value("redirect_uris").split(),
                scopes=self._value("scopes") or [],
                client_type=self._value("client_type"),
                is_trusted=self._value("is_trusted"),
                # What was there before there were rules may stay.
                description=self._new_description(),
                website_url=self._new_page("website_url"),
                privacy_policy_url=self._new_page("privacy_policy_url"),
                terms_url=self._new_page("terms_url"),
            )
        except ValidationError as error:
            for field, messages in error.error_dict.items():
                if field not in self.errors:
                    self.add_error(field if field in self.fields else NON_FIELD_ERRORS, messages)
        self._keep_lasting_pages()
        return data

    def _keep_lasting_pages(self) -> None:
        """Refuse to empty a page that has an address: the service would (`rules.check_branding`)."""
        for name in rules.LASTING_PAGES.intersection(self.changed_data):
            if self.initial.get(name) and not self.cleaned_data.get(name, "wrong already"):
                try:
                    rules.check_page_url("")
                except ValidationError as error:
                    self.add_error(name, error)

    def _new_description(self) -> str:
        description = rules.clean_text(self._value("description"))
        return description if description != rules.clean_text(self.initial.get("description", "")) else ""

    def _new_page(self, name: str) -> str:
        return self._value(name) if name in self.changed_data else ""

    def _value(self, name: str) -> Any:
        # What was fixed at registration is not in the form; what was filled in wrongly is not in cleaned_data.
        return self.cleaned_data.get(name, getattr(self.instance, name))
