"""Setting up a webhook: URL, keys, pause."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from apps.connections.models import Connection, EndReason
from apps.developers.errors import RefusedError
from apps.developers.models import HistoryEntry, Status
from apps.tokens.services import end_connection
from apps.webhooks import services
from apps.webhooks.keys import open_key
from apps.webhooks.models import Attempt, Endpoint, EndpointKey, KeyKind, Notification, State
from apps.webhooks.outbox import start_turn
from apps.webhooks.services import (
    end_previous_key,
    mark_of,
    pause,
    redeliver,
    remove_endpoint,
    resume,
    rotate_key,
    send_test,
    set_endpoint,
)
from tests.conftest import at_once

pytestmark = pytest.mark.spec("CONTRACT", "10")

URL = "https://partner.example/hooks"
KINDS = pytest.mark.parametrize("kind", KeyKind)


@pytest.fixture
def row(application):
    return application.row


@pytest.fixture
def keys(row):
    return set_endpoint(application=row, actor=None, url=URL)


def history(row):
    return list(HistoryEntry.objects.filter(application=row).values_list("kind", "details").order_by("pk"))


def revoke_of(row, user):
    """A notification of an ended connection that has failed."""
    connection = Connection.objects.create(application=row, user=user)
    end_connection(connection=connection, reason=EndReason.USER)
    notification = Notification.objects.get(connection_id=connection.pk)
    notification.state, notification.next_attempt_at = State.FAILED, None
    notification.save()
    return notification


def destination(row):
    """What the next delivery would use."""
    send_test(application=row)
    turn = start_turn(endpoint_id=row.webhook_endpoint.pk, job_id=1)
    Notification.objects.all().delete()
    return turn.destination


def test_first_url_makes_the_keys_and_shows_them_once(row):
    made = set_endpoint(application=row, actor=None, url=URL)

    assert made[KeyKind.API_KEY].startswith("cswk_")
    assert made[KeyKind.SIGNING_SECRET].startswith("whsec_")
    assert set_endpoint(application=row, actor=None, url=URL + "/new") == {}
    row.refresh_from_db()
    assert row.webhook_endpoint.url == URL + "/new"
    assert [kind for kind, _ in history(row)] == ["webhook_changed", "webhook_changed"]


def test_same_url_again_is_no_change(row, keys):
    set_endpoint(application=row, actor=None, url=URL)

    assert len(history(row)) == 1


def test_bad_url_changes_nothing(row):
    with pytest.raises(ValidationError):
        set_endpoint(application=row, actor=None, url="https://10.0.0.1/")

    assert not Endpoint.objects.exists()


def test_keys_are_kept_encrypted(row, keys):
    for kept in EndpointKey.objects.all():
        value = keys[KeyKind(kept.kind)]
        assert open_key(kept) == value
        assert value.encode() not in bytes(kept.encrypted_value)
        assert value.rstrip("=").endswith(kept.hint)
        assert len(kept.hint) <= 4
    assert not any(value in str(history(row)) for value in keys.values())


def test_signing_secrets_of_both_are_used_while_they_change(row, keys):
    new = rotate_key(application=row, actor=None, kind=KeyKind.SIGNING_SECRET)

    assert destination(row).signing_secrets == (new, keys[KeyKind.SIGNING_SECRET])


def test_old_api_key_is_sent_until_its_end(row, keys):
    """Only one can be sent, and the receiver has to learn the new one first."""
    new = rotate_key(application=row, actor=None, kind=KeyKind.API_KEY, overlap=timedelta(hours=1))

    assert destination(row).api_key == keys[KeyKind.API_KEY]
    EndpointKey.objects.filter(ends_at__isnull=False).update(ends_at=timezone.now())
    Endpoint.objects.update(delivering_until=None)
    assert destination(row).api_key == new


@KINDS
def test_previous_key_can_be_ended_at_once(row, keys, kind):
    new = rotate_key(application=row, actor=None, kind=kind)

    assert end_previous_key(application=row, actor=None, kind=kind)
    assert not end_previous_key(application=row, actor=None, kind=kind)
    found = destination(row)
    assert found.api_key == new if kind == KeyKind.API_KEY else found.signing_secrets == (new,)


@KINDS
def test_without_overlap_the_old_key_is_gone(row, keys, kind):
    rotate_key(application=row, actor=None, kind=kind, overlap=timedelta(0))

    assert EndpointKey.objects.filter(kind=kind).count() == 1


@KINDS
def test_third_key_does_not_end_the_first_before_its_time(row, keys, kind):
    """The page has said until when it is used."""
    rotate_key(application=row, actor=None, kind=kind)
    before = set(EndpointKey.objects.values_list("pk", "ends_at"))

    with pytest.raises(RefusedError, match="still in use"):
        rotate_key(application=row, actor=None, kind=kind, overlap=timedelta(hours=1))

    assert set(EndpointKey.objects.values_list("pk", "ends_at")) == before
    EndpointKey.objects.filter(ends_at__isnull=False).update(ends_at=timezone.now())
    assert rotate_key(application=row, actor=None, kind=kind, overlap=timedelta(hours=1))
    assert EndpointKey.objects.filter(kind=kind).count() == 2


@KINDS
def test_third_key_ends_both_at_once_if_that_is_asked_for(row, keys, kind):
    rotate_key(application=row, actor=None, kind=kind)
    third = rotate_key(application=row, actor=None, kind=kind, overlap=timedelta(0))

    assert [open_key(key) for key in EndpointKey.objects.filter(kind=kind)] == [third]


def test_form_that_is_sent_twice_makes_one_key(row, keys):
    mark = mark_of(EndpointKey.objects.get(kind=KeyKind.API_KEY))
    rotate_key(application=row, actor=None, kind=KeyKind.API_KEY, seen=mark)

    with pytest.raises(RefusedError):
        rotate_key(application=row, actor=None, kind=KeyKind.API_KEY, seen=mark)


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=8)])
def test_overlap_has_a_limit(row, keys, overlap):
    with pytest.raises(RefusedError):
        rotate_key(application=row, actor=None, kind=KeyKind.API_KEY, overlap=overlap)


def test_removed_endpoint_has_no_keys_and_what_waits_is_cancelled(row, keys):
    send_test(application=row)

    assert remove_endpoint(application=row, actor=None)
    assert not remove_endpoint(application=row, actor=None)
    assert not EndpointKey.objects.exists()
    assert Notification.objects.get().state == State.CANCELLED
    for service in (pause, resume, send_test):
        with pytest.raises(RefusedError):
            service(application=row, **({} if service is send_test else {"actor": None}))


def test_endpoint_that_is_set_again_has_new_keys(row, keys):
    remove_endpoint(application=row, actor=None)
    again = set_endpoint(application=row, actor=None, url=URL)

    assert set(again) == set(KeyKind)
    assert not set(again.values()) & set(keys.values())


def test_deleted_application_sets_none(row):
    row.status = Status.DELETED
    row.save()

    with pytest.raises(RefusedError):
        set_endpoint(application=row, actor=None, url=URL)


def test_pause_and_resume_are_on_record(row, keys):
    assert pause(application=row, actor=None)
    assert not pause(application=row, actor=None)
    assert resume(application=row, actor=None)
    assert not resume(application=row, actor=None)

    assert [details for _, details in history(row)[1:]] == [{"paused": True}, {"paused": False}]


def test_one_test_message_at_a_time(row, keys):
    send_test(application=row)

    with pytest.raises(RefusedError, match="on its way already"):
        send_test(application=row)


@pytest.mark.parametrize(("seconds", "is_refused"), [(59, True), (61, False)])
def test_one_test_message_a_minute(row, keys, make_application, seconds, is_refused):
    notification = send_test(application=row)
    at = timezone.now() - timedelta(seconds=seconds)
    Notification.objects.update(state=State.FAILED, next_attempt_at=None, created_at=at)
    Attempt.objects.create(notification=notification, started_at=at, duration_ms=1)

    if is_refused:
        with pytest.raises(RefusedError, match="One test message a minute"):
            send_test(application=row)
    else:
        assert send_test(application=row)
    other = make_application("customer").row
    set_endpoint(application=other, actor=None, url=URL)
    assert send_test(application=other)


@pytest.mark.parametrize(("seconds", "is_refused"), [(59, True), (61, False)])
def test_test_message_is_sent_again_once_a_minute_at_most(row, keys, seconds, is_refused):
    """Counted is when it was tried last, however long ago it was made."""
    notification = send_test(application=row)
    Notification.objects.update(
        state=State.FAILED, next_attempt_at=None, created_at=timezone.now() - timedelta(hours=1)
    )
    Attempt.objects.create(
        notification=notification, started_at=timezone.now() - timedelta(seconds=seconds), duration_ms=1
    )

    if is_refused:
        with pytest.raises(RefusedError, match="One test message a minute"):
            redeliver(application=row, notification_id=notification.pk)
    else:
        assert redeliver(application=row, notification_id=notification.pk).state == State.QUEUED


@pytest.mark.parametrize(("seconds", "is_refused"), [(9, True), (11, False)])
def test_one_notification_every_ten_seconds_is_sent_again(row, keys, make_application, make_user, seconds, is_refused):
    """Whichever it is, and however often; other applications do not wait for it."""
    notifications = [revoke_of(row, make_user(f"{number}@example.com")) for number in range(2)]
    redeliver(application=row, notification_id=notifications[0].pk)
    Endpoint.objects.update(sent_again_at=timezone.now() - timedelta(seconds=seconds))

    for notification in notifications[:: 1 if is_refused else 2]:
        if is_refused:
            with pytest.raises(RefusedError, match="every 10 seconds"):
                redeliver(application=row, notification_id=notification.pk)
        else:
            assert redeliver(application=row, notification_id=notification.pk).state == State.QUEUED
    other = make_application("customer").row
    set_endpoint(application=other, actor=None, url=URL)
    assert redeliver(application=other, notification_id=revoke_of(other, make_user("b@example.com")).pk)


@pytest.mark.django_db(transaction=True)
def test_of_many_pressed_at_once_one_is_sent_again(row, keys, make_user):
    notification = revoke_of(row, make_user("a@example.com"))

    def press():
        try:
            return bool(redeliver(application=row, notification_id=notification.pk))
        except RefusedError:
            return False

    assert sorted(at_once(*[press] * 4)) == [False, False, False, True]


def test_notification_of_another_application_is_not_sent_again(row, keys, make_application):
    other = make_application("customer").row
    set_endpoint(application=other, actor=None, url=URL)
    notification = send_test(application=other)

    with pytest.raises(RefusedError):
        redeliver(application=row, notification_id=notification.pk)


def test_overlap_is_a_day_unless_something_else_is_chosen():
    assert timedelta(days=1) == services.DEFAULT_OVERLAP
