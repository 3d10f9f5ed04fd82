from typing import Any

from django.db import models


class TransactionIdField(models.Field):
    """A PostgreSQL transaction id (xid8), which counts on over wrap-arounds; an int in Python."""

    description = "Transaction id"

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> str | None:
        # Numbers are not assigned to xid8; text literals are.
        return None if value is None else str(value)
