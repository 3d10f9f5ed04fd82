from django.urls import path, re_path

from apps.audit.views import EventListView, ExportView

app_name = "audit"

urlpatterns = [
    path("", EventListView.as_view(), name="events"),
    re_path(r"^events\.(?P<extension>csv|jsonl)$", ExportView.as_view(), name="export"),
]
