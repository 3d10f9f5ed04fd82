"""allauth's forms with our limits: what was typed stays, with a sentence about when to send it again."""

from typing import Any

from allauth.account.forms import ChangePasswordForm, ResetPasswordForm, SignupForm
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


class LimitedChangePasswordForm(ChangePasswordForm):
    def clean_oldpassword(self) -> str:
        taking = guard.begin_own_password(context.request, self.user)
        password: str = super().clean_oldpassword()
        taking.give_back()
        return password


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
