"""How often people may try things on the pages of accounts, most of which are allauth's.

Wrong passwords and codes are taken from a bucket before they are looked at, and given back when they were right: of
tries at the same moment no more get through than there are. Which bucket, says `known_browsers`.
"""

import unicodedata
from collections.abc import Callable
from functools import partial

from allauth.account import signals as account_signals
from allauth.account.utils import filter_users_by_email
from django.contrib.auth import signals as auth_signals
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from apps.accounts import known_browsers
from apps.accounts.models import User
from apps.limits.addresses import network_of
from apps.limits.counting import Bucket, Taking, bucket, take
from apps.limits.pages import refuse, with_retry_after
from apps.limits.refusals import Refusal

#: Forms that are shown again with what was typed (limited_forms.py); the rule, which is by address.
_FORMS = {"account_signup": "signup", "account_reset_password": "password_reset"}
#: Other pages that anybody can send something to; by address, too.
_VISITORS = {
    "account_reset_password_from_key": "password_reset",
    "account_confirm_email": "password_reset",
    "mfa_login_webauthn": "login_address",
}
#: Those of them that give back what they took, when they led on.
_GIVING_BACK = frozenset({"mfa_login_webauthn"})
#: What logged-in users change about their account; by account.
_OWN = frozenset(
    {
        "account_change_password",
        "account_set_password",
        "account_email",
        "account-close",
        "account-data",
        "mfa_activate_totp",
        "mfa_deactivate_totp",
        "mfa_generate_recovery_codes",
        "mfa_add_webauthn",
        "mfa_reauthenticate_webauthn",
    }
)


class AccountLimitMiddleware:
    """Refuses what is sent to an account page too often, and makes browsers known."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        refusal = _refusal_of(request)
        if refusal is not None and response.status_code == 200:
            # A form shown again, with the sentence about it.
            response = with_retry_after(response, refusal)
        taking: Taking | None = getattr(request, "limit_taking", None)
        if taking is not None and response.status_code == 302:
            taking.give_back()
        known_browsers.remember(request, response)
        return response

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: object) -> HttpResponse | None:
        name = request.resolver_match.view_name if request.resolver_match else ""
        if request.method != "POST":
            return None
        if rule := _FORMS.get(name):
            _refuse_in_form(request, take(bucket(rule, network_of(request))).refusal)
            return None
        if rule := _VISITORS.get(name):
            taking = take(bucket(rule, network_of(request)))
            if name in _GIVING_BACK and taking.refusal is None:
                request.limit_taking = taking  # type: ignore[attr-defined]
            refusal = taking.refusal
        elif name in _OWN and request.user.is_authenticated:
            refusal = take(bucket("account", request.user.pk), about=request.user).refusal
        else:
            return None
        return refuse(request, refusal) if refusal else None


def begin_log_in(request: HttpRequest, email: str) -> Taking:
    """Take a try of a password; give it back if it was right.

    Raises ValidationError when there are no more. The same for an address that nobody has.
    """
    users: list[User] = []
    if request.user.is_authenticated or known_browsers.has_entries(request):
        users = _find_users(email)
    buckets = next((found for user in users if (found := _buckets("login", request, user))), None)
    if buckets is None:
        buckets = [bucket("login", "strangers", spelt_one_way(email)), bucket("login_address", network_of(request))]
    return _begin(request, buckets, partial(_find_user, email))


def begin_second_factor(request: HttpRequest, user: User) -> Taking:
    """Take a try of a second factor's code; give it back if it was right.

    Raises ValidationError when there are no more.
    """
    buckets = _buckets("second_factor", request, user) or [bucket("second_factor", "strangers", user.pk)]
    return _begin(request, buckets, lambda: user)


def may_be_mailed(email: str, kind: str) -> bool:
    """Say whether a mail of that kind, which anybody can cause, may go to that address now."""
    return take(bucket("mail", kind, spelt_one_way(email)), about=partial(_find_user, email)).refusal is None


def spelt_one_way(email: str) -> str:
    """Return an e-mail address as all spellings of it count that the log-in takes for the same.

    It compares without regard to case, in Unicode: "ſ" is an "s", and a dotless "ı" is an "i" in capitals.
    """
    return unicodedata.normalize("NFKC", email.strip()).upper().casefold()


def check_form(request: HttpRequest) -> None:
    """Raise ValidationError if what was sent with this request's form is refused."""
    refusal = _refusal_of(request)
    if refusal is not None:
        raise ValidationError(_sentence(refusal), code="limited")


def connect() -> None:
    """Begin to listen for log-ins and new passwords; called once, when Django starts."""
    auth_signals.user_logged_in.connect(_note_log_in, dispatch_uid="guard.logged_in")
    for signal in (
        account_signals.password_changed,
        account_signals.password_set,
        # Whoever comes by the mail gets in, however full the strangers' bucket is.
        account_signals.password_reset,
    ):
        signal.connect(_note_log_in, dispatch_uid="guard.password")


def _note_log_in(request: HttpRequest | None, user: User, **kwargs: object) -> None:
    known_browsers.note_log_in(request, user)


def _buckets(rule: str, request: HttpRequest, user: User) -> list[Bucket] | None:
    """Return the bucket of whoever is no stranger to the account; None for strangers."""
    if request.user.is_authenticated and request.user.pk == user.pk:
        return [bucket(rule, "logged in", user.pk)]
    browser = known_browsers.find_browser(request, user)
    return [bucket(rule, "known browser", user.pk, browser)] if browser else None


def _begin(request: HttpRequest, buckets: list[Bucket], about: Callable[[], User | None]) -> Taking:
    taking = take(*buckets, about=about)
    if taking.refusal is not None:
        _refuse_in_form(request, taking.refusal)
        check_form(request)
    return taking


def _sentence(refusal: Refusal) -> str:
    """Return what is said in the form; the same whether there is such an account or not."""
    if refusal.rule in ("login", "login_address"):
        return _(
            "There were too many wrong passwords. Try again in %(wait)s. If you are in a hurry, choose a new password"
            " with “Forgot your password?”: then you can log in here at once."
        ) % {"wait": refusal.wait}
    if refusal.rule == "second_factor":
        return _("There were too many wrong codes. Try again in %(wait)s.") % {"wait": refusal.wait}
    return refusal.sentence


def _refuse_in_form(request: HttpRequest, refusal: Refusal | None) -> None:
    request.limit_refusal = refusal  # type: ignore[attr-defined]


def _refusal_of(request: HttpRequest) -> Refusal | None:
    return getattr(request, "limit_refusal", None)


def _find_users(email: str) -> list[User]:
    # What the database would refuse is nobody's address.
    is_address = bool(email) and email.isprintable()
    return filter_users_by_email(email, is_active=True, prefer_verified=True) if is_address else []


def _find_user(email: str) -> User | None:
    return next(iter(_find_users(email)), None)
