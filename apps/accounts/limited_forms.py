"""allauth's forms with our limits: what was typed stays, with a sentence about when to send it again."""

from typing import Any

from allauth.account.forms import ResetPasswordForm, SignupForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm

from apps.accounts import guard


class LimitedSignupForm(SignupForm):
    def clean(self) -> dict[str, Any]:
        guard.check_form(context.request)
        return super().clean()


class LimitedResetPasswordForm(ResetPasswordForm):
    def clean(self) -> dict[str, Any]:
        guard.check_form(context.request)
        return super().clean()


class LimitedAuthenticateForm(AuthenticateForm):
    def clean_code(self) -> str:
        taking = guard.begin_second_factor(context.request, self.user)
        code: str = super().clean_code()
        taking.give_back()
        return code


class LimitedReauthenticateForm(ReauthenticateForm):
    def clean_code(self) -> str:
        taking = guard.begin_second_factor(context.request, self.user)
        code: str = super().clean_code()
        taking.give_back()
        return code
