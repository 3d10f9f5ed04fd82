"""What Django and allauth tell by signal. Our own services call `trail.record` by name."""

from typing import Any
from uuid import UUID

from allauth.account import signals as account
from allauth.account.utils import filter_users_by_email
from allauth.mfa import signals as mfa
from django.contrib.admin.models import LogEntryManager
from django.contrib.auth import signals as auth

from apps.audit.administration import with_audit
from apps.audit.trail import record


def connect() -> None:
    """Begin to listen; called once, when Django starts."""
    for signal, listener in {
        auth.user_logged_in: _logged_in,
        auth.user_logged_out: _logged_out,
        auth.user_login_failed: _login_failed,
        account.user_signed_up: _signed_up,
        account.password_set: _password_set,
        account.password_changed: _password_changed,
        account.password_reset: _password_reset,
        account.email_added: _email_added,
        account.email_confirmed: _email_confirmed,
        account.email_changed: _email_changed,
        account.email_removed: _email_removed,
        mfa.authenticator_added: _second_factor_added,
        mfa.authenticator_removed: _second_factor_removed,
        mfa.authenticator_reset: _second_factor_reset,
        mfa.authentication_failed: _second_factor_refused,
    }.items():
        signal.connect(listener, dispatch_uid=f"audit.{listener.__name__}")
    LogEntryManager.log_actions = with_audit(LogEntryManager.log_actions)  # type: ignore[method-assign]


def _logged_in(user: Any, **kwargs: Any) -> None:
    record("user:session:started", actor=user)


def _logged_out(user: Any, **kwargs: Any) -> None:
    if user is not None and user.is_authenticated:
        record("user:session:ended", actor=user)


def _login_failed(credentials: dict[str, Any], **kwargs: Any) -> None:
    """Record whose account it was, if it is anybody's. What was typed is not kept: it may be a password."""
    typed = str(credentials.get("email") or credentials.get("username") or "")
    # Not a look-up of anything: text that the database would refuse is nobody's address.
    users = filter_users_by_email(typed) if typed.isprintable() and typed else []
    record("visitor:session:refused", about=users[0] if users else None, is_known=bool(users))


def _signed_up(user: Any, **kwargs: Any) -> None:
    record("user:account:created", actor=user)


def _password_set(user: Any, **kwargs: Any) -> None:
    record("user:password:set", actor=user)


def _password_changed(user: Any, **kwargs: Any) -> None:
    record("user:password:changed", actor=user)


def _password_reset(user: Any, **kwargs: Any) -> None:
    record("user:password:reset", actor=user)


def _email_added(user: Any, **kwargs: Any) -> None:
    record("user:email:added", actor=user)


def _email_confirmed(email_address: Any, **kwargs: Any) -> None:
    record("user:email:confirmed", actor=email_address.user)


def _email_changed(user: Any, **kwargs: Any) -> None:
    record("user:email:changed", actor=user)


def _email_removed(user: Any, **kwargs: Any) -> None:
    record("user:email:removed", actor=user)


def _second_factor_added(user: Any, authenticator: Any, **kwargs: Any) -> None:
    record("user:second_factor:added", actor=user, kind=str(authenticator.type))


def _second_factor_removed(user: Any, authenticator: Any, **kwargs: Any) -> None:
    record("user:second_factor:removed", actor=user, kind=str(authenticator.type))


def _second_factor_reset(user: Any, authenticator: Any, **kwargs: Any) -> None:
    record("user:second_factor:reset", actor=user, kind=str(authenticator.type))


def _second_factor_refused(user: Any, authenticator: Any, **kwargs: Any) -> None:
    """Record that a code was wrong. Who gave it has got through the log-in, and may be somebody else all the same."""
    record("visitor:second_factor:refused", about=UUID(str(user.pk)), kind=str(authenticator.type))
