"""What one test commits is gone for the next, and what every start makes is there, as it was (tests/emptying.py)."""

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.audit import trail
from apps.organisations.models import Organisation
from apps.tokens import keys
from apps.tokens.models import SigningKey
from tests.emptying import Emptying

GUARDS = """
SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'privileges', oid::regclass::text, relacl::text, '' FROM pg_class WHERE relname LIKE 'audit_%'
ORDER BY 1, 2, 3
"""
STARTED = ("django_content_type", "auth_permission", "tokens_signingkey")


def rows(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def started():
    """Every column of what every start makes."""
    return {table: rows(f"SELECT row::text FROM {table} row ORDER BY 1") for table in STARTED}


def filled():
    """The tables with rows."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return {table for table in tables if rows(f"SELECT 1 FROM {table} LIMIT 1")}


@pytest.fixture
def emptying(transactional_db):
    """One that knows this moment: nothing of the tests before is there."""
    assert filled() == set(STARTED)
    return Emptying()


def test_what_a_test_has_committed_is_gone_and_the_guards_of_the_trail_are_up(emptying, make_user, organisation):
    before, guards = started(), rows(GUARDS)
    trail.record("server:thing:done", about=make_user())
    assert {"audit_auditevent", "audit_auditperson", "organisations_organisation"} <= filled()

    emptying.empty()

    assert filled() == set(STARTED)
    assert started() == before
    assert rows(GUARDS) == guards
    trail.record("server:thing:done")
    for statement in ("DELETE FROM audit_auditevent", "TRUNCATE audit_auditevent CASCADE"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_table_that_has_become_large_is_emptied_too(emptying, organisation):
    before, guards = started(), rows(GUARDS)
    User.objects.bulk_create(User(email=f"{number}@example.com", password="!") for number in range(3_000))
    [(size,)] = rows("SELECT pg_relation_size('accounts_user')")
    assert size > 256 * 1024

    emptying.empty()

    assert filled() == set(STARTED)
    assert (started(), rows(GUARDS)) == (before, guards)
    assert rows("SELECT pg_relation_size('accounts_user')") == [(0,)]


@pytest.mark.parametrize("changed", ["retired", "deleted", "permission", "content type"])
def test_what_every_start_makes_is_put_back_word_for_word(emptying, organisation, changed):
    before, guards = started(), rows(GUARDS)
    assert all(before.values())
    if changed == "retired":
        SigningKey.objects.update(retired_at=timezone.now())
        keys.ensure_signing_keys()
    elif changed == "deleted":
        SigningKey.objects.all().delete()
    elif changed == "permission":
        Permission.objects.earliest("pk").delete()
    else:
        ContentType.objects.get_for_model(Organisation).delete()
    assert started() != before

    emptying.empty()

    assert filled() == set(STARTED)
    assert (started(), rows(GUARDS)) == (before, guards)
