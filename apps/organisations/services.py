"""Everything that writes organisations."""

from django.core.files.base import File
from django.db import transaction

from apps.organisations.models import Organisation


@transaction.atomic
def create_organisation(
    *,
    slug: str,
    name: str,
    domain: str,
    tagline: str = "",
    brand_colour: str = "",
    website_url: str = "",
    privacy_policy_url: str = "",
    support_email: str = "",
    logo: File | None = None,
) -> Organisation:
    """Create an organisation; the first one becomes the default. Raises ValidationError by field."""
    organisation = Organisation(
        slug=slug.strip(),
        name=name.strip(),
        domain=domain.strip().lower(),
        is_default=not Organisation.objects.filter(is_default=True).exists(),
        tagline=tagline,
        website_url=website_url,
        privacy_policy_url=privacy_policy_url,
        support_email=support_email,
        logo=logo,
    )
    if brand_colour:
        organisation.brand_colour = brand_colour
    organisation.full_clean()
    organisation.save(force_insert=True)
    return organisation


@transaction.atomic
def make_default(*, organisation: Organisation) -> None:
    """Let the organisation serve every host that is nobody's domain, instead of the one that did."""
    Organisation.objects.select_for_update().filter(is_default=True).update(is_default=False)
    Organisation.objects.filter(pk=organisation.pk).update(is_default=True)
    organisation.is_default = True
