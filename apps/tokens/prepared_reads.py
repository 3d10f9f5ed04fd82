"""Queries whose SQL is built once per process.

Building the SQL of a joined read costs Django more than PostgreSQL needs to answer it, and a token request has two
or three of them. The ORM stays the one place that knows columns and joins; it is only asked once.
docs/decisions/0002-one-statement-per-write.md says how much that was.
"""

import uuid
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models.query import get_related_populators

M = TypeVar("M", bound=models.Model)

#: How a stand-in for a parameter of that type is made: a value that no other part of the query has.
_STAND_INS: dict[type, Callable[[str], Any]] = {
    str: lambda name: f"stand-in for {name} {uuid.uuid4()}",
    uuid.UUID: lambda name: uuid.uuid4(),
}


class PreparedRead(Generic[M]):
    """A read of at most one row, with everything its queryset selects along (`select_related`).

    `build` makes the queryset from keyword arguments; `parameters` gives their names and types (str or UUID).
    The SQL must not depend on the arguments' values: no conditions left out, no None.
    """

    def __init__(self, build: Callable[..., models.QuerySet[M]], **parameters: type) -> None:
        self._build = build
        self._parameters = parameters
        self._compiled: _Compiled | None = None

    def __call__(self, **arguments: Any) -> M | None:
        """Return the first row for these arguments, or None; one SQL statement."""
        compiled = self._compiled or self._compile()
        values: list[Any] = [arguments[value.name] if isinstance(value, _Slot) else value for value in compiled.values]
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, values)
            row = cursor.fetchone()
        return None if row is None else compiled.make(row)

    def _compile(self) -> "_Compiled":
        stand_ins = {name: _STAND_INS[kind](name) for name, kind in self._parameters.items()}
        self._compiled = _Compiled(self._build(**stand_ins)[:1], stand_ins)
        return self._compiled


@dataclass(frozen=True)
class _Slot:
    """Where an argument goes among the query's values."""

    name: str


class _Compiled:
    """A queryset's SQL, and how its rows become instances: what ModelIterable does, less the compiling."""

    def __init__(self, queryset: models.QuerySet[Any], stand_ins: dict[str, Any]) -> None:
        self._compiler: Any = queryset.query.get_compiler(connection=connection)
        self.sql, values = self._compiler.as_sql()
        slots = {stand_in: _Slot(name) for name, stand_in in stand_ins.items()}
        self.values = [slots.get(value, value) if isinstance(value, Hashable) else value for value in values]
        if missing := set(slots.values()) - {value for value in self.values if isinstance(value, _Slot)}:
            raise ValueError(f"The query does not use {sorted(slot.name for slot in missing)}.")
        info = self._compiler.klass_info
        select = self._compiler.select
        self._model = info["model"]
        self._start, self._end = info["select_fields"][0], info["select_fields"][-1] + 1
        self._names = [field[0].target.attname for field in select[self._start : self._end]]
        # The stubs describe a later Django, which has one more parameter.
        self._populators = get_related_populators(info, select, connection.alias)  # type: ignore[call-arg]
        self._converters = self._compiler.get_converters([field[0] for field in select])

    def make(self, row: tuple[Any, ...]) -> Any:
        """Return the model instance of a row, its related instances attached."""
        (converted,) = self._compiler.apply_converters([row], self._converters)
        instance = self._model.from_db(connection.alias, self._names, converted[self._start : self._end])
        for populator in self._populators:
            populator.populate(converted, instance)
        return instance
