"""Reads that deserve a name."""

import uuid
from collections.abc import Collection
from typing import Any

from allauth.account.models import EmailAddress
from django.db.models import Count, Exists, F, FilteredRelation, Max, OuterRef, Prefetch, Q, QuerySet

from apps.accounts.models import User
from apps.developers.models import (
    Application,
    HistoryEntry,
    HistoryKind,
    Invitation,
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


def reviewable_applications(organisation_ids: Collection[uuid.UUID]) -> QuerySet[Application]:
    """Return the applications that reviewers of these organisations see, with their organisation."""
    return (
        Application.objects.existing()
        .exclude(profile=Profile.SERVICE)
        .select_related("organisation")
        .filter(organisation_id__in=organisation_ids)
    )


def has_part_in(*, application: Application, user: User) -> bool:
    """Say whether `user` is too near to decide on it: on its team, whoever registered it, or whoever sent what waits.

    The last two because somebody may leave the team between sending and deciding.
    """
    return (
        application.user_id == user.pk
        or application.team.filter(user=user).exists()
        or application.submissions.filter(outcome=Outcome.WAITING, submitted_by=user).exists()
    )


def applications_owned_alone(user: User) -> QuerySet[Application]:
    """Return the applications whose only owner is `user`, by name, with their organisation."""
    others = TeamMember.objects.filter(application=OuterRef("pk"), role=Role.OWNER).exclude(user=user)
    owned = Application.objects.existing().filter(team__user=user, team__role=Role.OWNER)
    return owned.filter(~Exists(others)).select_related("organisation").order_by("name", "pk")


def memberships_of(user: User) -> QuerySet[TeamMember]:
    """Return the user's places on teams by name of the application, with application and organisation."""
    return (
        TeamMember.objects.select_related("application__organisation")
        .exclude(application__status=Status.DELETED)
        .filter(user=user)
        .order_by("application__name", "application_id")
    )


def invitations_to(user: User) -> QuerySet[Invitation]:
    """Return the open invitations to addresses that are proved to be the user's, the newest first."""
    addresses = EmailAddress.objects.filter(user=user, verified=True).values("email")
    return (
        Invitation.objects.open()
        .select_related("application__organisation", "invited_by")
        .exclude(application__status=Status.DELETED)
        .filter(email__in=addresses)
        .order_by("-created_at")
    )


def version_to_edit(application: Application) -> Submission | None:
    """Return the submission that the next version begins with: what waits, or what changes were requested of, or an
    update that was rejected, the text of which is nowhere else.

    None: the version on the application itself, because the latest submission was approved or taken back.
    """
    latest = application.submissions.exclude(outcome=Outcome.WITHDRAWN).order_by("-number").first()
    outcomes = {Outcome.WAITING, Outcome.CHANGES_REQUESTED}
    if application.is_approved:
        outcomes.add(Outcome.REJECTED)
    return latest if latest and latest.outcome in outcomes else None


def sent_versions(application: Application) -> QuerySet[Submission]:
    """Return what was sent for review, the newest first, with who sent it and who decided.

    `withdrawals` of each are the history's notes that somebody took it back: none if a later one took its place.
    """
    notes = HistoryEntry.objects.filter(kind=HistoryKind.WITHDRAWN).select_related("actor")
    return (
        application.submissions.select_related("submitted_by", "decided_by")
        .prefetch_related(Prefetch("history", queryset=notes, to_attr="withdrawals"))
        .order_by("-number")
    )


def find_reviewable(*, organisation_ids: Collection[uuid.UUID], application_id: uuid.UUID) -> Application | None:
    """Return the application if it is one that reviewers of these organisations see, with its organisation."""
    return reviewable_applications(organisation_ids).filter(pk=application_id).first()


def with_waiting_submission(applications: QuerySet[Application]) -> QuerySet[Any]:
    """Add what waits of each: `waiting_since`, `waiting_number`, `waiting_scopes`, all None where nothing does."""
    # At most one row: there is a constraint.
    waiting = FilteredRelation("submissions", condition=Q(submissions__outcome=Outcome.WAITING))
    return applications.annotate(waiting=waiting).annotate(
        waiting_since=F("waiting__submitted_at"),
        waiting_number=F("waiting__number"),
        waiting_scopes=F("waiting__scopes"),
    )


def with_owners(applications: QuerySet[Application]) -> QuerySet[Application]:
    """Add the owners' places on each team as the list `owners`, whoever has been there longest first."""
    owners = TeamMember.objects.filter(role=Role.OWNER).select_related("user").order_by("joined_at", "pk")
    return applications.prefetch_related(Prefetch("team", queryset=owners, to_attr="owners"))


def search_applications(applications: QuerySet[Application], text: str) -> QuerySet[Application]:
    """Return those of which each word of `text` is in the name, the client id, or an owner's name or e-mail address."""
    for word in text.split():
        person = (
            Q(user__first_name__icontains=word) | Q(user__last_name__icontains=word) | Q(user__email__icontains=word)
        )
        owners = TeamMember.objects.filter(person, application=OuterRef("pk"), role=Role.OWNER)
        applications = applications.filter(Q(name__icontains=word) | Q(client_id__icontains=word) | Exists(owners))
    return applications


def waiting_submission(application: Application) -> Submission | None:
    """Return the submission that waits for a decision."""
    return application.submissions.select_related("submitted_by", "terms").filter(outcome=Outcome.WAITING).first()


def comparable_counts(
    *, organisation: Organisation, profile: str, besides: Application | None = None
) -> tuple[int, dict[str, int]]:
    """Return how many applications of the organisation, `besides` that one, have this profile, and by scope how many
    of them ask for it.
    """
    alike = (
        Application.objects.existing()
        .exclude(status=Status.REJECTED)
        .filter(organisation=organisation, profile=profile)
    )
    if besides is not None:
        alike = alike.exclude(pk=besides.pk)
    rows = RequestedScope.objects.filter(application__in=alike).values_list("scope").annotate(Count("pk"))
    return alike.count(), dict(rows)


def all_comparable_counts() -> dict[tuple[uuid.UUID, str], tuple[int, dict[str, int]]]:
    """Return what `comparable_counts` returns, by organisation and profile, for all of them at once."""
    alike = Application.objects.existing().exclude(status=Status.REJECTED)
    counts: dict[tuple[uuid.UUID, str], tuple[int, dict[str, int]]] = {
        (organisation_id, profile): (count, {})
        for organisation_id, profile, count in alike.order_by()
        .values_list("organisation_id", "profile")
        .annotate(Count("pk"))
    }
    rows = (
        RequestedScope.objects.filter(application__in=alike)
        .order_by()
        .values_list("application__organisation_id", "application__profile", "scope")
        .annotate(Count("pk"))
    )
    for organisation_id, profile, scope, count in rows:
        # One that was registered between the two reads has its turn next time.
        counts.get((organisation_id, profile), (0, {}))[1][scope] = count
    return counts


def unapproved_applications(user: User) -> QuerySet[Application]:
    """Return the applications that `user` owns and nobody has approved yet."""
    return Application.objects.filter(
        team__user=user,
        team__role=Role.OWNER,
        status__in=[Status.PENDING, Status.CHANGES_REQUESTED, Status.REJECTED],
    )


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
