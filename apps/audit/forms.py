import uuid
from typing import Any

from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.translation import gettext_lazy as _

from apps.audit.selectors import Search


class SearchForm(forms.Form):
    """What to look for in the trail. Nothing given: everything."""

    tag = forms.RegexField(
        label=_("Event"),
        required=False,
        regex=r"^[a-z_:]*$",
        max_length=100,
        help_text=_("A tag, or how it begins: user:connection:granted, user:session"),
        error_messages={"invalid": _("A tag has small letters, underscores and colons, e.g. user:connection:granted.")},
    )
    application = forms.CharField(
        label=_("Application"), required=False, max_length=200, help_text=_("Its client ID, its id, or its name")
    )
    user = forms.CharField(label=_("User"), required=False, max_length=254, help_text=_("E-mail address or id"))
    organisation = forms.ChoiceField(label=_("Organisation"), required=False)
    address = forms.GenericIPAddressField(label=_("IP address"), required=False)
    since = forms.DateTimeField(
        label=_("From"),
        required=False,
        help_text=_("In UTC, as all times here"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    until = forms.DateTimeField(
        label=_("Until"),
        required=False,
        help_text=_("In UTC"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        organisations = apps.get_model("organisations", "Organisation").objects.order_by("name")
        choices = [(str(pk), name) for pk, name in organisations.values_list("pk", "name")]
        self.fields["organisation"].choices = [("", _("All")), *choices]  # type: ignore[attr-defined]

    def clean_application(self) -> list[uuid.UUID]:
        """Return the ids that are meant; an id is taken as it is, because its row may be gone."""
        text = self.cleaned_data["application"].strip()
        if not text:
            return []
        if (given := _as_uuid(text)) is not None:
            return [given]
        rows = apps.get_model(settings.OAUTH2_PROVIDER_APPLICATION_MODEL).objects
        found = rows.filter(client_id=text).values_list("pk", flat=True) or rows.filter(name__iexact=text).values_list(
            "pk", flat=True
        )
        if not found:
            raise forms.ValidationError(_("There is no application with this client ID, id or name."))
        return list(found[:100])

    def clean_user(self) -> uuid.UUID | None:
        """Return the id that is meant; an id is taken as it is, because the account may be gone."""
        text = self.cleaned_data["user"].strip()
        if not text:
            return None
        if (given := _as_uuid(text)) is not None:
            return given
        found = get_user_model()._default_manager.filter(email=text.lower()).values_list("pk", flat=True).first()
        if found is None:
            raise forms.ValidationError(_("Nobody has an account with this e-mail address. Search by id instead."))
        return found

    @property
    def search(self) -> Search:
        """What was asked for; only of a valid form."""
        data = self.cleaned_data
        return Search(
            tag=data["tag"],
            application_ids=tuple(data["application"]),
            user_id=data["user"],
            organisation_id=uuid.UUID(data["organisation"]) if data["organisation"] else None,
            address=data["address"] or None,
            since=data["since"],
            until=data["until"],
        )


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
