"""What the background worker does for this app."""

from datetime import datetime, timedelta

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import app

from apps.accounts.expired_sessions import ExpiredSessions
from apps.accounts.sessions import SessionStore
from apps.housekeeping.chores import chore
from apps.housekeeping.dead import Dead, DeadRows


@app.periodic(cron="41 * * * *")
@app.task(queueing_lock="delete-expired-sessions", pass_context=False)
@chore(_("Sessions, when they have expired"))
def delete_expired_sessions(now: datetime) -> list[Dead]:
    """Delete the sessions whose time is over: the table holds everyone who ever came by."""
    return [ExpiredSessions(SessionStore.get_model_class().objects.filter(expire_date__lt=now))]


@app.periodic(cron="47 3 * * *")
@app.task(queueing_lock="delete-left-log-ins", pass_context=False)
@chore(_("Entries of the list of log-ins whose session is gone"))
def delete_left_log_ins(now: datetime) -> list[Dead]:
    """Delete what lists where people are logged in, and was left behind."""
    # What lists where people are logged in goes with their sessions. To find rows that were left behind by other ways
    # takes both tables whole, so there must be few: one statement a night. A log-in has its session in a moment.
    is_there = SessionStore.get_model_class().objects.filter(session_key=OuterRef("session_key"))
    listed = UserSession.objects.filter(~Exists(is_there), last_seen_at__lt=now - timedelta(days=1))
    return [DeadRows(listed)]


@app.periodic(cron="53 3 * * *")
@app.task(queueing_lock="delete-old-admin-log", pass_context=False)
@chore(_("Entries of the administration's own log past their time"))
def delete_old_admin_log(now: datetime) -> list[Dead]:
    """Delete what Django wrote down of changes at /admin/; the audit trail has the same, and is kept as long."""
    days = settings.AUDIT_RETENTION_DAYS
    # There is no index on the time. There are few entries, as people write them by hand.
    return [DeadRows(LogEntry.objects.filter(action_time__lt=now - timedelta(days=days)))] if days else []
