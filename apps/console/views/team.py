import uuid
from typing import ClassVar

from allauth.account.models import EmailAddress
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.console.forms.dashboard import InvitationForm, RoleForm, TransferForm
from apps.console.permissions import DeveloperView, TeamView
from apps.console.views.actions import ActionView
from apps.developers.errors import RefusedError
from apps.developers.models import Invitation, Role, TeamMember
from apps.developers.selectors import find_membership
from apps.developers.services import team
from apps.limits.counting import bucket, take_in_turn
from apps.limits.pages import with_retry_after

#: Of the team's invitations that nobody has accepted; old ones that have run out come last.
_MOST_INVITATIONS_SHOWN = 200


class MembersPage(TeamView):
    may_write: ClassVar[Role] = Role.OWNER

    def show(
        self,
        *,
        form: InvitationForm | None = None,
        transfer_form: TransferForm | None = None,
        refusal: object = "",
        status: int = 200,
    ) -> HttpResponse:
        members = list(
            self.application.team.select_related("user").order_by("joined_at", "pk")[: team.LARGEST_TEAM * 2]
        )
        unaccepted = self.application.invitations.filter(accepted_at__isnull=True).select_related("invited_by")
        context = self.get_context_data(
            members=members,
            invitations=list(unaccepted.order_by(F("expires_at").desc(), "email")[:_MOST_INVITATIONS_SHOWN]),
            now=timezone.now(),
            roles=Role.choices,
            form=form or InvitationForm(),
            transfer_form=transfer_form or TransferForm(member=self.member),
            has_others=len(members) > 1,
            is_last_owner=self.member.is_owner and not any(row.is_owner for row in members if row != self.member),
            refusal=refusal,
        )
        return render(self.request, "console/team.html", context, status=status)

    def find_member(self, member_id: int) -> TeamMember:
        """Return a member of this team. Raises Http404."""
        member = self.application.team.select_related("user", "application").filter(pk=member_id).first()
        if member is None:
            raise Http404
        return member

    def done(self, message: str) -> HttpResponse:
        messages.success(self.request, message)
        return redirect("developer:team", self.application.pk)


class MembersView(MembersPage):
    """Who works on the application, and who is invited to."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self.show()


class MemberInviteView(ActionView, MembersPage):
    """Sends an invitation, or sends it again."""

    page = "developer:team"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = InvitationForm(request.POST)
        if not form.is_valid():
            return self.show(form=form, status=400)
        # Of all applications together: each application's own limit is in the service.
        recipient = form.cleaned_data["email"].strip().casefold()
        # The developer's own first: nobody alone can use up what others may send there.
        taking = take_in_turn(
            bucket("invitation", self.user.pk, recipient), bucket("invitation_recipient", recipient), about=self.user
        )
        if taking.refusal is not None:
            limit = taking.refusal
            form.add_error("email", _("This address got many invitations of late. Try again in %s.") % limit.wait)
            return with_retry_after(self.show(form=form), limit)
        try:
            invitation = team.invite_member(application=self.application, actor=self.user, **form.cleaned_data)
        except ValidationError as error:
            taking.give_back()
            form.add_error("email", error)
            return self.show(form=form, status=400)
        except RefusedError as refusal:
            taking.give_back()
            form.add_error(None, str(refusal.message))
            return self.show(form=form, status=409)
        return self.done(_("The invitation is on its way to %(email)s.") % {"email": invitation.email})


class MemberRoleView(ActionView, MembersPage):
    page = "developer:team"

    def post(self, request: HttpRequest, member_id: int, **kwargs: object) -> HttpResponse:
        member = self.find_member(member_id)
        form = RoleForm(request.POST)
        if not form.is_valid():
            return self.show(refusal=_("Choose a role."), status=400)
        try:
            team.change_role(member=member, actor=self.user, role=form.cleaned_data["role"])
        except RefusedError as refusal:
            return self.show(refusal=refusal.message, status=409)
        return self.done(
            _("%(member)s is now %(role)s.")
            % {"member": member.user, "role": str(Role(form.cleaned_data["role"]).label).lower()}
        )


class MemberRemoveView(MembersPage):
    """Asks once more, then takes somebody off the team: an owner anybody, everybody themselves."""

    http_method_names = ["get", "head", "post"]
    may_write: ClassVar[Role] = Role.VIEWER

    def get(self, request: HttpRequest, member_id: int, **kwargs: object) -> HttpResponse:
        return self._ask(self._find(member_id))

    def post(self, request: HttpRequest, member_id: int, **kwargs: object) -> HttpResponse:
        leaver = self._find(member_id)
        try:
            team.remove_member(member=leaver, actor=self.user)
        except RefusedError as refusal:
            return self._ask(leaver, refusal=refusal.message, status=409)
        if leaver.user_id == self.user.pk:
            messages.success(request, _("You have left the team of %(name)s.") % {"name": self.application.name})
            return redirect("developer:applications")
        return self.done(_("%(member)s is no longer on the team.") % {"member": leaver.user})

    def _find(self, member_id: int) -> TeamMember:
        leaver = self.find_member(member_id)
        if not self.member.is_owner and leaver != self.member:
            raise PermissionDenied
        return leaver

    def _ask(self, leaver: TeamMember, *, refusal: object = "", status: int = 200) -> HttpResponse:
        context = self.get_context_data(leaver=leaver, is_self=leaver == self.member, refusal=refusal)
        return render(self.request, "console/member_remove.html", context, status=status)


class InvitationCancelView(ActionView, MembersPage):
    page = "developer:team"

    def post(self, request: HttpRequest, invitation_id: uuid.UUID, **kwargs: object) -> HttpResponse:
        invitation = self.application.invitations.filter(pk=invitation_id).first()
        if invitation is None or not team.cancel_invitation(invitation=invitation, actor=self.user):
            return self.show(refusal=_("This invitation was accepted or cancelled before."), status=409)
        return self.done(_("The invitation of %(email)s is cancelled.") % {"email": invitation.email})


class OwnershipTransferView(ActionView, MembersPage):
    page = "developer:team"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = TransferForm(request.POST, member=self.member)
        if not form.is_valid():
            return self.show(transfer_form=form, status=400)
        heir = form.cleaned_data["to"]
        try:
            team.transfer_ownership(application=self.application, actor=self.user, to=heir)
        except RefusedError as refusal:
            form.add_error(None, str(refusal.message))
            return self.show(transfer_form=form, status=409)
        return self.done(_("%(member)s is an owner now, and you are a developer.") % {"member": heir.user})


class InvitationView(DeveloperView):
    """What an invitation's mail leads to: says which team, and lets the invited person join."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        invitation = self._invitation(pk)
        return self._show(invitation) if invitation else self._show_nothing(pk)

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        invitation = self._invitation(pk)
        if invitation is None:
            return self._show_nothing(pk)
        try:
            team.accept_invitation(invitation=invitation, user=self.user)
        except RefusedError as refusal:
            return self._show(invitation, refusal=refusal.message, status=409)
        name = invitation.application.name
        messages.success(request, _("Welcome to the team of %(name)s.") % {"name": name})
        return redirect("developer:application", invitation.application_id)

    def _show(self, invitation: Invitation, *, refusal: object = "", status: int = 200) -> HttpResponse:
        is_member = TeamMember.objects.filter(application=invitation.application_id, user=self.user).exists()
        context = {"invitation": invitation, "is_member": is_member, "refusal": refusal}
        return render(self.request, "console/invitation.html", context, status=status)

    def _show_nothing(self, pk: uuid.UUID) -> HttpResponse:
        """Lead whoever has accepted the invitation to the application; tell everybody else the same."""
        accepted = Invitation.objects.filter(pk=pk, accepted_at__isnull=False).first()
        if accepted and find_membership(user=self.user, application_id=accepted.application_id):
            return redirect("developer:application", accepted.application_id)
        return render(self.request, "console/invitation_missing.html", status=404)

    def _invitation(self, pk: uuid.UUID) -> Invitation | None:
        """Return the invitation if it is open and for this person, else None."""
        invitations = Invitation.objects.open().select_related("application__organisation", "invited_by")
        # For whom it was sent to only: others learn nothing of a team (CONTRACT section 9).
        addresses = EmailAddress.objects.filter(user=self.user, verified=True)
        return invitations.filter(pk=pk, email__in=addresses.values("email")).first()
