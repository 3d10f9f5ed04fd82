from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _


class ConsentForm(forms.Form):
    """The answer to an authorization request: which button, and which optional scopes are ticked.

    Nothing of the request itself: that stays in the URL, and is validated again.
    """

    decision = forms.ChoiceField(choices=[("allow", _("Allow")), ("deny", _("Deny")), ("switch-user", _("Not you?"))])
    optional_scopes = forms.MultipleChoiceField(required=False)

    def __init__(self, *args: Any, optional_scopes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["optional_scopes"]
        field.choices = [(scope, scope) for scope in optional_scopes]


class ScopesForm(forms.Form):
    """Which of an application's scopes are switched on."""

    scopes = forms.MultipleChoiceField(required=False)

    def __init__(self, *args: Any, scopes: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["scopes"]
        field.choices = [(scope, scope) for scope in scopes]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        field: Any = self.fields["scopes"]
        if self.is_saving(data) and field.choices and not data.get("scopes") and "scopes" not in self.errors:
            raise ValidationError(_("Leave at least one on, or remove the connection."))
        return data

    def is_saving(self, data: dict[str, Any]) -> bool:
        """Say whether the answer means that the scopes are to be saved."""
        return True


class MembershipForm(ScopesForm):
    """What a user whom a partner has sent does with a connection: which button, and which scopes are on."""

    action = forms.ChoiceField(
        choices=[
            ("save", _("Save changes")),
            ("remove", _("Remove connection")),
            ("confirm-remove", _("Yes, remove")),
            ("cancel", _("Cancel")),
        ]
    )

    def is_saving(self, data: dict[str, Any]) -> bool:
        return data.get("action") == "save"
