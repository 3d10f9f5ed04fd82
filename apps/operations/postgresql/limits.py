"""How long a statement of a web request may take."""

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS


def limit_statements() -> None:
    """Have PostgreSQL end what takes too long in this process, the web server's. Called before anything is asked of it.

    Commands and workers are not limited: a migration, a backup or housekeeping may take its time.
    """
    seconds: int = settings.DATABASE_STATEMENT_SECONDS
    if not seconds:
        return
    options = settings.DATABASES[DEFAULT_DB_ALIAS]["OPTIONS"]
    limits = (f"-c {name}={seconds}s" for name in ("statement_timeout", "idle_in_transaction_session_timeout"))
    # What the host's own URL says comes later, and so decides.
    options["options"] = " ".join([*limits, options.get("options", "")]).strip()
