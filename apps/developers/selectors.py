"""Reads that deserve a name."""

import uuid
from collections.abc import Collection

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from apps.accounts.models import User
from apps.developers.models import (
    Application,
    Outcome,
    Profile,
    RequestedScope,
    Role,
    Status,
    Submission,
    TeamMember,
    TermsAgreement,
    TermsVersion,
)
from apps.organisations.models import Organisation


def find_membership(*, user: User, application_id: uuid.UUID) -> TeamMember | None:
    """Return the user's place on the application's team, with application and organisation, in one query."""
    return (
        TeamMember.objects.select_related("application__organisation", "user")
        .exclude(application__status=Status.DELETED)
        .filter(user=user, application_id=application_id)
        .first()
    )


def find_reviewable(*, organisation_ids: Collection[uuid.UUID], application_id: uuid.UUID) -> Application | None:
    """Return the application if it is one that reviewers of these organisations see, with its organisation."""
    return (
        Application.objects.existing()
        .exclude(profile=Profile.SERVICE)
        .select_related("organisation")
        .filter(organisation_id__in=organisation_ids, pk=application_id)
        .first()
    )


def waiting_submission(application: Application) -> Submission | None:
    """Return the submission that waits for a decision."""
    return application.submissions.select_related("submitted_by", "terms").filter(outcome=Outcome.WAITING).first()


def comparable_counts(*, organisation: Organisation, profile: str) -> tuple[int, dict[str, int]]:
    """Return how many applications of the organisation have this profile, and by scope how many ask for it."""
    alike = (
        Application.objects.existing()
        .exclude(status=Status.REJECTED)
        .filter(organisation=organisation, profile=profile)
    )
    rows = RequestedScope.objects.filter(application__in=alike).values_list("scope").annotate(Count("pk"))
    return alike.count(), dict(rows)


def latest_terms() -> QuerySet[TermsVersion]:
    """Return the version in force of each organisation that has published one."""
    newer = TermsVersion.objects.filter(organisation=OuterRef("organisation"), number__gt=OuterRef("number"))
    return TermsVersion.objects.filter(~Exists(newer)).select_related("organisation")


def terms_to_agree(user: User) -> QuerySet[TermsVersion]:
    """Return the versions in force that `user`, as an owner of applications, has not agreed to."""
    owned = Application.objects.existing().filter(
        organisation=OuterRef("organisation"), team__user=user, team__role=Role.OWNER
    )
    agreed = TermsAgreement.objects.filter(terms=OuterRef("pk"), user=user)
    return latest_terms().filter(Exists(owned), ~Exists(agreed)).order_by("organisation__name")


def owners_who_have_not_agreed(organisation: Organisation) -> QuerySet[TeamMember]:
    """Return the owners' places on teams of the organisation's applications who have not agreed to its latest terms."""
    latest = TermsVersion.objects.filter(organisation=organisation).aggregate(number=Max("number"))["number"]
    agreed = TermsAgreement.objects.filter(
        user=OuterRef("user"), terms__organisation=organisation, terms__number=latest
    )
    return (
        TeamMember.objects.filter(Q(application__organisation=organisation), role=Role.OWNER)
        .exclude(application__status=Status.DELETED)
        .filter(~Exists(agreed))
        .select_related("user", "application")
    )
