"""The developer portal, below /developer/."""

from django.urls import path

from apps.console.views.activity import ActivityView
from apps.console.views.application_list import ApplicationListView
from apps.console.views.branding import BrandingView
from apps.console.views.credentials import CredentialsView, SecretCreateView, SecretEndView
from apps.console.views.deleting import DeleteView
from apps.console.views.integrating import IntegrateView
from apps.console.views.overview import ApplicationView, CommentView
from apps.console.views.redirects import RedirectsView
from apps.console.views.registering import RegistrationDraftView, RegistrationView
from apps.console.views.sent_versions import SentVersionsView, SentVersionView
from apps.console.views.team import (
    InvitationCancelView,
    InvitationView,
    MemberInviteView,
    MemberRemoveView,
    MemberRoleView,
    MembersView,
    OwnershipTransferView,
)
from apps.console.views.terms_of_use import TermsVersionView, TermsView
from apps.console.views.trying import (
    TryCallbackView,
    TryOverView,
    TryPageView,
    TryRedirectView,
    TryStartView,
    TryStepView,
)
from apps.console.views.versions import VersionDraftView, VersionLiveView, VersionView, VersionWithdrawView
from apps.console.views.webhook import WebhookActionView, WebhookAgainView, WebhookKeyView, WebhookView

app_name = "developer"
urlpatterns = [
    path("", ApplicationListView.as_view(), name="applications"),
    # Without a slash at the end (CONTRACT section 9).
    path("add", RegistrationView.as_view(), name="application-create"),
    path("add/draft", RegistrationDraftView.as_view(), name="draft"),
    path("terms/", TermsView.as_view(), name="terms"),
    path("terms/<slug:slug>/<int:number>/", TermsVersionView.as_view(), name="terms-version"),
    path("invitations/<uuid:pk>/", InvitationView.as_view(), name="invitation"),
    path("apps/<uuid:pk>/", ApplicationView.as_view(), name="application"),
    path("apps/<uuid:pk>/version/", VersionView.as_view(), name="version"),
    path("apps/<uuid:pk>/version/draft", VersionDraftView.as_view(), name="version-draft"),
    path("apps/<uuid:pk>/version/withdraw", VersionWithdrawView.as_view(), name="version-withdraw"),
    path("apps/<uuid:pk>/version/live", VersionLiveView.as_view(), name="version-live"),
    path("apps/<uuid:pk>/versions/", SentVersionsView.as_view(), name="versions"),
    path("apps/<uuid:pk>/versions/<int:number>/", SentVersionView.as_view(), name="version-sent"),
    path("apps/<uuid:pk>/comment", CommentView.as_view(), name="comment"),
    path("apps/<uuid:pk>/credentials/", CredentialsView.as_view(), name="credentials"),
    path("apps/<uuid:pk>/credentials/new", SecretCreateView.as_view(), name="secret-create"),
    path("apps/<uuid:pk>/credentials/end", SecretEndView.as_view(), name="secret-end"),
    path("apps/<uuid:pk>/branding/", BrandingView.as_view(), name="branding"),
    path("apps/<uuid:pk>/redirects/", RedirectsView.as_view(), name="redirects"),
    path("apps/<uuid:pk>/team/", MembersView.as_view(), name="team"),
    path("apps/<uuid:pk>/team/invite", MemberInviteView.as_view(), name="member-invite"),
    path("apps/<uuid:pk>/team/<int:member_id>/role", MemberRoleView.as_view(), name="member-role"),
    path("apps/<uuid:pk>/team/<int:member_id>/remove", MemberRemoveView.as_view(), name="member-remove"),
    path(
        "apps/<uuid:pk>/team/invitations/<uuid:invitation_id>/cancel",
        InvitationCancelView.as_view(),
        name="invitation-cancel",
    ),
    path("apps/<uuid:pk>/team/transfer", OwnershipTransferView.as_view(), name="ownership-transfer"),
    path("apps/<uuid:pk>/webhook/", WebhookView.as_view(), name="webhook"),
    path("apps/<uuid:pk>/webhook/key", WebhookKeyView.as_view(), name="webhook-key"),
    path("apps/<uuid:pk>/webhook/act", WebhookActionView.as_view(), name="webhook-act"),
    path("apps/<uuid:pk>/webhook/again", WebhookAgainView.as_view(), name="webhook-again"),
    path("apps/<uuid:pk>/activity/", ActivityView.as_view(), name="activity"),
    path("apps/<uuid:pk>/delete/", DeleteView.as_view(), name="delete"),
    path("apps/<uuid:pk>/integrate/", IntegrateView.as_view(), name="integrate"),
    path("apps/<uuid:pk>/try/", TryPageView.as_view(), name="try"),
    path("apps/<uuid:pk>/try/start", TryStartView.as_view(), name="try-start"),
    path("apps/<uuid:pk>/try/over", TryOverView.as_view(), name="try-over"),
    path("apps/<uuid:pk>/try/redirect-url", TryRedirectView.as_view(), name="try-redirect"),
    path("apps/<uuid:pk>/try/steps/<slug:step>", TryStepView.as_view(), name="try-step"),
    # One address for all applications: it is what a run has to have registered.
    path("try/callback", TryCallbackView.as_view(), name="try-callback"),
]
