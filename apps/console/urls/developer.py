"""The developer portal, below /developer/."""

from django.urls import path

from apps.console.views.applications import ApplicationView
from apps.console.views.team import InvitationView

app_name = "developer"
urlpatterns = [
    path("invitations/<uuid:pk>/", InvitationView.as_view(), name="invitation"),
    path("apps/<uuid:pk>/", ApplicationView.as_view(), name="application"),
]
