"""The review desk, below /review/."""

from django.urls import path

from apps.console.views.reviewing import (
    CommentView,
    DecideView,
    QueueView,
    ReinstateView,
    ReviewTermsView,
    ReviewView,
    SuspendView,
    TrustView,
)

app_name = "review"
urlpatterns = [
    path("", QueueView.as_view(), name="queue"),
    path("terms/", ReviewTermsView.as_view(), name="terms"),
    path("apps/<uuid:pk>/", ReviewView.as_view(), name="application"),
    path("apps/<uuid:pk>/decide", DecideView.as_view(), name="decide"),
    path("apps/<uuid:pk>/comment", CommentView.as_view(), name="comment"),
    path("apps/<uuid:pk>/suspend", SuspendView.as_view(), name="suspend"),
    path("apps/<uuid:pk>/reinstate", ReinstateView.as_view(), name="reinstate"),
    path("apps/<uuid:pk>/trust", TrustView.as_view(), name="trust"),
]
