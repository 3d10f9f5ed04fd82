"""The demo partner's pages, under /demo/."""

from django.urls import path

from apps.demo.views import CallbackView, ConnectView, IndexView, PartnerView, StartOverView, StepView

app_name = "demo"
urlpatterns = [
    path("", IndexView.as_view(), name="index"),
    path("<slug:programme>/", PartnerView.as_view(), name="partner"),
    path("<slug:programme>/connect", ConnectView.as_view(), name="connect"),
    path("<slug:programme>/callback", CallbackView.as_view(), name="callback"),
    path("<slug:programme>/start-over", StartOverView.as_view(), name="start-over"),
    path("<slug:programme>/<slug:step>", StepView.as_view(), name="step"),
]
