"""Reads about people."""

from django.http import HttpRequest

from apps.accounts.models import User


def signed_in_user(request: HttpRequest) -> User:
    """Return the logged-in user of a page that is for logged-in users only."""
    user = request.user
    if not isinstance(user, User):
        raise TypeError("This page must be behind a log-in check.")
    return user
