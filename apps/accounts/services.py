"""Everything that writes users."""

from datetime import date

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.organisations.models import Organisation, Reviewer


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
    user.save(force_insert=True)
    verify_email(user=user)
    if reviewer_at is not None:
        Reviewer.objects.create(user=user, organisation=reviewer_at)
    return user


@transaction.atomic
def verify_email(*, user: User) -> None:
    """Note that the user's e-mail address is theirs. Whoever claimed it without proof loses that claim."""
    EmailAddress.objects.filter(email=user.email, verified=False).exclude(user=user).delete()
    EmailAddress.objects.filter(user=user, primary=True).exclude(email=user.email).update(primary=False)
    EmailAddress.objects.update_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )
