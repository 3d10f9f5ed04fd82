from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from apps.housekeeping.models import HousekeepingRun


@admin.register(HousekeepingRun)
class HousekeepingRunAdmin(admin.ModelAdmin):
    """A way from the administration to the operations page; there is nothing to change here."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: HousekeepingRun | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: HousekeepingRun | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return redirect("operations")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        return redirect("operations")
