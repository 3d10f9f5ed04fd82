import uuid

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.organisations.colours import BrandColours

hex_colour = RegexValidator(r"^#[0-9a-fA-F]{6}$", _("Write the colour as # and six digits, e.g. #1d4ed8."))
domain_name = RegexValidator(
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", _("Write the domain in lower case, without a scheme or a port.")
)


def served_at(host: str, organisation: str) -> models.Q:
    """Return the condition that the organisation at that lookup path serves `host` (CONTRACT section 11).

    The default organisation serves every host that is nobody's domain. A condition instead of a look-up of its
    own, so that a token request stays one query.
    """
    own = models.Q(**{f"{organisation}__domain": host})
    is_default = models.Q(**{f"{organisation}__is_default": True})
    is_nobodys = models.Q(~models.Exists(Organisation.objects.filter(domain=host)))
    return own | (is_default & is_nobodys)


class OrganisationQuerySet(models.QuerySet["Organisation"]):
    def at_host(self, host: str) -> "Organisation | None":
        """Return the organisation that serves `host` (CONTRACT section 11), the default one if none does."""
        return self.filter(models.Q(domain=host) | models.Q(is_default=True)).order_by("is_default").first()


class Organisation(models.Model):
    """A brand (a receipts service, a loyalty programme, a campus) with a domain of its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(_("short name"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    domain = models.CharField(_("domain"), max_length=253, unique=True, validators=[domain_name])
    is_default = models.BooleanField(
        _("default"), default=False, help_text=_("Serves every host that is nobody's domain.")
    )
    tagline = models.CharField(_("tagline"), max_length=140, blank=True)
    brand_colour = models.CharField(_("brand colour"), max_length=7, default="#2c5282", validators=[hex_colour])
    logo = models.ImageField(_("logo"), upload_to="logos/organisations", blank=True)
    website_url = models.URLField(_("website"), blank=True)
    privacy_policy_url = models.URLField(_("privacy policy"), blank=True)
    support_email = models.EmailField(_("support e-mail"), blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = OrganisationQuerySet.as_manager()

    class Meta:
        verbose_name = _("organisation")
        verbose_name_plural = _("organisations")
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="one_default_organisation"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def issuer(self) -> str:
        """The issuer identifier of the organisation's authorization server (RFC 8414 section 2)."""
        return f"https://{self.domain}"

    @property
    def colours(self) -> BrandColours:
        """The brand colour as pages and mails use it, readable on light and on dark."""
        return BrandColours.of(self.brand_colour)


class Membership(models.Model):
    """A user's membership of an organisation's loyalty scheme."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="memberships")
    member_id = models.UUIDField(_("member id"), unique=True, default=uuid.uuid4)
    scheme_name = models.CharField(_("scheme"), max_length=100)
    points = models.DecimalField(_("points"), max_digits=14, decimal_places=2, default=0)
    expiring = models.DecimalField(_("points that expire next"), max_digits=14, decimal_places=2, default=0)
    current_level = models.CharField(_("level"), max_length=50, blank=True)
    last_transacted_at = models.DateTimeField(_("last used"), null=True, blank=True)
    created_at = models.DateTimeField(_("member since"))

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            models.UniqueConstraint(fields=["user", "organisation", "scheme_name"], name="one_membership_per_scheme")
        ]

    def __str__(self) -> str:
        return f"{self.scheme_name} ({self.member_id})"


class Reviewer(models.Model):
    """A user who may decide on the organisation's applications."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reviewing")
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="reviewers")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("reviewer")
        verbose_name_plural = _("reviewers")
        constraints = [models.UniqueConstraint(fields=["user", "organisation"], name="one_reviewer_row")]

    def __str__(self) -> str:
        return f"{self.user} @ {self.organisation}"

    @property
    def name_in_log(self) -> str:
        """What the administration's log calls it: that is kept longer than the account."""
        return f"{self.user_id} @ {self.organisation}"
