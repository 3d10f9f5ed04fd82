"""Which mail goes to whom when something happens to an application.

Called in the transaction of the fact; the mails leave when it commits. Whoever did it gets none, unless it is about
who may get in; a suspended user never gets one. All templates have `name` (the application's, not too long), `who`
(did it), `words` (what they wrote; may be empty) and `address` (the page to open).
"""

from typing import Any

from django.urls import reverse
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.developers.models import Application, HistoryEntry, Invitation, Role, Submission, TeamMember
from apps.organisations.addresses import site_address
from apps.organisations.mail import queue_mail

#: Of a name that somebody has chosen, in characters: a subject is one line, and an invitation no leaflet.
_LONGEST_NAME = 60


def version_submitted(application: Application, *, submission: Submission, actor: User | None) -> None:
    """To the reviewers: something waits. To the rest of the team: it was sent."""
    _to_reviewers(application, "review_waiting", actor=actor, submission=submission)
    _to_team(application, "version_submitted", actor=actor, submission=submission)


def submission_approved(application: Application, *, submission: Submission, actor: User | None) -> None:
    _to_team(application, "submission_approved", actor=actor, submission=submission, words=submission.reason)


def changes_requested(application: Application, *, submission: Submission, actor: User | None) -> None:
    _to_team(application, "changes_requested", actor=actor, submission=submission, words=submission.reason)


def submission_rejected(application: Application, *, submission: Submission, actor: User | None) -> None:
    _to_team(application, "submission_rejected", actor=actor, submission=submission, words=submission.reason)


def comment_added(application: Application, *, entry: HistoryEntry) -> None:
    """To both sides: who reviews, and who builds."""
    _to_team(application, "comment_added", actor=entry.actor, entry=entry, words=entry.text)
    if not entry.is_by_reviewer:
        _to_reviewers(application, "comment_for_review", actor=entry.actor, entry=entry, words=entry.text)


def application_suspended(application: Application, *, reason: str, actor: User | None) -> None:
    _to_team(application, "application_suspended", actor=actor, words=reason)


def application_reinstated(application: Application, *, reason: str, actor: User | None) -> None:
    _to_team(application, "application_reinstated", actor=actor, words=reason)


def trusted_redirects_changed(
    application: Application, *, added: list[str], removed: list[str], actor: User | None
) -> None:
    """To the reviewers: users of a trusted application are sent elsewhere, and no consent screen tells them."""
    _to_reviewers(application, "trusted_redirects_changed", actor=actor, added=added, removed=removed)


def application_deleted(application: Application, *, actor: User | None) -> None:
    _to_team(application, "application_deleted", actor=actor)


def secret_created(application: Application, *, actor: User | None) -> None:
    """To all of the team, whoever did it too: if it was not them, somebody else is in their account."""
    _to_team(application, "secret_created", actor=actor, is_for_actor_too=True, page="credentials")


def secret_ended(application: Application, *, actor: User | None) -> None:
    """To all of the team, like `secret_created`."""
    _to_team(application, "secret_ended", actor=actor, is_for_actor_too=True, page="credentials")


def invitation_sent(invitation: Invitation) -> None:
    """To the address that was invited, whether somebody has an account with it or not."""
    if User.objects.filter(email=invitation.email, is_active=False).exists():
        return
    application = invitation.application
    path = reverse("developer:invitation", args=[invitation.pk])
    _send(
        application,
        [invitation.email],
        "invitation_sent",
        actor=invitation.invited_by,
        path=path,
        invitation=invitation,
    )


def member_joined(application: Application, *, member: TeamMember) -> None:
    _to_team(application, "member_joined", actor=member.user, page="team", member=member)


def member_added(application: Application, *, member: TeamMember, actor: User | None) -> None:
    """To all of the team, the new member too: nobody of them has asked for it."""
    added = _name_of(member.user, application)
    _to_team(application, "member_added", actor=actor, is_for_actor_too=True, member=member, added=added)


def member_removed(application: Application, *, user: User, actor: User) -> None:
    """To the one who was taken off the team."""
    if user.is_active:
        _send(application, [user.email], "member_removed", actor=actor)


def role_changed(application: Application, *, member: TeamMember, old_role: str, actor: User | None) -> None:
    """To all of the team, like `ownership_transferred`: `member` has the new role."""
    changed = _name_of(member.user, application)
    _to_team(
        application,
        "role_changed",
        actor=actor,
        is_for_actor_too=True,
        page="team",
        changed=changed,
        old_role=Role(old_role).label,
        role=member.get_role_display(),
    )


def ownership_transferred(application: Application, *, member: TeamMember, actor: User) -> None:
    """To all of the team, whoever did it too, because it is about who may do everything."""
    heir = _name_of(member.user, application)
    _to_team(application, "ownership_transferred", actor=actor, is_for_actor_too=True, page="team", heir=heir)


def _to_team(
    application: Application,
    template: str,
    *,
    actor: User | None,
    is_for_actor_too: bool = False,
    page: str = "application",
    **context: Any,
) -> None:
    team = application.team.filter(user__is_active=True)
    if actor is not None and not is_for_actor_too:
        team = team.exclude(user=actor)
    emails = list(team.values_list("user__email", flat=True))
    path = reverse(f"developer:{page}", args=[application.pk])
    _send(application, emails, template, actor=actor, path=path, **context)


def _to_reviewers(application: Application, template: str, *, actor: User | None, **context: Any) -> None:
    reviewers = application.organisation.reviewers.filter(user__is_active=True)
    reviewers = reviewers.exclude(user__in=application.team.values("user"))
    if actor is not None:
        reviewers = reviewers.exclude(user=actor)
    emails = list(reviewers.values_list("user__email", flat=True))
    path = reverse("review:application", args=[application.pk])
    _send(application, emails, template, actor=actor, path=path, **context)


def _send(
    application: Application, emails: list[str], template: str, *, actor: User | None, path: str = "", **context: Any
) -> None:
    own = {
        "application": application,
        "name": _short(application.name),
        "who": _name_of(actor, application),
        "address": site_address(application.organisation, path),
    }
    queue_mail(
        organisation=application.organisation,
        to=emails,
        template=f"developers/{template}",
        context={**own, **context},
    )


def _name_of(user: User | None, application: Application) -> str:
    """Return a person's name with the address that they have proved; a name alone can be anybody's."""
    if user is None:
        return _("Somebody at %(organisation)s") % {"organisation": application.organisation.name}
    name = _short(user.get_full_name())
    return f"{name} ({user.email})" if name else user.email


def _short(name: str) -> str:
    return Truncator(" ".join(name.split())).chars(_LONGEST_NAME)
