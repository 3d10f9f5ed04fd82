"""What a migration may do: the rules that script/lint holds ours against."""

import pytest
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, ValidateConstraint
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.functions import Now

from apps.operations.migration_rules import (
    EXEMPT,
    READ_UP_TO,
    check,
    check_migrations,
    find_unread,
    our_migrations,
)

PAPER = migrations.CreateModel(
    "Paper",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=20)),
        ("note", models.CharField(max_length=20, null=True)),
        ("number", models.CharField(max_length=20, unique=True)),
        ("place", models.CharField(max_length=20, db_index=True)),
    ],
)
LONG = models.CheckConstraint(condition=models.Q(title__gt=""), name="has_title")
NOTHING = migrations.RunPython.noop


def problems(*operations: Operation, atomic: bool = True) -> list[str]:
    """What is against the rules in a migration with these operations, where there is a table `Paper`."""
    state = ProjectState()
    PAPER.state_forwards("library", state)
    migration = migrations.Migration("0002", "library")
    migration.operations = list(operations)
    migration.atomic = atomic
    return list(check(migration, state))


def test_our_migrations_keep_the_rules() -> None:
    assert check_migrations() == []


def test_exemptions_are_of_migrations_that_there_are() -> None:
    assert set(EXEMPT) <= set(our_migrations(MigrationLoader(None)))


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (migrations.AddIndex("paper", models.Index(fields=["title"], name="by_title")), "AddIndexConcurrently"),
        (migrations.RemoveIndex("paper", "by_title"), "RemoveIndexConcurrently"),
        (migrations.AddConstraint("paper", LONG), "AddConstraintNotValid"),
        (migrations.AddField("paper", "pages", models.IntegerField(default=0)), "old code does not fill it"),
        (migrations.AddField("paper", "pages", models.IntegerField()), "old code does not fill it"),
        (migrations.AddField("paper", "code", models.CharField(max_length=9, null=True, unique=True)), "index"),
        (migrations.AddField("paper", "code", models.CharField(max_length=9, null=True, db_index=True)), "index"),
        (
            migrations.AddField("paper", "more", models.ForeignKey("library.Paper", models.CASCADE, null=True)),
            "all rows are looked at",
        ),
        (
            migrations.AddField(
                "paper",
                "key",
                models.UUIDField(db_default=models.Func(function="gen_random_uuid", output_field=models.UUIDField())),
            ),
            "written anew",
        ),
        (migrations.RemoveField("paper", "note"), "still uses it"),
        (migrations.RenameField("paper", "note", "remark"), "old name"),
        (migrations.RenameModel("Paper", "Document"), "old name"),
        (migrations.AlterModelTable("paper", "papers"), "old name"),
        (migrations.DeleteModel("Paper"), "still uses it"),
        (migrations.AlterField("paper", "title", models.CharField(max_length=10)), "no longer fits"),
        (migrations.AlterField("paper", "title", models.IntegerField()), "no longer fits"),
        (migrations.AlterField("paper", "note", models.CharField(max_length=20)), "writes NULL"),
        (migrations.AlterField("paper", "title", models.CharField(max_length=20, unique=True)), "index"),
        (migrations.AlterField("paper", "title", models.CharField(max_length=20, db_column="t")), "old name"),
        (migrations.AlterField("paper", "number", models.CharField(max_length=20)), "relies on its being unique"),
        (migrations.AlterField("paper", "place", models.CharField(max_length=20)), "dropping its index"),
        (
            migrations.AlterField("paper", "number", models.CharField(max_length=20, unique=True, db_collation="C")),
            "anew",
        ),
        (migrations.AlterField("paper", "title", models.CharField(max_length=20, db_collation="C")), "anew"),
        (AddConstraintNotValid("paper", LONG), "stricter than old code"),
        (migrations.AlterUniqueTogether("paper", {("title", "note")}), "concurrently"),
        (migrations.RunSQL("UPDATE library_paper SET title = ''"), "nobody can see"),
        (migrations.RunPython(NOTHING), "batches"),
        (
            migrations.SeparateDatabaseAndState(database_operations=[migrations.RunSQL("DROP TABLE library_paper")]),
            "nobody can see",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Operation) else value,
)
def test_what_holds_others_up_or_breaks_old_code_is_refused(operation: Operation, reason: str) -> None:
    found = problems(operation)
    assert any(reason in problem for problem in found), found


@pytest.mark.parametrize(
    "operations",
    [
        [migrations.AddField("paper", "pages", models.IntegerField(null=True))],
        [migrations.AddField("paper", "pages", models.IntegerField(db_default=0))],
        [migrations.AddField("paper", "since", models.DateTimeField(db_default=Now()))],
        [migrations.AlterField("paper", "title", models.CharField(max_length=40))],
        [migrations.AlterField("paper", "title", models.TextField())],
        [migrations.AlterField("paper", "title", models.CharField(max_length=20, choices=[("a", "A")]))],
        [migrations.AlterField("paper", "number", models.CharField(max_length=40, unique=True))],
        [migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("paper", "note")])],
        [
            migrations.CreateModel("Author", [("id", models.BigAutoField(primary_key=True))]),
            migrations.AddField("author", "name", models.CharField(max_length=9, db_index=True)),
            migrations.AddIndex("author", models.Index(fields=["name"], name="by_name")),
        ],
    ],
)
def test_what_nobody_notices_is_allowed(operations: list[Operation]) -> None:
    assert problems(*operations) == []


@pytest.mark.parametrize(
    "operation",
    [
        AddIndexConcurrently("paper", models.Index(fields=["title"], name="by_title")),
        ValidateConstraint("paper", "has_title"),
        migrations.RunPython(NOTHING),
        migrations.RunSQL(["DROP INDEX CONCURRENTLY IF EXISTS x", "CREATE INDEX CONCURRENTLY x ON library_paper (id)"]),
    ],
)
def test_what_works_beside_others_is_allowed_outside_a_transaction(operation: Operation) -> None:
    assert problems(operation, atomic=False) == []


def test_unique_index_is_refused_though_it_works_beside_others() -> None:
    """Old code may write duplicates while it is made, and after it."""
    [problem] = problems(migrations.RunSQL("CREATE UNIQUE INDEX CONCURRENTLY x ON library_paper (title)"), atomic=False)
    assert "stricter than old code" in problem


def test_migration_without_a_transaction_has_one_operation() -> None:
    """It can be killed between two, and then the first is there when it is run again."""
    indexes = [AddIndexConcurrently("paper", models.Index(fields=["title"], name=name)) for name in ("one", "other")]
    [problem] = problems(*indexes, atomic=False)
    assert "one operation only" in problem


def test_new_migration_of_a_library_is_refused_until_somebody_has_read_it() -> None:
    loader = MigrationLoader(None)
    assert list(find_unread(loader, READ_UP_TO)) == []
    [problem] = find_unread(loader, READ_UP_TO | {"auth": "0011_update_proxy_permissions"})
    assert problem.startswith("auth.0012_alter_user_first_name_max_length: ")
    fewer = {app: name for app, name in READ_UP_TO.items() if app != "oauth2_provider"}
    assert {problem.partition(".")[0] for problem in find_unread(loader, fewer)} == {"oauth2_provider"}
    assert "no such migration" in next(find_unread(loader, READ_UP_TO | {"auth": "0099_renamed"}))


def test_constraint_is_validated_in_a_migration_of_its_own() -> None:
    found = problems(AddConstraintNotValid("paper", LONG), ValidateConstraint("paper", "has_title"))
    assert any("in the next migration" in problem for problem in found)


def test_rows_and_schema_are_changed_in_separate_migrations() -> None:
    field = migrations.AddField("paper", "pages", models.IntegerField(null=True))
    found = problems(field, migrations.RunPython(NOTHING), atomic=False)
    assert any("separate migrations" in problem for problem in found)
