from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application


class Kind(models.TextChoices):
    """What is counted."""

    AUTHORISATION = "authorisation", _("Authorisations")
    DENIAL = "denial", _("Denials")
    TOKEN = "token", _("Token responses")
    ERROR = "error", _("Errors")


class Difference(models.TextChoices):
    """Which part of a presented redirect URI is not as registered."""

    SCHEME = "scheme", _("the scheme, before “://”")
    HOST = "host", _("the host name")
    PORT = "port", _("the port")
    PATH = "path", _("the path")
    QUERY = "query", _("the query, after “?”")
    FRAGMENT = "fragment", _("the fragment, after “#”")
    CASE = "case", _("capital or small letters")
    TRAILING_SLASH = "trailing_slash", _("the slash at the end")
    OTHER = "other", _("something else")


class ActivityCount(models.Model):
    """How often an application did one thing on one day (UTC)."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="activity_counts")
    day = models.DateField(_("day"))
    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    #: Of an error its OAuth code, of a token response its grant type, else empty.
    code = models.CharField(_("code"), max_length=64, blank=True)
    count = models.BigIntegerField(_("count"))

    class Meta:
        verbose_name = _("activity count")
        verbose_name_plural = _("activity counts")
        constraints = [
            # Also the index that an application's days are read by.
            models.UniqueConstraint(fields=["application", "day", "kind", "code"], name="one_count_per_day_and_code")
        ]
        indexes = [models.Index(fields=["day"], name="activity_count_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.kind} {self.code}: {self.count}"


class RedirectMismatch(models.Model):
    """A redirect URI that somebody presented for an application and that is none of its own.

    `presented` is what a stranger sent (cut to 500 characters): show it to the team only, and never as a link.
    """

    MAX_LENGTH = 500
    #: The newest ones stay.
    MAX_PER_APPLICATION = 20

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="redirect_mismatches")
    presented = models.CharField(_("presented"), max_length=MAX_LENGTH)
    differs = models.CharField(_("what differs"), max_length=16, choices=Difference.choices)
    #: The registered redirect URI that is most like it; empty when none is registered.
    closest = models.TextField(_("closest registered"), blank=True)
    count = models.BigIntegerField(_("count"))
    first_seen_at = models.DateTimeField(_("first seen"))
    last_seen_at = models.DateTimeField(_("last seen"))

    class Meta:
        verbose_name = _("redirect URI that did not match")
        verbose_name_plural = _("redirect URIs that did not match")
        constraints = [models.UniqueConstraint(fields=["application", "presented"], name="one_row_per_mismatching_uri")]

    def __str__(self) -> str:
        return self.presented

    @property
    def is_whole(self) -> bool:
        """Say whether `presented` is all of what was presented."""
        return len(self.presented) < self.MAX_LENGTH
