"""The connections of the pool. Settings import this, so nothing here needs settings."""

from functools import partial
from typing import Any

import psycopg

from apps.operations.outage import outage

#: too_many_connections: the server is there, and so may be the connections that we have.
_NO_ROOM = "53300"


class Connection(psycopg.Connection[Any]):
    """A connection of the pool. That one could not be made is noted, with the reason."""

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> "Connection":
        """Connect as psycopg does; of several hosts to the first that answers and can write."""
        try:
            return super().connect(*args, **kwargs)
        except psycopg.Error as error:
            if error.sqlstate != _NO_ROOM:
                outage.begin(error, partial(look, *args, **kwargs))
            raise


def look(*args: Any, **kwargs: Any) -> None:
    """Connect and leave again. Raises psycopg.OperationalError when the database is away or cannot write."""
    with psycopg.Connection.connect(*args, **kwargs) as connection:
        check(connection)


def check(connection: psycopg.Connection[Any]) -> None:
    """Raise psycopg.OperationalError for a dead connection or one that cannot write; the latter is closed."""
    connection.execute("")
    # PostgreSQL tells of these two by itself when they change.
    for name in ("in_hot_standby", "default_transaction_read_only"):
        if connection.info.parameter_status(name) == "on":
            connection.close()
            raise psycopg.OperationalError(f"the server only lets itself be read ({name})")
