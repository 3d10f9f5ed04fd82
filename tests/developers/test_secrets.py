"""Changing a client secret without a pause (CONTRACT section 9): at most two work at a time."""

from datetime import timedelta

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher
from django.db import connection
from django.utils import timezone

from apps.developers.errors import RefusedError
from apps.developers.models import Application
from apps.developers.services import secrets
from apps.developers.services.applications import mark_deleted
from tests.conftest import RegisteredApplication
from tests.developers.conftest import kinds
from tests.protocol.test_races import at_once

pytestmark = pytest.mark.spec("CONTRACT", "9 (secrets)")


@pytest.fixture
def registered(make_application):
    return make_application("connection")


@pytest.fixture
def works(introspect, partner, registered):
    """Say whether a client secret works."""

    def call(secret):
        credentials = {"client_id": registered.client_id, "client_secret": secret}
        response = partner.post("/oauth/introspect", {"token": "x", **credentials})
        assert response.status_code in {200, 401}
        return response.status_code == 200

    return call


def pass_time(application, span):
    """Let the previous secret's end be so much nearer."""
    row = Application.objects.get(pk=application.row.pk)
    row.previous_client_secret_ends_at -= span
    row.save()


def test_old_secret_works_on_for_a_day_unless_something_else_is_chosen(registered, owner, works):
    new = secrets.create_secret(application=registered.row, actor=owner)

    assert new != registered.secret
    assert len(new) == 128
    assert works(new)
    assert works(registered.secret)
    assert registered.row.has_previous_secret

    pass_time(registered, timedelta(hours=23, minutes=59))
    assert works(registered.secret)
    pass_time(registered, timedelta(minutes=2))
    assert not works(registered.secret)
    assert works(new)


def test_old_secret_can_end_at_once(registered, owner, works):
    new = secrets.create_secret(application=registered.row, actor=owner, overlap=timedelta(0))

    assert works(new)
    assert not works(registered.secret)
    row = Application.objects.get(pk=registered.row.pk)
    assert (row.previous_client_secret, row.previous_client_secret_ends_at) == ("", None)


def test_third_secret_ends_the_first(registered, owner, works):
    second = secrets.create_secret(application=registered.row, actor=owner, overlap=timedelta(days=7))
    third = secrets.create_secret(application=registered.row, actor=owner, overlap=timedelta(minutes=1))

    assert [works(secret) for secret in (registered.secret, second, third)] == [False, True, True]


def test_making_one_at_once_ends_an_overlap_too(registered, owner, works):
    second = secrets.create_secret(application=registered.row, actor=owner)
    third = secrets.create_secret(application=registered.row, actor=owner, overlap=timedelta(0))

    assert [works(secret) for secret in (registered.secret, second, third)] == [False, False, True]


def test_overlap_can_be_ended(registered, owner, works):
    new = secrets.create_secret(application=registered.row, actor=owner)

    assert secrets.end_previous_secret(application=registered.row, actor=owner)
    assert not secrets.end_previous_secret(application=registered.row, actor=owner)
    assert not works(registered.secret)
    assert works(new)
    assert kinds(registered.row) == ["secret_created", "secret_ended"]
    assert not registered.row.has_previous_secret


@pytest.mark.parametrize("overlap", [timedelta(days=7), timedelta(seconds=1)])
def test_overlap_is_at_most_seven_days(registered, owner, overlap):
    secrets.create_secret(application=registered.row, actor=owner, overlap=overlap)

    assert registered.row.previous_client_secret_ends_at - timezone.now() <= timedelta(days=7)


@pytest.mark.parametrize("overlap", [timedelta(days=7, seconds=1), timedelta(seconds=-1), timedelta.max])
def test_other_overlap_is_refused(registered, owner, works, overlap):
    with pytest.raises(RefusedError, match="at most 7 days"):
        secrets.create_secret(application=registered.row, actor=owner, overlap=overlap)

    assert works(registered.secret)
    assert kinds(registered.row) == []


def test_public_client_gets_none(make_application, owner):
    public = make_application("connection", client_type="public")

    with pytest.raises(RefusedError, match="public client"):
        secrets.create_secret(application=public.row, actor=owner)


def test_deleted_application_gets_none(registered, owner):
    mark_deleted(application=registered.row, actor=owner)

    with pytest.raises(RefusedError, match="deleted"):
        secrets.create_secret(application=registered.row, actor=owner)
    with pytest.raises(RefusedError, match="deleted"):
        secrets.end_previous_secret(application=registered.row, actor=owner)


def test_both_secrets_are_at_rest_only_as_hashes(registered, owner):
    new = secrets.create_secret(application=registered.row, actor=owner)

    row = Application.objects.get(pk=registered.row.pk)
    assert check_password(new, row.client_secret)
    assert check_password(registered.secret, row.previous_client_secret)
    for stored in (row.client_secret, row.previous_client_secret):
        assert identify_hasher(stored).algorithm == "client_secret_sha256"
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE ANY (%s)', [[f"%{new}%"]])
            assert cursor.fetchone() == (0,), table


def test_when_each_was_made_and_last_used_is_kept(registered, owner):
    made_at = registered.row.client_secret_created_at
    secrets.create_secret(application=registered.row, actor=owner)

    row = Application.objects.get(pk=registered.row.pk)
    assert row.previous_client_secret_created_at == made_at
    assert row.client_secret_created_at > made_at
    assert (row.client_secret_used_at, row.previous_client_secret_used_at) == (
        None,
        registered.row.client_secret_used_at,
    )


def test_form_that_is_sent_twice_makes_one_secret(registered, owner, works):
    seen = secrets.mark_of(registered.row)
    new = secrets.create_secret(application=registered.row, actor=owner, seen=seen)

    with pytest.raises(RefusedError, match="since you opened this page"):
        secrets.create_secret(application=registered.row, actor=owner, seen=seen)
    with pytest.raises(RefusedError, match="since you opened this page"):
        secrets.end_previous_secret(application=registered.row, actor=owner, seen=seen)
    assert works(new)
    assert works(registered.secret)


@pytest.mark.django_db(transaction=True)
def test_two_changes_at_the_same_moment_are_one_after_the_other(registered, owner, works):
    def change():
        return secrets.create_secret(application=Application.objects.get(), actor=owner)

    new = at_once(change, change)

    assert len(set(new)) == 2
    assert all(works(secret) for secret in new)
    assert not works(registered.secret)
    assert kinds(registered.row) == ["secret_created", "secret_created"]


@pytest.mark.django_db(transaction=True)
def test_of_two_forms_at_the_same_moment_one_makes_a_secret(registered, owner, works):
    seen = secrets.mark_of(registered.row)

    def change():
        try:
            return secrets.create_secret(application=Application.objects.get(), actor=owner, seen=seen)
        except RefusedError:
            return None

    [new] = [secret for secret in at_once(change, change, change) if secret]

    assert works(new)
    assert works(registered.secret)


def test_connected_users_notice_nothing(registered, owner, connect, refresh, make_application, introspect):
    customer = make_application("customer")
    tokens = connect(customer)
    new = secrets.create_secret(application=customer.row, actor=owner)

    tokens = refresh(customer, tokens["refresh_token"]).json()
    renewed = RegisteredApplication(customer.row, new)
    tokens = refresh(renewed, tokens["refresh_token"]).json()
    secrets.end_previous_secret(application=customer.row, actor=owner)
    assert introspect(renewed, tokens["access_token"])["active"]
