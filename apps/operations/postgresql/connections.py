"""The connections of the pool. Settings import this, so nothing here needs settings."""

from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from apps.operations.outage import outage

#: Seconds that looking at a connection of the pool waits for one, when there is one.
_POOL_SECONDS = 0.5


class Connection(psycopg.Connection[Any]):
    """A connection of the pool. That one could not be made is noted, with the reason.

    By itself that is no outage: the server may have no room for one more, which libpq tells by words only, or the
    pooler in between, while the connections that we have work.
    """

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> "Connection":
        """Connect as psycopg does; of several hosts to the first that answers and can write."""
        try:
            return super().connect(*args, **kwargs)
        except psycopg.Error as error:
            outage.could_not_connect(error)
            raise


def look(pool: "ConnectionPool[Any]", **login: Any) -> None:
    """Raise psycopg.OperationalError when the database is away or cannot write.

    If no connection can be made, one of the pool that works will do.
    """
    try:
        connection = psycopg.Connection.connect(**login)
    except psycopg.OperationalError:
        if not _has_one_that_works(pool):
            raise
        return
    with connection:
        check(connection)


def _has_one_that_works(pool: "ConnectionPool[Any]") -> bool:
    # One that is not there would be made first.
    if not pool.get_stats().get("pool_available"):
        return False
    try:
        connection = pool.getconn(timeout=_POOL_SECONDS)
    except PoolTimeout:
        return False
    try:
        check(connection)
    except psycopg.Error:
        return False
    finally:
        pool.putconn(connection)
    return True


def check(connection: psycopg.Connection[Any]) -> None:
    """Raise psycopg.OperationalError for a dead connection or one that cannot write; the latter is closed."""
    # Not a statement by itself: on a connection that came back out of a transaction it would begin one.
    ConnectionPool.check_connection(connection)
    # PostgreSQL tells of these two by itself when they change.
    for name in ("in_hot_standby", "default_transaction_read_only"):
        if connection.info.parameter_status(name) == "on":
            connection.close()
            raise psycopg.OperationalError(f"the server only lets itself be read ({name})")
