from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.activity.selectors import activity_of
from apps.console.charts import charts_of
from apps.console.error_codes import explain
from apps.console.permissions import TeamView


class ActivityView(TeamView):
    """What the application did in the last 30 days, from the counters: as charts, and as numbers."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        activity = activity_of(self.application)
        context = self.get_context_data(
            activity=activity,
            charts=charts_of(activity),
            errors=[(entry, explain(entry.code)) for entry in activity.errors_by_code],
        )
        return render(request, "console/activity.html", context)
