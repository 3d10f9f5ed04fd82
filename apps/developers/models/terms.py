from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.organisations.models import Organisation


class TermsVersion(models.Model):
    """One version of an organisation's developer terms of use. Never changed once published."""

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="developer_terms")
    number = models.PositiveIntegerField(_("version"))
    #: Paragraphs, separated by an empty line; a line that starts with "## " is a heading.
    text = models.TextField(_("text"))
    #: What is new in it, for people who agreed to the one before.
    changes = models.TextField(_("what has changed"), blank=True)
    published_at = models.DateTimeField(_("published"), default=timezone.now)

    class Meta:
        verbose_name = _("developer terms")
        verbose_name_plural = _("developer terms")
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["organisation", "number"], name="one_terms_version_per_number")]

    def __str__(self) -> str:
        return _("Developer terms of use of %(organisation)s, version %(number)s") % {
            "organisation": self.organisation,
            "number": self.number,
        }


class TermsAgreement(models.Model):
    """A developer has agreed to a version of the terms."""

    terms = models.ForeignKey(TermsVersion, on_delete=models.PROTECT, related_name="agreements")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="terms_agreements")
    agreed_at = models.DateTimeField(_("agreed"), default=timezone.now)

    class Meta:
        verbose_name = _("agreement to the terms")
        verbose_name_plural = _("agreements to the terms")
        constraints = [models.UniqueConstraint(fields=["terms", "user"], name="one_agreement_per_version")]

    def __str__(self) -> str:
        return f"{self.user}, {self.terms_id}"
