"""The developer terms of use and who has agreed to them."""

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.developers.models import TermsAgreement, TermsVersion
from apps.developers.terms_text import FIRST_TERMS
from apps.organisations.models import Organisation


def current_terms(organisation: Organisation) -> TermsVersion:
    """Return the version in force; an organisation that has published none gets the text we come with."""
    latest = TermsVersion.objects.filter(organisation=organisation).order_by("-number").first()
    if latest is not None:
        return latest
    terms, _is_new = TermsVersion.objects.get_or_create(
        organisation=organisation, number=1, defaults={"text": FIRST_TERMS}
    )
    return terms


def publish_terms(*, organisation: Organisation, text: str, changes: str = "") -> TermsVersion:
    """Publish the next version; owners are asked to agree at their next visit. `changes` tells them what is new."""
    current = current_terms(organisation)
    for _attempt in range(3):
        try:
            with transaction.atomic():
                latest = TermsVersion.objects.filter(organisation=organisation).order_by("-number").first() or current
                return TermsVersion.objects.create(
                    organisation=organisation, number=latest.number + 1, text=text, changes=changes
                )
        except IntegrityError:
            continue
    raise RuntimeError(_("Somebody else keeps publishing terms; try again."))


def agree_to_terms(*, user: User, terms: TermsVersion) -> TermsAgreement:
    """Keep that `user` agrees to `terms`, and when; the first time counts."""
    agreement, _is_new = TermsAgreement.objects.get_or_create(user=user, terms=terms)
    return agreement
