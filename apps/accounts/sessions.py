"""Sessions in the database; those of browsers in which nobody is logged in end soon.

Anybody can begin one: each request of an application that somebody has to log in for leaves a row.
"""

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

#: Seconds after the last step of somebody on their way in: time to find the mail that confirms a new address.
ANONYMOUS_LIFETIME = 2 * 3_600


class SessionStore(DatabaseStore):
    def get_session_cookie_age(self) -> int:
        return int(settings.SESSION_COOKIE_AGE) if SESSION_KEY in self else ANONYMOUS_LIFETIME
