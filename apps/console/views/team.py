import uuid

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from apps.console.permissions import DeveloperView
from apps.developers.errors import RefusedError
from apps.developers.models import Invitation
from apps.developers.services import team


class InvitationView(DeveloperView):
    """What an invitation's mail leads to: says which team, and lets the invited person join."""

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return render(request, "console/invitation.html", {"invitation": self._invitation(pk)})

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        invitation = self._invitation(pk)
        try:
            team.accept_invitation(invitation=invitation, user=self.user)
        except RefusedError as refusal:
            context = {"invitation": invitation, "refusal": refusal.message}
            return render(request, "console/invitation.html", context, status=409)
        return redirect("developer:application", invitation.application_id)

    def _invitation(self, pk: uuid.UUID) -> Invitation:
        invitations = Invitation.objects.open().select_related("application__organisation", "invited_by")
        # For whom it was sent to only: others learn nothing of a team (CONTRACT section 9).
        own = invitations.filter(
            pk=pk, email__in=self.user.emailaddress_set.filter(verified=True).values_list("email", flat=True)
        )
        invitation = own.first()
        if invitation is None:
            raise Http404
        return invitation
