"""Everything that writes users."""

from datetime import date

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.admin_log import forget_in_admin_log, names_of
from apps.accounts.models import ProfileValue, User, make_username
from apps.audit import trail
from apps.organisations.models import Membership, Organisation, Reviewer


@transaction.atomic
def create_user(
    *,
    email: str,
    password: str,
    first_name: str = "",
    last_name: str = "",
    phone: str = "",
    birth_date: date | None = None,
    username: str = "",
    is_administrator: bool = False,
    reviewer_at: Organisation | None = None,
) -> User:
    """Create a user who can log in at once: the e-mail address counts as verified.

    The password may be any but an empty one; whoever lets people choose checks it first. `reviewer_at` is the
    organisation whose applications the user may decide on. Raises ValidationError by field.
    """
    if not password:
        raise ValidationError({"password": _("Give a password.")})
    user = User(
        email=email.strip().lower(),
        first_name=first_name.strip(),
        last_name=last_name.strip(),
        phone=phone.strip(),
        birth_date=birth_date,
        is_staff=is_administrator,
        is_superuser=is_administrator,
    )
    if username:
        user.username = username
    user.set_password(password)
    user.full_clean()
    check_email_is_free(user.email)
    user.save(force_insert=True)
    _set_only_email_address(user)
    if reviewer_at is not None:
        Reviewer.objects.create(user=user, organisation=reviewer_at)
    return user


@transaction.atomic
def change_email(*, user: User, email: str) -> None:
    """Give the user another e-mail address, which counts as verified. The old one no longer logs in.

    Raises ValidationError when it is somebody else's.
    """
    user.email = email.strip().lower()
    user.clean_fields(exclude={"password"})
    check_email_is_free(user.email, besides=user)
    user.save(update_fields=["email"])
    _set_only_email_address(user)


def check_email_is_free(email: str, *, besides: User | None = None) -> None:
    """Raise ValidationError when somebody else has an account with that address, or has proved that it is theirs."""
    users = User.objects.filter(email=email)
    addresses = EmailAddress.objects.filter(email=email, verified=True)
    if besides is not None:
        users, addresses = users.exclude(pk=besides.pk), addresses.exclude(user=besides)
    if users.exists() or addresses.exists():
        raise ValidationError(_("Somebody already has an account with this e-mail address."))


def suspend_user(*, user: User, actor: User | None = None) -> bool:
    """Let the user neither log in nor be spoken for by any token; says whether that is new."""
    return _set_active(user, False, actor)


def reinstate_user(*, user: User, actor: User | None = None) -> bool:
    """End the user's suspension; says whether there was one. A closed account stays closed."""
    return _set_active(user, True, actor)


def lock_open_account(*, user: User) -> bool:
    """Lock the user's row until the transaction ends, so that the account stays open; says whether it is.

    For whoever attaches something to a user, before they lock anything else: closing the account locks this row first.
    NO KEY UPDATE: those who only refer to the user do not wait.
    """
    return User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True).exists()


@transaction.atomic
def erase_user(*, user: User) -> None:
    """Close the account and delete all that is known of the person; the row stays, because others' records refer to it.

    No log-in, session, password, second factor or permission is left, and the e-mail addresses are free for a new
    account. What the person has connected, and the teams they are on, is up to the caller (consent.services).
    """
    names = names_of(user, addresses=EmailAddress.objects.filter(user=user).values_list("email", flat=True))
    # The row first: whoever attaches something to the user is through by then, or is refused (migration 0004).
    # RFC 2606: no mail goes to .invalid, and nobody can prove an address there.
    user.email, user.username = f"{user.pk}@closed.invalid", make_username()
    user.first_name = user.last_name = user.phone = ""
    user.birth_date = user.last_login = None
    user.is_active = user.is_staff = user.is_superuser = False
    user.closed_at = timezone.now()
    user.set_unusable_password()
    user.save()
    for session in UserSession.objects.filter(user=user):
        session.end()
    for model in (Authenticator, EmailAddress, ProfileValue, Membership, Reviewer):
        model.objects.filter(user=user).delete()
    user.groups.clear()
    user.user_permissions.clear()
    forget_in_admin_log(user=user, names=names)


@transaction.atomic
def _set_active(user: User, is_active: bool, actor: User | None) -> bool:
    open_accounts = User.objects.filter(pk=user.pk, closed_at__isnull=True)
    is_new = bool(open_accounts.filter(is_active=not is_active).update(is_active=is_active))
    if is_new:
        trail.record(f"administrator:user:{'reinstated' if is_active else 'suspended'}", actor=actor, about=user)
    return is_new


def _set_only_email_address(user: User) -> None:
    # Whoever claimed the address without proof loses that claim.
    EmailAddress.objects.filter(email=user.email).exclude(user=user).delete()
    EmailAddress.objects.filter(user=user).exclude(email=user.email).delete()
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
