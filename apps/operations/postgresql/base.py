"""Django's PostgreSQL backend, impatient: docs/decisions/0017-when-the-database-goes-away.md."""

import time
from functools import partial
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import PoolTimeout

from apps.operations.outage import DatabaseAwayError, Look, outage
from apps.operations.postgresql.connections import check, look


class DatabaseWrapper(base.DatabaseWrapper):
    """Refuses at once while the database is away, and hands out no connection that is dead or cannot write."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that works. Raises psycopg.OperationalError within a few seconds."""
        if self.pool is None:
            return super().get_new_connection(conn_params)
        if outage.refuses():
            raise DatabaseAwayError("the database is away")
        began = time.monotonic()
        try:
            connection = self._working_connection(conn_params)
        except PoolTimeout:
            outage.was_kept_waiting(self._look(), waited=time.monotonic() - began)
            raise
        except psycopg.Error as error:
            outage.was_not_reached(error, self._look(), waited=time.monotonic() - began)
            raise
        outage.was_reached()
        return connection

    def _working_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        try:
            check(connection)
        except psycopg.Error:
            # All of the pool are from before the restart or the failover. The pool's own check would look at one
            # after the other, and wait longer each time.
            outage.was_lost(self._look())
            self.pool.putconn(connection)
            self.pool.drain()
            connection = super().get_new_connection(conn_params)
            try:
                check(connection)
            except psycopg.Error:
                self.pool.putconn(connection)
                raise
        return connection

    def _look(self) -> Look:
        return partial(look, self.pool, **self.get_connection_params(), autocommit=True)
