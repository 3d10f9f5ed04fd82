"""The pages of consent: one file per page group."""

from apps.consent.views.authorization import AuthorizationView, ContinueView
from apps.consent.views.connections import ConnectionListView, ConnectionRemoveView
from apps.consent.views.home import HomeView
from apps.consent.views.membership import MembershipView

__all__ = [
    "AuthorizationView",
    "ConnectionListView",
    "ConnectionRemoveView",
    "ContinueView",
    "HomeView",
    "MembershipView",
]
