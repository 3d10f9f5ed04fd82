"""Log-ins, which Django and allauth tell by signal."""

from typing import Any

from allauth.mfa import signals as mfa
from django.contrib.auth import signals as auth

from apps.telemetry import metrics


def connect() -> None:
    """Begin to listen; called once, when Django starts."""
    auth.user_logged_in.connect(_logged_in, dispatch_uid="telemetry.logged_in")
    auth.user_login_failed.connect(_refused, dispatch_uid="telemetry.refused")
    mfa.authentication_failed.connect(_second_factor_refused, dispatch_uid="telemetry.second_factor_refused")


def _logged_in(**kwargs: Any) -> None:
    metrics.logins.labels("ok").inc()


def _refused(**kwargs: Any) -> None:
    metrics.logins.labels("refused").inc()


def _second_factor_refused(**kwargs: Any) -> None:
    metrics.logins.labels("second_factor_refused").inc()
