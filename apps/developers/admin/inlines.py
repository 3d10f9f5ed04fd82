"""What belongs to an application and is edited or shown on its page: reasons, team, history."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.developers import rules
from apps.developers.errors import LastOwnerError
from apps.developers.models import (
    HistoryEntry,
    RequestedScope,
    Role,
    TeamMember,
)


class RequestedScopeForm(forms.ModelForm):
    """Why a scope is asked for, under the rules of registration if anything is said."""

    class Meta:
        model = RequestedScope
        fields = ["reason", "is_optional"]
        widgets = {"reason": forms.Textarea(attrs={"rows": 2, "cols": 60})}

    def clean_reason(self) -> str:
        reason = rules.clean_text(self.cleaned_data["reason"])
        if reason and "reason" in self.changed_data:
            rules.check_reason(reason)
        return reason


class RequestedScopeInline(admin.TabularInline):
    """Why each scope is asked for, and whether users may untick it."""

    model = RequestedScope
    form = RequestedScopeForm
    fields = ["scope", "reason", "is_optional"]
    readonly_fields = ["scope"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TeamMemberForm(forms.ModelForm):
    """Somebody's place on a team. Who it is does not change: others get a place of their own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "user" in self.fields and not self.instance._state.adding:
            self.fields["user"].disabled = True


class TeamFormSet(BaseInlineFormSet):
    """A team that always has an owner, once it has one."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        had_owner = any(form.initial.get("role") == Role.OWNER for form in self.initial_forms)
        stays = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        if had_owner and not any(form.cleaned_data["role"] == Role.OWNER for form in stays):
            raise ValidationError(LastOwnerError.message)


class TeamInline(admin.TabularInline):
    """The team. Whoever is put on it here gets no invitation to accept."""

    model = TeamMember
    form = TeamMemberForm
    formset = TeamFormSet
    fields = ["user", "role", "joined_at"]
    readonly_fields = ["joined_at"]
    autocomplete_fields = ["user"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[TeamMember]:
        return super().get_queryset(request).select_related("user")


class HistoryInline(admin.TabularInline):
    """What has happened last to an application."""

    model = HistoryEntry
    fields = ["created_at", "kind", "actor", "is_by_reviewer", "text", "details"]
    readonly_fields = ["created_at", "kind", "actor", "is_by_reviewer", "text", "details"]
    ordering = ["-created_at", "-pk"]
    extra = 0
    max_num = 0
    can_delete = False
    verbose_name_plural = _("latest history")
    #: More of it is on the review desk.
    most = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[HistoryEntry]:
        entries = super().get_queryset(request).select_related("actor", "application")
        match = request.resolver_match
        application_id: Any = unquote(match.kwargs["object_id"]) if match and "object_id" in match.kwargs else None
        latest = HistoryEntry.objects.filter(application=application_id).order_by("-created_at", "-pk")
        # A slice cannot be filtered any further, which the formset does.
        return entries.filter(pk__in=list(latest.values_list("pk", flat=True)[: self.most]))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
