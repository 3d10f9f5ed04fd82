from typing import Any

from allauth.account.admin import EmailAddress
from allauth.account.decorators import secure_admin_login
from allauth.mfa.admin import Authenticator
from allauth.usersessions.admin import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm, UserChangeForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.accounts.data_points import BY_KEY
from apps.accounts.models import ProfileValue, User
from apps.accounts.selectors import signed_in_user
from apps.accounts.services import (
    change_email,
    check_email_is_free,
    create_user,
    reinstate_user,
    suspend_user,
)
from apps.accounts.values import read_value, write_value

# Administrators log in like everybody else, so that a second factor counts here too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


def _lead_to_own_password(request: HttpRequest, extra_context: object = None) -> HttpResponse:
    """Lead to the account's page: tries of the old password are counted there."""
    return redirect("account_change_password")


admin.site.password_change = _lead_to_own_password  # type: ignore[method-assign, assignment]

# The library's pages show what nobody is to see: a session's key, the secret of a second factor.
# Addresses are changed on the user's page, which knows who may change whom.
admin.site.unregister([Authenticator, UserSession, EmailAddress])


class UserAddForm(BaseUserCreationForm):
    """A new user with a password, who can log in at once."""

    class Meta:
        model = User
        fields = ["email", "first_name", "last_name"]

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        check_email_is_free(email)
        return email


class UserEditForm(UserChangeForm):
    """A user; another e-mail address counts as verified, and the old one no longer logs in."""

    class Meta:
        model = User
        fields = "__all__"

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        check_email_is_free(email, besides=self.instance)
        return email


@admin.register(User)
class UserAdmin(BaseUserAdmin):
    """People. They are suspended, not deleted: deleting would pass by the applications they are connected to."""

    add_form = UserAddForm
    form = UserEditForm
    ordering = ["email"]
    list_display = ["email", "first_name", "last_name", "is_active", "is_staff", "created_at"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    search_fields = ["email", "username", "first_name", "last_name"]
    readonly_fields = ["id", "username", "last_login", "created_at", "closed_at"]
    fieldsets = [
        (None, {"fields": ["email", "password", "is_active"]}),
        (_("Person"), {"fields": ["first_name", "last_name", "phone", "birth_date", "username"]}),
        (_("Permissions"), {"fields": ["is_staff", "is_superuser", "groups", "user_permissions"]}),
        (_("History"), {"fields": ["last_login", "created_at", "closed_at", "id"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "first_name", "last_name", "password1", "password2"]})]
    add_form_template = None
    actions = ["suspend", "reinstate"]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only a superuser decides who may do what."""
        fields = list(super().get_readonly_fields(request, obj))
        if not _is_superuser(request):
            fields += ["is_staff", "is_superuser", "groups", "user_permissions"]
        return fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody but a superuser changes a superuser, or a password would be the way to become one.

        A closed account stays as it is.
        """
        may = super().has_change_permission(request, obj)
        return may and (obj is None or (not obj.closed_at and (not obj.is_superuser or _is_superuser(request))))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            data = form.cleaned_data
            user = create_user(
                email=data["email"],
                password=data["password1"],
                first_name=data["first_name"],
                last_name=data["last_name"],
            )
            obj.pk = user.pk
            obj.refresh_from_db()
            return
        super().save_model(request, obj, form, change)
        if "email" in form.changed_data:
            change_email(user=obj, email=obj.email)

    @admin.action(description=_("Suspend"), permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """No log-in, and no token works; oneself and superusers are left out where they must be."""
        users = [user for user in queryset if user != request.user and self.has_change_permission(request, user)]
        count = sum(suspend_user(user=user, actor=signed_in_user(request)) for user in users)
        self.message_user(request, ngettext("%d user suspended.", "%d users suspended.", count) % count)
        if len(users) < queryset.count():
            self.message_user(request, _("Some of them are not yours to suspend."), messages.WARNING)

    @admin.action(description=_("End the suspension"), permissions=["change"])
    def reinstate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let them log in again; what they had granted works again too."""
        users = [user for user in queryset if self.has_change_permission(request, user)]
        count = sum(reinstate_user(user=user, actor=signed_in_user(request)) for user in users)
        self.message_user(request, ngettext("%d user reinstated.", "%d users reinstated.", count) % count)


class ProfileValueForm(forms.ModelForm):
    """One value, written as in an imported table."""

    text = forms.CharField(
        label=_("Value"),
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text=_("A day as YYYY-MM-DD; yes or no; texts separated by “;”; links as name=URL separated by “;”."),
    )

    class Meta:
        model = ProfileValue
        fields = ["user", "key"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and self.instance.key in BY_KEY:
            self.initial["text"] = write_value(BY_KEY[self.instance.key], self.instance.value)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        point = BY_KEY.get(data.get("key") or self.instance.key)
        if point and "text" in data:
            try:
                self.instance.value = read_value(point, data["text"])
            except ValidationError as error:
                self.add_error("text", [_("This value %(problem)s.") % {"problem": text} for text in error.messages])
        return data


@admin.register(ProfileValue)
class ProfileValueAdmin(admin.ModelAdmin):
    """What is known of users for the data points."""

    form = ProfileValueForm
    list_display = ["user", "key", "value", "updated_at"]
    list_filter = ["key"]
    list_select_related = ["user"]
    search_fields = ["user__email", "user__first_name", "user__last_name", "key"]
    autocomplete_fields = ["user"]

    def get_readonly_fields(self, request: HttpRequest, obj: ProfileValue | None = None) -> Any:
        return ["user", "key"] if obj else []


@admin.register(Authenticator)
class AuthenticatorAdmin(admin.ModelAdmin):
    """Second factors: removed for a user who has lost theirs, never looked into."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    list_select_related = ["user"]
    search_fields = ["user__email", "user__first_name", "user__last_name"]
    fields = ["user", "type", "created_at", "last_used_at"]
    readonly_fields = ["user", "type", "created_at", "last_used_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Authenticator | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Authenticator | None = None) -> bool:
        """Only a superuser takes a superuser's second factor away."""
        may = super().has_delete_permission(request, obj)
        return may and (_is_superuser(request) or (obj is not None and not obj.user.is_superuser))


def _is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))
