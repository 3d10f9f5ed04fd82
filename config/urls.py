"""The whole URL map: doors, standard addresses, people's pages.

A door of one programme serves every profile (CONTRACT section 0); its name says where it comes from. The standard
names (`authorize`, `token`) are the loyalty programme's doors, because they are what RFC 8414 metadata points to.

`/livez`, `/readyz` and `/metrics` are answered before this map is asked (apps/operations/middleware.py).
"""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from apps.consent.views import (
    AccountCloseView,
    AccountDataView,
    AccountView,
    AuthorizationView,
    ConnectionListView,
    ConnectionRemoveAllView,
    ConnectionRemoveView,
    ConnectionView,
    ContinueView,
    HomeView,
    MembershipView,
)
from apps.members.views import CustomerView, DataPointsView
from apps.operations.mirror import MirrorView
from apps.operations.views import OperationsView
from apps.organisations.views import BrandStylesView, LogoView
from apps.tokens.notifications import NotificationsView
from apps.tokens.views import (
    IntrospectTokenView,
    JwksView,
    MetadataView,
    RevokeConnectionView,
    RevokeTokenView,
    TokenView,
)

# Also what is answered while the database is away.
handler500 = "apps.operations.unavailable.server_error"
handler400 = "apps.operations.unavailable.bad_request"

urlpatterns = [
    path("", HomeView.as_view(), name="home"),
    # receipts
    path("auth", AuthorizationView.as_view(), name="authorize-receipts"),
    path("api/oauth/token", TokenView.as_view(), name="token-receipts"),
    path("api/oauth/revoke", RevokeConnectionView.as_view(), name="revoke-connection"),
    path("membership", MembershipView.as_view(), name="membership"),
    # loyalty
    path("oauth/authorize", AuthorizationView.as_view(), name="authorize"),
    path("oauth/token", TokenView.as_view(), name="token"),
    path("oauth/user", CustomerView.as_view(), name="customer"),
    # campus
    path("oauth/authorise/", AuthorizationView.as_view(), name="authorize-campus"),
    path("oauth/authorise", AuthorizationView.as_view()),
    path("open_auth/token/", TokenView.as_view(), name="token-campus"),
    path("open_auth/token", TokenView.as_view()),
    path("open_auth/revoke_token/", RevokeTokenView.as_view(), name="revoke-token-campus"),
    path("open_auth/revoke_token", RevokeTokenView.as_view()),
    path("open_auth/get_user_data/", DataPointsView.as_view(), name="data-points"),
    path("open_auth/get_user_data", DataPointsView.as_view()),
    # the host's own backends
    path("api/notifications", NotificationsView.as_view(), name="notifications"),
    # standard addresses
    path("oauth/revoke", RevokeTokenView.as_view(), name="revoke-token"),
    path("oauth/introspect", IntrospectTokenView.as_view(), name="introspect-token"),
    path(".well-known/oauth-authorization-server", MetadataView.as_view(), name="metadata"),
    path(".well-known/jwks.json", JwksView.as_view(), name="jwks"),
    # people
    path("continue/<str:key>/", ContinueView.as_view(), name="continue"),
    path("account/", AccountView.as_view(), name="account"),
    path("account/data/", AccountDataView.as_view(), name="account-data"),
    path("account/close/", AccountCloseView.as_view(), name="account-close"),
    path("account/connections/", ConnectionListView.as_view(), name="connections"),
    path("account/connections/remove/", ConnectionRemoveAllView.as_view(), name="connections-remove"),
    path("account/connections/<uuid:pk>/", ConnectionView.as_view(), name="connection"),
    path("account/connections/<uuid:pk>/remove/", ConnectionRemoveView.as_view(), name="connection-remove"),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("account/sessions/", include("allauth.usersessions.urls")),
    path("account/", include("allauth.account.urls")),
    path("developer/", include("apps.console.urls.developer")),
    path("review/", include("apps.console.urls.review")),
    path("brand/<slug:slug>.css", BrandStylesView.as_view(), name="brand-styles"),
    path("media/logos/<str:kind>/<str:name>", LogoView.as_view(), name="logo"),
    path("audit/", include("apps.audit.urls")),
    path("operations/", OperationsView.as_view(), name="operations"),
    path("operations/mirror", MirrorView.as_view(), name="mirror"),
    path("admin/", admin.site.urls),
]

if settings.DEMO_MODE:
    urlpatterns += [path("demo/", include("apps.demo.urls"))]
