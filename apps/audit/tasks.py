"""What the background worker does for this app."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import app

from apps.audit import retention, sealing
from apps.housekeeping.chores import noted

#: A run takes at most so many batches; the next one, a minute later, goes on.
BATCHES_PER_RUN = 50


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="seal-audit-events", pass_context=False)
@noted(_("Audit events to seal"))
def seal_audit_events(timestamp: int) -> int:
    """Seal the events whose order is settled; returns how many were."""
    return sealing.seal_events(batches=BATCHES_PER_RUN)


@app.periodic(cron="51 3 * * *")
@app.task(queueing_lock="prune-audit-events", pass_context=False)
@noted(_("Audit events past their time"))
def prune_audit_events(timestamp: int) -> int:
    """Delete events past AUDIT_RETENTION_DAYS (0: none); returns how many went."""
    days = settings.AUDIT_RETENTION_DAYS
    return retention.prune_events(older_than=timezone.now() - timedelta(days=days)) if days else 0


@app.periodic(cron="37 * * * *")
@app.task(queueing_lock="anonymise-closed-accounts", pass_context=False)
@noted(_("People of closed accounts, in the audit trail"))
def anonymise_closed_accounts(timestamp: int) -> int:
    """Delete who they were from the events of people whose account was closed long enough ago; returns how many."""
    return retention.anonymise_due()
