from collections.abc import Callable, Iterable
from typing import Any

import oauth2_provider.admin  # noqa: F401  registers what is unregistered here
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminFileWidget
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.accounts.selectors import signed_in_user
from apps.developers import rules
from apps.developers.errors import RefusedError
from apps.developers.models import Application, Profile, RequestedScope
from apps.developers.scopes import BY_PROFILE
from apps.developers.services.applications import create_application
from apps.developers.services.review import approve_application, suspend_application
from apps.developers.services.versions import set_requested_scopes
from apps.organisations.logos import LogoField, delete_after_commit

# The library's page knows neither profiles nor the rules, and shows the stored secret.
admin.site.unregister(Application)


def _scope_choices(profiles: Iterable[str]) -> list[Any]:
    return [
        (Profile(profile).label, [(scope.name, f"{scope.label} ({scope.name})") for scope in BY_PROFILE[profile]])
        for profile in profiles
        if BY_PROFILE[profile]
    ]


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
            )
        except ValidationError as error:
            for field, messages in error.error_dict.items():
                if field not in self.errors:
                    self.add_error(field if field in self.fields else NON_FIELD_ERRORS, messages)
        return data

    def _value(self, name: str) -> Any:
        # What was fixed at registration is not in the form; what was filled in wrongly is not in cleaned_data.
        return self.cleaned_data.get(name, getattr(self.instance, name))


class RequestedScopeInline(admin.TabularInline):
    """Why each scope is asked for, and whether users may untick it."""

    model = RequestedScope
    fields = ["scope", "reason", "is_optional"]
    readonly_fields = ["scope"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Application)
class ApplicationAdmin(admin.ModelAdmin):
    """Applications. They are suspended, not deleted: users' connections and what was decided stay on record."""

    form = ApplicationForm
    list_display = ["name", "profile", "organisation", "status", "is_trusted", "client_type", "client_id"]
    list_filter = ["status", "profile", "organisation", "is_trusted", "client_type"]
    list_select_related = ["organisation"]
    search_fields = ["name", "client_id", "user__email"]
    ordering = ["name"]
    autocomplete_fields = ["organisation", "user"]
    inlines = [RequestedScopeInline]
    actions = ["approve", "suspend"]
    view_on_site = False
    #: Fixed at registration: live tokens and users' consent are about these.
    fixed_fields = ["client_id", "profile", "organisation", "client_type"]

    def get_fieldsets(self, request: HttpRequest, obj: Application | None = None) -> Any:
        what = ["name", "profile", "organisation", "client_type"]
        access = ["redirect_uris", "scopes", "is_trusted"]
        pages = ["description", "website_url", "privacy_policy_url", "terms_url", "logo"]
        if obj is None:
            return [
                (None, {"fields": [*what, "user"]}),
                (_("Access"), {"fields": [*access, "is_approved"]}),
                (_("What users and reviewers read"), {"fields": pages}),
            ]
        return [
            (None, {"fields": [*what, "client_id", "status", "user"]}),
            (_("Access"), {"fields": access}),
            (_("What users and reviewers read"), {"fields": pages}),
            (_("History"), {"fields": ["created", "updated"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> Any:
        return [*self.fixed_fields, "status", "created", "updated"] if obj else []

    def get_inlines(self, request: HttpRequest, obj: Application | None) -> Any:
        return self.inlines if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        if change:
            if "logo" in form.changed_data:
                delete_after_commit(form.initial["logo"])
            super().save_model(request, obj, form, change)
            return
        data = {**form.cleaned_data, "redirect_uris": form.cleaned_data["redirect_uris"].split()}
        data["logo"], data["owner"] = data["logo"] or None, data.pop("user")
        application, client_secret = create_application(**data)
        obj.pk = application.pk
        obj.refresh_from_db()
        request.client_secret = client_secret  # type: ignore[attr-defined]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if change:
            set_requested_scopes(application=form.instance, scopes=form.instance.scopes)

    def response_add(self, request: HttpRequest, obj: Application, post_url_continue: Any = None) -> HttpResponse:
        """Show the secret, once: in this answer and nowhere else, not even in a message that waits in a cookie."""
        secret = request.client_secret  # type: ignore[attr-defined]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Application added"),
            "application": obj,
            "client_secret": secret,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "admin/developers/application/added.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description=_("Approve"), permissions=["change"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Application]) -> None:
        """Let users authorise them."""
        count = self._change_each(request, approve_application, queryset)
        self.message_user(request, ngettext("%d application approved.", "%d applications approved.", count) % count)

    @admin.action(description=_("Suspend"), permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Application]) -> None:
        """End what they may do; their tokens stop working at once."""
        count = self._change_each(request, suspend_application, queryset)
        self.message_user(request, ngettext("%d application suspended.", "%d applications suspended.", count) % count)

    def _change_each(self, request: HttpRequest, change: Callable[..., bool], queryset: QuerySet[Application]) -> int:
        """Ask `change` of each application; say which it is refused for, and return how many have changed."""
        count = 0
        for application in queryset:
            try:
                count += change(application=application, actor=signed_in_user(request))
            except RefusedError as refusal:
                self.message_user(request, f"{application.name}: {refusal.message}", messages.ERROR)
        return count
