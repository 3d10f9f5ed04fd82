"""Versions that were sent for review, and the developer terms of use: to look at, or to add to."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.developers.models import (
    Submission,
    TermsVersion,
)
from apps.developers.services.terms import publish_terms


@admin.register(Submission)
class SubmissionAdmin(admin.ModelAdmin):
    """Versions that were sent for review, and what came of them. To look at: the review desk decides."""

    list_display = [
        "application",
        "number",
        "outcome",
        "submitted_by",
        "submitted_at",
        "decided_by",
        "decided_at",
    ]
    list_filter = ["outcome", "application__organisation", "application__profile"]
    list_select_related = ["application", "submitted_by", "decided_by"]
    search_fields = ["application__name", "application__client_id", "submitted_by__email", "decided_by__email"]
    ordering = ["-submitted_at"]
    date_hierarchy = "submitted_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Submission | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Submission | None = None) -> bool:
        return False


@admin.register(TermsVersion)
class TermsVersionAdmin(admin.ModelAdmin):
    """The developer terms of use. To add is to publish; what is published never changes."""

    list_display = ["organisation", "number", "published_at"]
    list_filter = ["organisation"]
    list_select_related = ["organisation"]
    search_fields = ["organisation__name", "text"]
    ordering = ["organisation__name", "-number"]
    autocomplete_fields = ["organisation"]
    fields = ["organisation", "text", "changes"]

    def get_fields(self, request: HttpRequest, obj: TermsVersion | None = None) -> Any:
        return ["organisation", "number", "published_at", "text", "changes"] if obj else self.fields

    def has_change_permission(self, request: HttpRequest, obj: TermsVersion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TermsVersion | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: TermsVersion, form: Any, change: bool) -> None:
        obj.pk = publish_terms(**{name: form.cleaned_data[name] for name in ("organisation", "text", "changes")}).pk
        obj.refresh_from_db()
