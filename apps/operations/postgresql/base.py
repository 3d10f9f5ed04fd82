"""Django's PostgreSQL backend, impatient: docs/decisions/0017-when-the-database-goes-away.md."""

import time
from functools import partial
from typing import Any

import psycopg
from django.db.backends.postgresql import base

from apps.operations.outage import DatabaseAwayError, outage
from apps.operations.postgresql.connections import check, look


class DatabaseWrapper(base.DatabaseWrapper):
    """Refuses at once while the database is away, and hands out no connection that is dead or cannot write."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that works. Raises psycopg.OperationalError within a few seconds."""
        if self.pool is None:
            return super().get_new_connection(conn_params)
        if outage.is_on:
            raise DatabaseAwayError("the database is away")
        began = time.monotonic()
        try:
            connection = self._working_connection(conn_params)
        except psycopg.Error as error:
            waited = time.monotonic() - began
            outage.was_not_reached(error, partial(look, **self._login()), waited=waited)
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
            self.pool.putconn(connection)
            self.pool.drain()
            connection = super().get_new_connection(conn_params)
            try:
                check(connection)
            except psycopg.Error:
                self.pool.putconn(connection)
                raise
        return connection

    def _login(self) -> dict[str, Any]:
        return {**self.get_connection_params(), "autocommit": True}
