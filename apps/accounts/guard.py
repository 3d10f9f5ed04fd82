"""How often people may try things on the pages of accounts, most of which are allauth's.

Wrong passwords and codes are taken from a bucket before they are looked at, and given back when they were right: of
tries at the same moment no more get through than there are. Which bucket, says `known_browsers`.
"""

import unicodedata
from collections.abc import Callable
from functools import partial

from allauth.account import signals as account_signals
from allauth.account.authentication import get_authentication_records
from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from allauth.mfa import signals as second_factor_signals
from django.conf import settings
from django.contrib.auth import signals as auth_signals
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.accounts import known_browsers
from apps.accounts.known_browsers import Proof
from apps.accounts.models import User
from apps.limits.addresses import network_of
from apps.limits.counting import Bucket, Taking, bucket, empty, take, take_in_turn
from apps.limits.pages import refuse, with_retry_after
from apps.limits.refusals import Refusal
from apps.organisations.models import Organisation

#: The kind of mail, as allauth names it, that has the link for a forgotten password.
RESET_MAIL = "account/email/password_reset_key"
#: Forms that are shown again with what was typed (limited_forms.py); the rule, which is by address.
_FORMS = {"account_signup": "signup", "account_reset_password": "password_reset"}
_PASSKEY = "mfa_login_webauthn"
#: Where what nobody can guess is sent: a mail's link, a passkey. By address, and only what is wrong is counted: what is
#: right is never refused, however much somebody at the same address has tried.
_UNGUESSABLE = {
    "account_reset_password_from_key": "mail_link",
    "account_confirm_email": "mail_link",
    _PASSKEY: "passkey_address",
}
#: Buttons of the page of e-mail addresses that send a mail to one.
_MAILING = ("action_add", "action_send")
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
        elif (rule := _rule_of_failure(request, response)) and (
            refusal := take(bucket(rule, network_of(request))).refusal
        ):
            response = refuse(request, refusal)
        mailing: Taking | None = getattr(request, "limit_mailing", None)
        if mailing is not None:
            mailing.give_back()
        known_browsers.remember(request, response)
        return response

    def process_view(self, request: HttpRequest, view: object, args: object, kwargs: object) -> HttpResponse | None:
        name = _view_name(request)
        if request.method != "POST":
            return self._count_challenge(request) if name == _PASSKEY and request.method == "GET" else None
        if rule := _FORMS.get(name):
            _refuse_in_form(request, _take_mailing(request, bucket(rule, network_of(request))))
            return None
        if name in _OWN and request.user.is_authenticated:
            refusal = self._take_own(request, request.user, name)
            return refuse(request, refusal) if refusal else None
        return None

    def _count_challenge(self, request: HttpRequest) -> HttpResponse | None:
        # A passkey answers what is asked of it here, and the session remembers that.
        if request.user.is_authenticated or request.session.session_key:
            return None
        refusal = take(bucket("new_session", network_of(request))).refusal
        return refuse(request, refusal) if refusal else None

    def _take_own(self, request: HttpRequest, user: User, name: str) -> Refusal | None:
        known_browsers.keep_over_new_password(request, user)
        own = bucket("account", user.pk)
        if name == "account_email" and any(button in request.POST for button in _MAILING):
            return _take_mailing(request, own, about=user)
        return take(own, about=user).refusal


def begin_log_in(request: HttpRequest, email: str) -> Taking:
    """Take a try of a password; give it back if it was right.

    Raises ValidationError when there are no more. The same for an address that nobody has.
    """
    users: list[User] = []
    if request.user.is_authenticated or known_browsers.has_entries(request):
        users = _find_users(email)
    buckets = next((found for user in users if (found := _buckets("login", request, user))), None)
    if buckets is None:
        # The address's first: what is typed there fills no table.
        buckets = [bucket("login_address", network_of(request)), _strangers_bucket(email)]
    return _begin(request, buckets, partial(_find_user, email))


def begin_own_password(request: HttpRequest, user: User) -> Taking:
    """Take a try of the password that a logged-in user is asked for once more; give it back if it was right.

    Raises ValidationError when there are no more.
    """
    return _begin(request, [bucket("login", "logged in", user.pk)], lambda: user)


def begin_second_factor(request: HttpRequest, user: User) -> Taking:
    """Take a try of a second factor's code; give it back if it was right.

    Raises ValidationError when there are no more.
    """
    buckets = _buckets("second_factor", request, user) or [bucket("second_factor", "strangers", user.pk)]
    return _begin(request, buckets, lambda: user)


def may_be_mailed(email: str, kind: str, organisation: Organisation) -> bool:
    """Say whether a mail of that kind, which anybody can cause, may go to that address now.

    By organisation: its link leads to that site, and lets nobody in at another.
    """
    if not settings.RATE_LIMITS:
        return True
    state = _state_of(email) if kind == RESET_MAIL else []
    one = bucket("mail", kind, organisation.pk, spelt_one_way(email), *state)
    return take(one, about=partial(_find_user, email)).refusal is None


def note_mail(request: HttpRequest) -> None:
    """Let a mail that the request has caused count for its address."""
    request.limit_mailing = None  # type: ignore[attr-defined]


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
    for signal in (account_signals.password_changed, account_signals.password_set):
        signal.connect(_note_new_password, dispatch_uid="guard.password")
    account_signals.password_reset.connect(_note_password_reset, dispatch_uid="guard.password_reset")
    second_factor_signals.authenticator_added.connect(_note_second_factor, dispatch_uid="guard.second_factor")


def _rule_of_failure(request: HttpRequest, response: HttpResponse) -> str | None:
    """Return the rule that counts what was sent, if it was wrong and nothing that could be guessed."""
    rule = _UNGUESSABLE.get(_view_name(request))
    if rule is None or request.method != "POST":
        return None
    if rule == "passkey_address":
        # allauth leads to the log-in page after a wrong one; an answer that leads nowhere has not looked at it.
        has_failed = response.get("Location") == reverse("account_login")
    else:
        has_failed = response.status_code in (400, 404) or "token_fail" in (
            getattr(response, "context_data", None) or {}
        )
    return rule if has_failed else None


def _view_name(request: HttpRequest) -> str:
    return request.resolver_match.view_name if request.resolver_match else ""


def _note_log_in(request: HttpRequest | None, user: User, **kwargs: object) -> None:
    records = get_authentication_records(request, user) if request is not None else []
    has_shown = any(record.get("method") == "mfa" for record in records)
    known_browsers.note(request, user, Proof.SECOND_FACTOR if has_shown else Proof.LOG_IN)


def _note_new_password(request: HttpRequest, user: User, **kwargs: object) -> None:
    known_browsers.note(request, user, Proof.LOG_IN)


def _note_password_reset(request: HttpRequest, user: User, **kwargs: object) -> None:
    """Let whoever came by the mail in, however full the strangers' bucket is: here, and where they wanted to log in."""
    known_browsers.note(request, user, Proof.MAIL)
    empty(*map(_strangers_bucket, _addresses_of(user)))


def _state_of(email: str) -> list[object]:
    """Return what is another after a log-in or a new password of whoever has shown that the address is theirs.

    It is part of the bucket of mails for a forgotten password: so these go again to somebody who was here, at every
    organisation, and the log-in has nothing to do for it. After a new password the links of those that went are dead;
    after a log-in they are good, but may be thrown away. Empty for an address that is nobody's.
    """
    for user in _find_users(email):
        if spelt_one_way(email) in map(spelt_one_way, _addresses_of(user)):
            return [user.pk, user.last_login, known_browsers.fingerprint(user)]
    return []


def _addresses_of(user: User) -> list[str]:
    """Return the addresses that are known to be the user's: another one may be somebody else's, whose buckets stay."""
    return list(EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True))


def _note_second_factor(request: HttpRequest, user: User, **kwargs: object) -> None:
    known_browsers.note(request, user, Proof.SECOND_FACTOR)


def _buckets(rule: str, request: HttpRequest, user: User) -> list[Bucket] | None:
    """Return the bucket of whoever is no stranger to the account; None for strangers."""
    if request.user.is_authenticated and request.user.pk == user.pk:
        return [bucket(rule, "logged in", user.pk)]
    entry = known_browsers.find_entry(request, user)
    if entry is None:
        return None
    if rule != "second_factor" or entry.proof is Proof.SECOND_FACTOR:
        return [bucket(rule, "known browser", user.pk, entry.browser)]
    # All of them together: each new password would be new tries. And somebody who was in before there was a second
    # factor may have any number of known browsers.
    return [bucket(rule, "password reset", user.pk)] if entry.proof is Proof.MAIL else None


def _strangers_bucket(email: str) -> Bucket:
    return bucket("login", "strangers", spelt_one_way(email))


def _take_mailing(request: HttpRequest, first: Bucket, about: User | None = None) -> Refusal | None:
    """Take from a bucket, and from that of the mails which the address causes; this is given back if none was sent."""
    taking = take(first, about=about)
    if taking.refusal is not None:
        return taking.refusal
    mailing = take(bucket("mail_address", network_of(request)), about=about)
    if mailing.refusal is not None:
        taking.give_back()
    else:
        request.limit_mailing = mailing  # type: ignore[attr-defined]
    return mailing.refusal


def _begin(request: HttpRequest, buckets: list[Bucket], about: Callable[[], User | None]) -> Taking:
    taking = take_in_turn(*buckets, about=about)
    if taking.refusal is not None:
        _refuse_in_form(request, taking.refusal)
        check_form(request)
    return taking


def _sentence(refusal: Refusal) -> str:
    """Return what is said in the form; the same whether there is such an account or not."""
    if refusal.rule in ("login", "login_address"):
        return _(
            "There were too many wrong passwords. Try again in %(wait)s. If you are in a hurry, choose a new password"
            " with “Forgot your password?”, and open the mail’s link in this browser: then you can log in at once."
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
