"""Who works on an application. Every change locks the application's row first, so that a team always has an owner."""

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.developers import mails
from apps.developers.errors import LastOwnerError, RefusedError
from apps.developers.history import note
from apps.developers.models import (
    Application,
    Draft,
    EndedForm,
    HistoryEntry,
    HistoryKind,
    Invitation,
    Role,
    Status,
    TeamMember,
)
from apps.developers.services.locking import lock_application, lock_person

INVITATION_LIFETIME = timedelta(days=14)
#: Each invitation is a mail to somebody who has not asked for it.
MOST_INVITATIONS_AN_HOUR = 20
#: While no reviewer has approved it: the mail is in the brand's name, and says what the application calls itself.
MOST_INVITATIONS_BEFORE_APPROVAL = 5
LARGEST_TEAM = 100
_APPROVED_ONCE = frozenset({Status.APPROVED, Status.SUSPENDED})


@transaction.atomic
def invite_member(*, application: Application, actor: User, email: str, role: str) -> Invitation:
    """Invite whoever has that e-mail address; an invitation that is still open is sent again, with the new role.

    Raises ValidationError for the address or the role, RefusedError when there were too many of late.
    """
    email = email.strip().lower()
    Invitation._meta.get_field("email").clean(email, None)
    if role not in Role.values:
        raise ValidationError(_("Choose a role."))
    row = lock_application(application)
    if application.team.filter(user__emailaddress__email=email, user__emailaddress__verified=True).exists():
        raise ValidationError(_("%(email)s is on the team already."), params={"email": email})
    _check_limits(row, actor)
    now = timezone.now()
    invitation, _is_new = Invitation.objects.update_or_create(
        application=application,
        email=email,
        accepted_at=None,
        defaults={"role": role, "invited_by": actor, "created_at": now, "expires_at": now + INVITATION_LIFETIME},
    )
    note(application, HistoryKind.MEMBER_INVITED, actor=actor, email=email, role=role)
    mails.invitation_sent(invitation)
    return invitation


@transaction.atomic
def cancel_invitation(*, invitation: Invitation, actor: User) -> bool:
    """Take an open invitation back; says whether it was open."""
    application = lock_application(invitation.application)
    deleted, _rows = Invitation.objects.filter(pk=invitation.pk, accepted_at__isnull=True).delete()
    if deleted:
        note(application, HistoryKind.INVITATION_CANCELLED, actor=actor, email=invitation.email)
    return bool(deleted)


@transaction.atomic
def accept_invitation(*, invitation: Invitation, user: User) -> TeamMember:
    """Make `user` a member of the team.

    Raises RefusedError when the invitation is not open any more, or was sent to an address that `user` has not
    proved to be theirs, or has just closed the account.
    """
    lock_person(user)
    application = lock_application(invitation.application)
    row = Invitation.objects.open().select_for_update().filter(pk=invitation.pk).first()
    if row is None:
        raise RefusedError(_("This invitation is no longer open. Ask the team for a new one."))
    if not EmailAddress.objects.filter(user=user, email=row.email, verified=True).exists():
        raise RefusedError(_("This invitation is for another e-mail address than yours."))
    row.accepted_at = timezone.now()
    row.save(update_fields=["accepted_at"])
    member, is_new = TeamMember.objects.get_or_create(application=application, user=user, defaults={"role": row.role})
    if is_new:
        note(application, HistoryKind.MEMBER_JOINED, actor=user, role=row.role)
        mails.member_joined(application, member=member)
    return member


@transaction.atomic
def add_member(*, application: Application, actor: User | None, user: User, role: str) -> TeamMember:
    """Put `user` on the team without an invitation, as only administrators may.

    Raises ValidationError for the role, RefusedError for somebody who is on the team already or has no open account.
    """
    if role not in Role.values:
        raise ValidationError(_("Choose a role."))
    lock_person(user)
    row = lock_application(application)
    member, is_new = TeamMember.objects.get_or_create(application=row, user=user, defaults={"role": role})
    if not is_new:
        raise RefusedError(_("%(email)s is on the team already.") % {"email": user.email})
    note(row, HistoryKind.MEMBER_ADDED, actor=actor, member=str(user), role=role)
    mails.member_added(row, member=member, actor=actor)
    return member


@transaction.atomic
def change_role(*, member: TeamMember, actor: User, role: str) -> bool:
    """Give a member another role; says whether it is another. Raises LastOwnerError, ValidationError."""
    if role not in Role.values:
        raise ValidationError(_("Choose a role."))
    application = lock_application(member.application)
    row = _current(member)
    if row.role == role:
        return False
    if row.is_owner:
        _check_another_owner(row)
    old_role = row.role
    note(application, HistoryKind.ROLE_CHANGED, actor=actor, member=str(row.user), old_role=old_role, role=role)
    row.role = member.role = role
    row.save(update_fields=["role"])
    mails.role_changed(application, member=row, old_role=old_role, actor=actor)
    return True


@transaction.atomic
def remove_member(*, member: TeamMember, actor: User) -> None:
    """Take somebody off the team; `actor` may be the member. Raises LastOwnerError."""
    application = lock_application(member.application)
    row = _current(member)
    if row.is_owner:
        _check_another_owner(row)
    row.delete()
    note(application, HistoryKind.MEMBER_LEFT, actor=actor, member=str(row.user))
    if row.user != actor:
        mails.member_removed(application, user=row.user, actor=actor)


@transaction.atomic
def leave_teams(*, user: User) -> None:
    """Take the user off every team, and delete what they have begun to register and the invitations to them.

    Raises LastOwnerError when a team would be without an owner (selectors.applications_owned_alone).
    """
    for member in user.team_memberships.select_related("application").order_by("application_id"):
        # A deleted application needs no owner.
        if member.application.status == Status.DELETED:
            member.delete()
        else:
            remove_member(member=member, actor=user)
    Draft.objects.filter(user=user).delete()
    EndedForm.objects.filter(user=user).delete()
    addresses = EmailAddress.objects.filter(user=user, verified=True).values("email")
    Invitation.objects.filter(email__in=addresses).delete()


@transaction.atomic
def transfer_ownership(*, application: Application, actor: User, to: TeamMember) -> None:
    """Make `to` an owner instead of `actor`, who stays as a developer. Raises RefusedError."""
    locked = lock_application(application)
    own = TeamMember.objects.filter(application=locked, user=actor, role=Role.OWNER).first()
    heir = TeamMember.objects.filter(application=locked, pk=to.pk).exclude(user=actor).first()
    if own is None or heir is None:
        raise RefusedError(_("Ownership goes from an owner to another member of the team."))
    TeamMember.objects.filter(pk=heir.pk).update(role=Role.OWNER)
    TeamMember.objects.filter(pk=own.pk).update(role=Role.DEVELOPER)
    note(locked, HistoryKind.OWNERSHIP_TRANSFERRED, actor=actor, member=str(heir.user))
    mails.ownership_transferred(locked, member=heir, actor=actor)


def _current(member: TeamMember) -> TeamMember:
    row = TeamMember.objects.select_related("user").filter(pk=member.pk).first()
    if row is None:
        raise RefusedError(_("They are no longer on the team."))
    return row


def _check_another_owner(member: TeamMember) -> None:
    others = TeamMember.objects.filter(application=member.application_id, role=Role.OWNER).exclude(pk=member.pk)
    if not others.exists():
        raise LastOwnerError


def _check_limits(application: Application, actor: User) -> None:
    lately = HistoryEntry.objects.filter(
        kind=HistoryKind.MEMBER_INVITED, created_at__gt=timezone.now() - timedelta(hours=1)
    )
    most = MOST_INVITATIONS_AN_HOUR
    if application.status not in _APPROVED_ONCE:
        lately, most = lately.exclude(application__status__in=_APPROVED_ONCE), MOST_INVITATIONS_BEFORE_APPROVAL
    if lately.filter(application=application).count() >= most or lately.filter(actor=actor).count() >= 2 * most:
        raise RefusedError(_("That is a lot of invitations. Wait an hour, then go on."))
    if application.team.count() + application.invitations.open().count() >= LARGEST_TEAM:
        raise RefusedError(_("The team is as large as it can be. Take somebody off it, or cancel an invitation."))
