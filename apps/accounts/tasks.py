"""What the background worker does for this app."""

from importlib import import_module

from django.conf import settings
from procrastinate.contrib.django import app


@app.periodic(cron="41 3 * * *")
@app.task(queueing_lock="delete-expired-sessions", pass_context=False)
def delete_expired_sessions(timestamp: int) -> None:
    """Delete the sessions whose time is over: the table holds everyone who ever came by."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
