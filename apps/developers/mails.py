"""Which mail goes to whom when something happens to an application.

Called in the transaction of the fact; the mails leave when it commits. Whoever did it gets none.
"""

from typing import Any

from django.urls import reverse

from apps.accounts.models import User
from apps.developers.models import Application, HistoryEntry, Invitation, Submission, TeamMember
from apps.organisations.addresses import site_address
from apps.organisations.mail import queue_mail


def version_submitted(application: Application, *, submission: Submission, actor: User | None) -> None:
    """To the reviewers: something waits. To the rest of the team: it was sent."""
    _to_reviewers(application, "review_waiting", besides=actor, submission=submission)
    _to_team(application, "version_submitted", besides=actor, submission=submission, actor=actor)


def submission_approved(application: Application, *, submission: Submission, actor: User | None) -> None:
    _to_team(application, "submission_approved", besides=actor, submission=submission)


def changes_requested(application: Application, *, submission: Submission, actor: User | None) -> None:
    _to_team(application, "changes_requested", besides=actor, submission=submission)


def submission_rejected(application: Application, *, submission: Submission, actor: User | None) -> None:
    _to_team(application, "submission_rejected", besides=actor, submission=submission)


def comment_added(application: Application, *, entry: HistoryEntry) -> None:
    """To both sides: who reviews, and who builds."""
    _to_team(application, "comment_added", besides=entry.actor, entry=entry)
    if not entry.is_by_reviewer:
        _to_reviewers(application, "comment_for_review", besides=entry.actor, entry=entry)


def application_suspended(application: Application, *, reason: str, actor: User | None) -> None:
    _to_team(application, "application_suspended", besides=actor, reason=reason)


def application_reinstated(application: Application, *, reason: str, actor: User | None) -> None:
    _to_team(application, "application_reinstated", besides=actor, reason=reason)


def application_deleted(application: Application, *, actor: User | None) -> None:
    _to_team(application, "application_deleted", besides=actor, actor=actor)


def secret_created(application: Application, *, actor: User | None) -> None:
    """To all of the team, whoever did it too: if it was not them, somebody else is in their account."""
    _to_team(application, "secret_created", actor=actor)


def secret_ended(application: Application, *, actor: User | None) -> None:
    _to_team(application, "secret_ended", actor=actor)


def invitation_sent(invitation: Invitation) -> None:
    application = invitation.application
    address = site_address(application.organisation, reverse("developer:invitation", args=[invitation.pk]))
    context = {"application": application, "invitation": invitation, "address": address}
    queue_mail(
        organisation=application.organisation,
        to=invitation.email,
        template="developers/invitation_sent",
        context=context,
    )


def member_joined(application: Application, *, member: TeamMember) -> None:
    _to_team(application, "member_joined", besides=member.user, member=member)


def member_removed(application: Application, *, user: User) -> None:
    _send(application, [user.email], "member_removed")


def ownership_transferred(application: Application, *, member: TeamMember, actor: User) -> None:
    _to_team(application, "ownership_transferred", member=member, actor=actor)


def _to_team(application: Application, template: str, *, besides: User | None = None, **context: Any) -> None:
    team = application.team.filter(user__is_active=True)
    if besides is not None:
        team = team.exclude(user=besides)
    _send(application, list(team.values_list("user__email", flat=True)), template, **context)


def _to_reviewers(application: Application, template: str, *, besides: User | None, **context: Any) -> None:
    reviewers = application.organisation.reviewers.filter(user__is_active=True)
    reviewers = reviewers.exclude(user__in=application.team.values("user"))
    if besides is not None:
        reviewers = reviewers.exclude(user=besides)
    address = site_address(application.organisation, reverse("review:application", args=[application.pk]))
    emails = list(reviewers.values_list("user__email", flat=True))
    _send(application, emails, template, **{**context, "address": address})


def _send(application: Application, emails: list[str], template: str, **context: Any) -> None:
    address = site_address(application.organisation, reverse("developer:application", args=[application.pk]))
    queue_mail(
        organisation=application.organisation,
        to=emails,
        template=f"developers/{template}",
        context={"application": application, "address": address, **context},
    )
