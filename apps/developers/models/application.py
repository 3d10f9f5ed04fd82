import uuid
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import AbstractApplication, ApplicationManager
from oauthlib.oauth2.rfc6749.errors import MissingRedirectURIError

from apps.accounts.models import User
from apps.developers.redirect_uris import is_registered
from apps.organisations.models import Organisation, hex_colour, served_at


class Profile(models.TextChoices):
    """Which programme an application belongs to. It alone decides the tokens it gets."""

    CONNECTION = "connection", _("Connection (receipts)")
    CUSTOMER = "customer", _("Customer (loyalty)")
    PORTAL = "portal", _("Portal (campus)")
    SERVICE = "service", _("Service (the host's own backends)")


class Status(models.TextChoices):
    """Where an application is on its way through the review."""

    PENDING = "pending", _("Pending")
    CHANGES_REQUESTED = "changes_requested", _("Changes requested")
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")
    SUSPENDED = "suspended", _("Suspended")
    #: For good. The row stays, because connections and what was decided are on record.
    DELETED = "deleted", _("Deleted")


class ApplicationQuerySet(models.QuerySet["Application"]):
    def at_host(self, host: str) -> "ApplicationQuerySet":
        """Only the applications of the organisation that serves `host`."""
        return self.existing().filter(served_at(host, "organisation"))

    def existing(self) -> "ApplicationQuerySet":
        """Only those that have not been deleted."""
        return self.exclude(status=Status.DELETED)

    def of_team_member(self, user: User) -> "ApplicationQuerySet":
        """Only those whose team `user` is on."""
        return self.existing().filter(team__user=user)


class ApplicationModelManager(ApplicationManager.from_queryset(ApplicationQuerySet)):  # type: ignore[misc]
    """DOT's manager (natural keys) with our querysets."""


class Application(AbstractApplication):
    """An OAuth client: registered by developers, approved by reviewers, authorised by users."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)  # type: ignore[assignment]
    organisation = models.ForeignKey(
        Organisation, on_delete=models.PROTECT, related_name="applications", verbose_name=_("organisation")
    )
    profile = models.CharField(_("profile"), max_length=16, choices=Profile.choices)
    status = models.CharField(_("status"), max_length=20, choices=Status.choices, default=Status.PENDING)
    is_trusted = models.BooleanField(
        _("trusted"), default=False, help_text=_("A partner of the brand's own: users see no consent screen.")
    )
    #: The scopes that are live: approved, and what tokens are limited to. Reasons are in RequestedScope.
    scopes = ArrayField(models.CharField(max_length=100), verbose_name=_("scopes"), default=list, blank=True)
    description = models.TextField(_("description"), blank=True)
    website_url = models.URLField(_("website"), blank=True)
    privacy_policy_url = models.URLField(_("privacy policy"), blank=True)
    terms_url = models.URLField(_("terms of service"), blank=True)
    logo = models.ImageField(_("logo"), upload_to="logos/applications", blank=True)
    brand_colour = models.CharField(
        _("brand colour"), max_length=7, blank=True, default="", db_default="", validators=[hex_colour]
    )
    #: Who registered it. What they may do now is for the team to say.
    user = models.ForeignKey(  # the library’s would delete the application with the user
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="registered_applications",
        verbose_name=_("registered by"),
        null=True,
        blank=True,
    )

    # The library's `client_secret` is the newest secret. The one before it works on for a while after a change.
    client_secret_created_at = models.DateTimeField(_("secret made"), default=timezone.now, null=True)
    client_secret_used_at = models.DateTimeField(_("secret last used"), null=True, blank=True)
    previous_client_secret = models.CharField(
        _("previous secret"), max_length=255, blank=True, default="", db_default=""
    )
    previous_client_secret_created_at = models.DateTimeField(_("previous secret made"), null=True, blank=True)
    previous_client_secret_used_at = models.DateTimeField(_("previous secret last used"), null=True, blank=True)
    previous_client_secret_ends_at = models.DateTimeField(_("previous secret ends"), null=True, blank=True)

    objects = ApplicationModelManager()

    class Meta(AbstractApplication.Meta):
        abstract = False
        verbose_name = _("application")
        verbose_name_plural = _("applications")
        indexes = [models.Index(fields=["organisation", "status", "-updated"], name="applications_by_status")]

    def save(self, *args: Any, **kwargs: Any) -> None:
        # The profile decides the grant type as well: one fact, kept where DOT looks for it.
        is_service = self.profile == Profile.SERVICE
        self.authorization_grant_type = self.GRANT_CLIENT_CREDENTIALS if is_service else self.GRANT_AUTHORIZATION_CODE
        super().save(*args, **kwargs)

    @property
    def is_approved(self) -> bool:
        return self.status == Status.APPROVED

    @property
    def has_previous_secret(self) -> bool:
        """Say whether the secret before the newest one still works."""
        ends_at = self.previous_client_secret_ends_at
        return bool(self.previous_client_secret) and ends_at is not None and timezone.now() < ends_at

    @property
    def is_public(self) -> bool:
        return self.client_type == self.CLIENT_PUBLIC

    @property
    def redirect_uri_list(self) -> list[str]:
        return str(self.redirect_uris).split()

    @property
    def default_redirect_uri(self) -> str:
        """The redirect URI of a request that names none: the first registered one (CONTRACT section 2)."""
        if not self.redirect_uri_list:
            raise MissingRedirectURIError()
        return self.redirect_uri_list[0]

    def redirect_uri_allowed(self, uri: str) -> bool:
        return is_registered(uri, self.redirect_uri_list)

    def get_allowed_schemes(self) -> list[str]:
        """The schemes this application may be redirected to: those of its registered redirect URIs."""
        return sorted({uri.partition(":")[0].lower() for uri in self.redirect_uri_list} or {"https"})


class RequestedScope(models.Model):
    """A scope that an application asks for, why, and whether users may untick it."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="requested_scopes")
    scope = models.CharField(_("scope"), max_length=100)
    reason = models.CharField(_("reason"), max_length=280, blank=True)
    is_optional = models.BooleanField(_("optional"), default=False)

    class Meta:
        verbose_name = _("requested scope")
        verbose_name_plural = _("requested scopes")
        constraints = [models.UniqueConstraint(fields=["application", "scope"], name="one_row_per_requested_scope")]

    def __str__(self) -> str:
        return self.scope
