from django.contrib.auth.mixins import PermissionRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View

from apps.operations.selectors import (
    MOST_COUNTED,
    count_workers,
    find_failed_jobs,
    find_periodic_tasks,
    find_queues,
    find_webhooks,
)


@method_decorator(never_cache, name="dispatch")
class OperationsView(PermissionRequiredMixin, View):
    """What the background worker does, for administrators with the permission to see it."""

    permission_required = "housekeeping.view_housekeepingrun"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        workers, last_sign_at = count_workers()
        context = {
            "tasks": find_periodic_tasks(),
            "queues": find_queues(),
            "failed_jobs": find_failed_jobs(),
            "webhooks": find_webhooks(),
            "workers": workers,
            "last_sign_at": last_sign_at,
            "most_counted": MOST_COUNTED,
        }
        return render(request, "operations/operations.html", context)
