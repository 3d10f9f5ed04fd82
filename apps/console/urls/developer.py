"""The developer portal, below /developer/."""

from django.urls import path

from apps.console.views.applications import ApplicationView
from apps.console.views.integrating import IntegrateView
from apps.console.views.team import InvitationView
from apps.console.views.trying import (
    TryCallbackView,
    TryOverView,
    TryPageView,
    TryRedirectView,
    TryStartView,
    TryStepView,
)

app_name = "developer"
urlpatterns = [
    path("invitations/<uuid:pk>/", InvitationView.as_view(), name="invitation"),
    path("apps/<uuid:pk>/", ApplicationView.as_view(), name="application"),
    path("apps/<uuid:pk>/integrate/", IntegrateView.as_view(), name="integrate"),
    path("apps/<uuid:pk>/try/", TryPageView.as_view(), name="try"),
    path("apps/<uuid:pk>/try/start", TryStartView.as_view(), name="try-start"),
    path("apps/<uuid:pk>/try/over", TryOverView.as_view(), name="try-over"),
    path("apps/<uuid:pk>/try/redirect-url", TryRedirectView.as_view(), name="try-redirect"),
    path("apps/<uuid:pk>/try/steps/<slug:step>", TryStepView.as_view(), name="try-step"),
    # One address for all applications: it is what a run has to have registered.
    path("try/callback", TryCallbackView.as_view(), name="try-callback"),
]
