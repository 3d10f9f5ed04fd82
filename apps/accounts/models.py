import secrets
import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.accounts.data_points import BY_KEY


def make_username() -> str:
    """Return a handle that says nothing about the person: partners see it, so it is not the e-mail address."""
    return f"user-{secrets.token_hex(8)}"


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, email: str | None) -> "User":
        return self.get(email=(email or "").lower())

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create and return a user; without a password nobody can log in as them."""
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})


class User(AbstractBaseUser, PermissionsMixin):
    """A person with an account. They log in by e-mail address, at any organisation."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    #: Always in lower case, so that one address is one account.
    email = models.EmailField(
        _("e-mail address"),
        max_length=254,
        unique=True,
        error_messages={"unique": _("Somebody already has an account with this e-mail address.")},
    )
    username = models.CharField(_("user name"), max_length=64, unique=True, default=make_username)
    first_name = models.CharField(_("first name"), max_length=100, blank=True)
    last_name = models.CharField(_("last name"), max_length=100, blank=True)
    phone = models.CharField(_("phone number"), max_length=32, blank=True)
    birth_date = models.DateField(_("date of birth"), null=True, blank=True)
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Untick to suspend the user: no log-in, and no token works.")
    )
    is_staff = models.BooleanField(_("administrator"), default=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    #: When the person closed the account. What is left says nothing of them; others' records may still refer to it.
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="email_in_lower_case"),
            models.CheckConstraint(
                condition=models.Q(closed_at__isnull=True) | models.Q(is_active=False),
                name="closed_account_is_inactive",
                violation_error_message=_("This account is closed for good."),
            ),
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.email = self.email.lower()
        super().save(*args, **kwargs)

    def __str__(self) -> str:
        return gettext("Closed account") if self.closed_at else self.get_full_name() or self.email

    def get_full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def get_short_name(self) -> str:
        return self.first_name or self.email


class ProfileValue(models.Model):
    """What is known of one user for one data point of the catalogue."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="profile_values")
    key = models.CharField(_("data point"), max_length=100, choices=[(key, key) for key in BY_KEY])
    value = models.JSONField(_("value"))
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("profile value")
        verbose_name_plural = _("profile values")
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="one_value_per_data_point")]

    def __str__(self) -> str:
        return self.key
