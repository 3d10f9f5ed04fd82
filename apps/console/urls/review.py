"""The review desk, below /review/."""

from django.urls import path

from apps.console.views.reviewing import ReviewView

app_name = "review"
urlpatterns = [
    path("apps/<uuid:pk>/", ReviewView.as_view(), name="application"),
]
