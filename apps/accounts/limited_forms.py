"""allauth's forms with our limits: what was typed stays, with a sentence about when to send it again."""

import logging
from typing import Any

from allauth.account.forms import ChangePasswordForm, ResetPasswordForm, SignupForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from cryptography.fernet import InvalidToken
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from apps.accounts import guard

log = logging.getLogger(__name__)


class LimitedSignupForm(SignupForm):
    def clean(self) -> dict[str, Any]:
        guard.check_form(context.request)
        return super().clean()


class LimitedResetPasswordForm(ResetPasswordForm):
    def clean(self) -> dict[str, Any]:
        guard.check_form(context.request)
        return super().clean()


class LimitedChangePasswordForm(ChangePasswordForm):
    def clean_oldpassword(self) -> str:
        taking = guard.begin_own_password(context.request, self.user)
        password: str = super().clean_oldpassword()
        taking.give_back()
        return password


class _LimitedCode:
    """Counts wrong codes, and tells when the deployment has lost what codes are checked with."""

    user: Any

    def clean_code(self) -> str:
        taking = guard.begin_second_factor(context.request, self.user)
        try:
            code: str = super().clean_code()  # type: ignore[misc]  # of the form it is mixed into
        except InvalidToken:
            log.error("No deployment secret opens the second factor of user %s", self.user.pk)
            sentence = _("We can no longer check your codes. Please ask whoever runs this site to take them off.")
            raise ValidationError(sentence, code="closed_factor") from None
        taking.give_back()
        return code


class LimitedAuthenticateForm(_LimitedCode, AuthenticateForm):
    pass


class LimitedReauthenticateForm(_LimitedCode, ReauthenticateForm):
    pass
