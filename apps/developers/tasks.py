"""What the background worker does for this app."""

from datetime import datetime, timedelta

from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import app

from apps.developers.models import Draft, EndedForm, Invitation
from apps.housekeeping.chores import chore
from apps.housekeeping.dead import Dead, DeadRows

#: A draft that nobody goes on with is kept so long.
DRAFT_LIFETIME = timedelta(days=90)
#: An invitation that nobody has accepted is kept so long after its end: it has somebody's address in it.
INVITATION_LIFETIME = timedelta(days=30)


@app.periodic(cron="21 3 * * *")
@app.task(queueing_lock="delete-old-drafts", pass_context=False)
@chore(_("Drafts of applications, after 90 days without a change"))
def delete_old_drafts(now: datetime) -> list[Dead]:
    """Delete drafts that nobody goes on with, and what is known of forms that are as old."""
    old = now - DRAFT_LIFETIME
    return [DeadRows(Draft.objects.filter(updated_at__lt=old)), DeadRows(EndedForm.objects.filter(ended_at__lt=old))]


@app.periodic(cron="26 3 * * *")
@app.task(queueing_lock="delete-expired-invitations", pass_context=False)
@chore(_("Invitations to teams, 30 days after they expired"))
def delete_expired_invitations(now: datetime) -> list[Dead]:
    """Delete invitations that nobody has accepted in time."""
    expired = Invitation.objects.filter(accepted_at__isnull=True, expires_at__lt=now - INVITATION_LIFETIME)
    return [DeadRows(expired)]
