"""How the database is emptied after a test that has committed: as by Django's flush, in a fraction of its time.

Flush makes new files for every table and index, and then all permissions anew. Here only what has rows is emptied, and
what every start makes stays: content types, permissions and signing keys, unless a test has changed them.
"""

from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction

_KEPT = ("django_content_type", "auth_permission", "tokens_signingkey")
#: Bytes from which on a table is truncated: dead rows would be read by the tests after this one.
_LARGE = 256 * 1024


class Emptying:
    """Knows what is there at the beginning of the tests, and brings the database back to it."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            self._state = _state_of_kept(cursor)
            self._rows = {table: _rows_of(cursor, table) for table in _KEPT}

    def empty(self) -> None:
        """Leave what was there at the beginning. A request of the live server that still writes is waited for."""
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
            is_changed = _state_of_kept(cursor) != self._state
            kept = () if is_changed else _KEPT
            _empty(cursor, [table for table in tables if table not in kept])
            if is_changed:
                for table, rows in self._rows.items():
                    # Word for word: a model would give them the time of now.
                    cursor.execute(
                        f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
                        f" SELECT * FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb)",
                        [rows],
                    )
        if is_changed:
            # A model's type that a test has deleted has lost its number there.
            ContentType.objects.clear_cache()


def _state_of_kept(cursor: Any) -> tuple[str, ...]:
    hashes = [f"(SELECT md5(string_agg(row::text, '' ORDER BY row::text)) FROM {table} row)" for table in _KEPT]
    cursor.execute(f"SELECT {', '.join(hashes)}")
    return cursor.fetchone()


def _rows_of(cursor: Any, table: str) -> str:
    cursor.execute(f"SELECT coalesce(jsonb_agg(row), '[]')::text FROM {table} row")
    (rows,) = cursor.fetchone()
    return rows


def _empty(cursor: Any, tables: list[str]) -> None:
    cursor.execute(
        " UNION ALL ".join(
            f"SELECT '{table}', pg_relation_size('{table}') > {_LARGE} WHERE EXISTS (SELECT FROM {table})"
            for table in tables
        )
    )
    filled = dict(cursor.fetchall())
    # For everybody else these are append-only.
    cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'audit_no_truncate'")
    guarded = [table for (table,) in cursor.fetchall()]
    large = [table for table, is_large in filled.items() if is_large and table not in guarded]
    statements = []
    if large or filled.keys() & set(guarded):
        statements += [f"GRANT TRUNCATE ON {table} TO CURRENT_USER" for table in guarded]
        statements += [f"ALTER TABLE {table} DISABLE TRIGGER audit_no_truncate" for table in guarded]
        statements += [f"TRUNCATE {', '.join([*guarded, *large])} CASCADE"]
        statements += [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER audit_no_truncate" for table in guarded]
        statements += [f"REVOKE TRUNCATE ON {table} FROM CURRENT_USER" for table in guarded]
    # Foreign keys are looked at when the transaction ends.
    statements += [f"DELETE FROM {table}" for table in filled if table not in (*guarded, *large)]
    if statements:
        cursor.execute("; ".join(statements))
