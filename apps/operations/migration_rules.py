"""What a migration may do: nothing that holds up a server that goes on, and nothing that the code before it minds.

While a deployment is upgraded, the old code serves the new schema: migrations are applied first, and then one process
after the other is replaced. After a rollback of the code it does so for longer. docs/decisions/0016 tells more, and
what to do instead of what is refused here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.apps import apps
from django.contrib.postgres import operations as postgres
from django.db import connection, models
from django.db.migrations import Migration
from django.db.migrations import operations as django
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.functions import Now

_BEFORE_RELEASE = "from before the first release: no deployment had older code or many rows"

_MADE_ONCE = "each of its indexes is dropped first if it is there, so it can be broken off and run again"

#: Migrations that break a rule, and why they may.
EXEMPT: dict[tuple[str, str], str] = {
    ("accounts", "0002_shared_cache"): _BEFORE_RELEASE,
    ("accounts", "0003_closed_accounts"): _BEFORE_RELEASE,
    ("accounts", "0004_closed_accounts_stay_closed"): "triggers are made in an instant and look at no rows; old code"
    " is refused only what would bring a closed account back",
    ("audit", "0002_append_only"): _BEFORE_RELEASE,
    ("audit", "0004_people_go_with_a_note"): "functions and triggers are made in an instant and look at no rows; of old"
    " code only the hourly anonymising is refused, changes nothing, and is made up for by the new worker",
    ("connections", "0002_ended_with_its_application"): _BEFORE_RELEASE,
    ("developers", "0004_by_status_and_changed_by_administrators"): _BEFORE_RELEASE,
    ("developers", "0007_indexes_for_housekeeping"): _MADE_ONCE,
    ("limits", "0001_initial"): "on a table that it makes itself",
    ("tokens", "0002_indexes_for_housekeeping"): _MADE_ONCE,
}
#: What our libraries' migrations do to tables in use has to be read, because we do not write them: up to these that is
#: done. All of these are from before the first release, so no server went on beside them.
READ_UP_TO: dict[str, str] = {
    "account": "0009_emailaddress_unique_primary_email",
    "admin": "0003_logentry_add_action_flag_choices",
    "auth": "0012_alter_user_first_name_max_length",
    "contenttypes": "0002_remove_content_type_name",
    "mfa": "0003_authenticator_type_uniq",
    "oauth2_provider": "0022_refreshtoken_token_family_index",
    "procrastinate": "0041_post_retry_failed_job",
    "sessions": "0001_initial",
    "usersessions": "0001_initial",
}

# Only in the state, or of no consequence for anybody who uses the tables.
_HARMLESS = (
    django.CreateModel,
    django.AlterModelOptions,
    django.AlterModelManagers,
    django.AlterModelTableComment,
    django.RenameIndex,
    postgres.AddIndexConcurrently,
    postgres.RemoveIndexConcurrently,
    postgres.ValidateConstraint,
)
_OLD_CODE = "the code of the release before still uses it; take it out of the state in this release (a database default"
_STRICTER = "it is stricter than old code, whose writes would be refused; say in EXEMPT why none are"
_REFUSED: dict[type[Operation], str] = {
    postgres.AddConstraintNotValid: _STRICTER,
    django.AddIndex: "writers wait until the index is made; use AddIndexConcurrently and atomic = False",
    django.RemoveIndex: "everybody waits for its lock; use RemoveIndexConcurrently and atomic = False",
    django.AddConstraint: "everybody waits while all rows are looked at; for a check use AddConstraintNotValid, and"
    " ValidateConstraint in the next migration; for uniqueness make the index concurrently",
    django.RemoveConstraint: "old code may rely on it (ON CONFLICT); say here why it does not",
    django.RemoveField: f"{_OLD_CODE} for what it leaves out), and out of the database in the next",
    django.DeleteModel: f"{_OLD_CODE}s do not matter), and out of the database in the next",
    django.RenameField: "old code knows the old name; add a new field, fill both, remove the old one a release later",
    django.RenameModel: "old code knows the old name; keep the table (db_table)",
    django.AlterModelTable: "old code knows the old name",
    django.AlterUniqueTogether: "everybody waits while all rows are looked at; make the index concurrently",
    django.AlterIndexTogether: "writers wait until the index is made; use AddIndexConcurrently",
    django.AlterOrderWithRespectTo: "it adds a column that old code does not fill",
}
# What RunSQL may contain without a word here: it waits, and nobody waits for it.
_SAFE_SQL = re.compile(r"\s*(CREATE\s+INDEX\s+CONCURRENTLY|DROP\s+INDEX\s+CONCURRENTLY|COMMENT\s+ON)\s", re.IGNORECASE)
_UNIQUE_INDEX = re.compile(r"\s*CREATE\s+UNIQUE\s+INDEX\s+CONCURRENTLY\s", re.IGNORECASE)


def check_migrations() -> list[str]:
    """Check all; return what is against the rules, and exemptions that nothing needs any more."""
    loader = MigrationLoader(None)
    problems: list[str] = []
    needed = set()
    for key in our_migrations(loader):
        found = [f"{key[0]}.{key[1]}: {problem}" for problem in find_problems(loader, key)]
        if found and key in EXEMPT:
            needed.add(key)
        else:
            problems += found
    problems += [f"{app}.{name}: is exempt without need" for app, name in sorted(EXEMPT.keys() - needed)]
    return problems + list(find_unread(loader, READ_UP_TO))


def find_unread(loader: MigrationLoader, read_up_to: Mapping[str, str]) -> Iterator[str]:
    """Name the migrations of libraries that came with a new version of one, and that nobody has read yet.

    We cannot write them in another way. But a host is told, or the version waits, if one would hold others up.
    """
    read: set[tuple[str, str]] = set()
    for key in read_up_to.items():
        if key in loader.graph.nodes:
            read.update(each for each in loader.graph.forwards_plan(key) if each[0] == key[0])
        else:
            yield f"{key[0]}.{key[1]}: there is no such migration; correct READ_UP_TO"
    ours = set(our_migrations(loader))
    for app, name in sorted(loader.graph.nodes.keys() - ours - read):
        yield (f"{app}.{name}: is a library's, and new; read what it does to tables in use, then name it in READ_UP_TO")


def our_migrations(loader: MigrationLoader) -> list[tuple[str, str]]:
    """Return the migrations of our own apps in the order in which they are applied."""
    ours = {config.label for config in apps.get_app_configs() if config.name.startswith("apps.")}
    order = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    return [key for key in order if key[0] in ours]


def find_problems(loader: MigrationLoader, key: tuple[str, str]) -> list[str]:
    """Return what one migration does against the rules."""
    before = loader.project_state(key, at_end=False)
    return list(check(loader.get_migration(*key), before))


def check(migration: Migration, before: ProjectState) -> Iterator[str]:
    """Go through the operations of a migration that starts from this state."""
    state = before.clone()
    new: set[str] = set()
    not_validated: set[str] = set()
    changes_rows = any(isinstance(each, django.RunPython) for each in migration.operations)
    if changes_rows and len(migration.operations) > 1:
        yield "RunPython: keep changes of rows and of the schema in separate migrations; locks are held until the end"
    if not migration.atomic and len(migration.operations) > 1:
        yield "atomic = False: one operation only; what is done stands in the way when it is broken off and run again"
    for operation in migration.operations:
        if isinstance(operation, django.CreateModel):
            new.add(operation.name_lower)
        model = getattr(operation, "model_name_lower", getattr(operation, "name_lower", ""))
        if not (model in new and not isinstance(operation, (django.RunPython, django.RunSQL))):
            if isinstance(operation, postgres.AddConstraintNotValid):
                not_validated.add(operation.constraint.name)
            elif isinstance(operation, postgres.ValidateConstraint) and operation.name in not_validated:
                yield f"ValidateConstraint {operation.name}: in the next migration; here it would hold the lock"
            for problem in _problems_of(operation, migration, state):
                yield f"{operation.describe()}: {problem}"
        operation.state_forwards(migration.app_label, state)


def _problems_of(operation: Operation, migration: Migration, state: ProjectState) -> Iterator[str]:
    if isinstance(operation, _HARMLESS):
        return
    if isinstance(operation, django.SeparateDatabaseAndState):
        for part in operation.database_operations:
            yield from _problems_of(part, migration, state)
    elif isinstance(operation, django.AddField):
        yield from _problems_of_new(operation.field)
    elif isinstance(operation, django.AlterField):
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        old, new = (
            each.apps.get_model(migration.app_label, operation.model_name)._meta.get_field(operation.name)
            for each in (state, after)
        )
        yield from _problems_of_change(old, new)
    elif isinstance(operation, django.RunSQL):
        if any(map(_UNIQUE_INDEX.match, _statements(operation.sql))):
            yield f"unique index: {_STRICTER}"
        elif migration.atomic or not all(map(_SAFE_SQL.match, _statements(operation.sql))):
            yield "nobody can see what SQL does; say in EXEMPT why it is safe under load and with old code"
    elif isinstance(operation, django.RunPython):
        if migration.atomic:
            yield "rows stay locked until the end; use atomic = False and batches"
    else:
        yield next(
            (reason for kind, reason in _REFUSED.items() if isinstance(operation, kind)),
            "the rules do not know this operation; teach them",
        )


def _problems_of_new(field: Any) -> Iterator[str]:
    """A new column must be one that old code can leave out, and that needs no look at the rows."""
    has_default = field.has_db_default()
    if isinstance(field, models.ManyToManyField):
        return
    if isinstance(field, models.GeneratedField):
        yield "the whole table is written anew"
        return
    if not field.null and not has_default:
        yield "old code does not fill it; use null=True or db_default"
    if has_default and not isinstance(field.db_default, (Now, str, int, float, bool, models.Value)):
        yield "the whole table is written anew for this db_default; fill it in batches"
    if field.unique or field.db_index:
        yield "its index is made while everybody waits; add it with db_index=False, and the index concurrently"
    if isinstance(field, models.ForeignKey) and getattr(field, "db_constraint", True):
        yield "all rows are looked at while everybody waits; use db_constraint=False, and a constraint NOT VALID"


def _problems_of_change(old: Any, new: Any) -> Iterator[str]:
    """A column may become wider, and nothing else."""
    old_type, new_type = old.db_type(connection), new.db_type(connection)
    if old_type != new_type and not _is_wider(old, new):
        yield f"{old_type} becomes {new_type}: the table is written anew, or old code writes what no longer fits"
    if old.null and not new.null:
        yield "old code writes NULL into it; add a check constraint instead"
    if old.has_db_default() and not new.has_db_default():
        yield "old code relies on the default"
    if (new.unique and not old.unique) or (new.db_index and not old.db_index):
        yield "its index is made while everybody waits; make it concurrently"
    if old.unique and not new.unique:
        yield "old code relies on its being unique (ON CONFLICT, get_or_create); say in EXEMPT why it does not"
    if old.db_index and not new.db_index and not (old.unique or new.unique):
        yield "everybody waits for the lock that dropping its index takes; drop it concurrently"
    if _collation(old) != _collation(new):
        yield "each index that it is in is made anew while everybody waits; make a new column, or say that it has none"
    if old.column != new.column:
        yield "old code knows the column by its old name"
    if (
        isinstance(new, models.ForeignKey)
        and getattr(new, "db_constraint", True)
        and not getattr(old, "db_constraint", False)
    ):
        yield "all rows are looked at while everybody waits; use a constraint NOT VALID"


def _collation(field: Any) -> str | None:
    return field.db_parameters(connection).get("collation")


def _is_wider(old: Any, new: Any) -> bool:
    is_text = isinstance(old, models.CharField) and isinstance(new, (models.CharField, models.TextField))
    return is_text and (new.max_length is None or (old.max_length is not None and new.max_length >= old.max_length))


def _statements(sql: Any) -> Iterable[str]:
    if isinstance(sql, str):
        return [part for part in sql.split(";") if part.strip()]
    return [part[0] if isinstance(part, (list, tuple)) else part for part in sql]
