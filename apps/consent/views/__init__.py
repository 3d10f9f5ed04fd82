"""The pages of consent: one file per page group."""

from apps.consent.views.account import AccountCloseView, AccountDataView, AccountView
from apps.consent.views.authorization import AuthorizationView, ContinueView
from apps.consent.views.connections import (
    ConnectionListView,
    ConnectionRemoveAllView,
    ConnectionRemoveView,
    ConnectionView,
)
from apps.consent.views.home import HomeView
from apps.consent.views.membership import MembershipView

__all__ = [
    "AccountCloseView",
    "AccountDataView",
    "AccountView",
    "AuthorizationView",
    "ConnectionListView",
    "ConnectionRemoveAllView",
    "ConnectionRemoveView",
    "ConnectionView",
    "ContinueView",
    "HomeView",
    "MembershipView",
]
