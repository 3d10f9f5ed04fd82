import uuid
from collections.abc import Iterable

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application


class EndReason(models.TextChoices):
    """Who or what ended a connection."""

    USER = "user", _("by the user")
    PARTNER = "partner", _("by the partner")
    ADMINISTRATOR = "administrator", _("by an administrator")
    APPLICATION = "application", _("because the application was deleted")


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def active(self) -> "ConnectionQuerySet":
        return self.filter(ended_at__isnull=True)


class Connection(models.Model):
    """What one user lets one application do. Its id is the `receipthero_id` of the receipts programme.

    It remembers the consent, so that it outlives any token; once ended it never comes back (a new consent makes
    a new connection with a new id).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="connections")
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="connections")
    scopes = ArrayField(models.CharField(max_length=100), verbose_name=_("scopes"), default=list, blank=True)
    partner_metadata = models.JSONField(_("partner metadata"), null=True, blank=True)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)
    changed_at = models.DateTimeField(_("changed"), auto_now=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    end_reason = models.CharField(_("why it ended"), max_length=16, choices=EndReason.choices, blank=True)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "application"],
                condition=models.Q(ended_at__isnull=True),
                name="one_active_connection",
            )
        ]
        indexes = [
            models.Index(
                fields=["application"],
                condition=models.Q(ended_at__isnull=True),
                name="active_connections_of",
            )
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_active(self) -> bool:
        return self.ended_at is None

    def covers(self, scopes: Iterable[str]) -> bool:
        """Say whether the user has already granted all of `scopes`."""
        return self.is_active and set(scopes) <= set(self.scopes)
