"""What is queued when, and what the worker makes of it, with real receivers."""

import contextlib
import json
import threading
import uuid
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from standardwebhooks.webhooks import Webhook

from apps.connections.models import Connection, EndReason
from apps.consent import services as consent_services
from apps.consent.account_data import write_account_data
from apps.consent.services import close_account
from apps.developers.errors import RefusedError
from apps.developers.models import Role, Status, TeamMember
from apps.housekeeping.chores import CHORES
from apps.housekeeping.models import HousekeepingRun
from apps.tokens.services import end_connection
from apps.webhooks import delivery, forgetting, outbox, tasks
from apps.webhooks.delivery import Result
from apps.webhooks.models import (
    Attempt,
    Endpoint,
    Failure,
    KeyKind,
    Notification,
    NotificationType,
    PauseReason,
    PersonToForget,
    State,
)
from apps.webhooks.old_notifications import OldNotifications
from apps.webhooks.services import (
    pause,
    queue_revoke,
    redeliver,
    remove_endpoint,
    resume,
    rotate_key,
    send_test,
    set_endpoint,
    wake_endpoints,
)
from tests.conftest import CALLBACK, run_job
from tests.webhooks import receivers
from tests.webhooks.receivers import Flood, respond

pytestmark = pytest.mark.spec("CONTRACT", "10")

COMMITTED = pytest.mark.django_db(transaction=True)
METADATA = {"customer": "Åsa", "tags": ["a", "b"]}


@pytest.fixture
def link(make_user):
    """Make a connection of a new user."""

    def call(application, **fields):
        user = make_user(f"{uuid.uuid4()}@example.com")
        return Connection.objects.create(user=user, application=application.row, **fields)

    return call


def end(connection, reason=EndReason.USER):
    return end_connection(connection=connection, reason=reason)


# --- what is queued -----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [EndReason.USER, EndReason.ADMINISTRATOR])
def test_end_by_user_or_administrator_is_told(application, listen, link, reason):
    listen(application)
    connection = link(application, partner_metadata=METADATA)

    assert end(connection, reason)
    assert not end(connection, reason)

    notification = Notification.objects.get()
    assert notification.state == State.QUEUED
    assert json.loads(notification.body) == {
        "notification_type": "oauth_authorization_revoke",
        "receipthero_id": str(connection.pk),
        "partner_metadata": METADATA,
    }


@pytest.mark.parametrize("metadata", [None, {}])
def test_without_metadata_there_is_none_in_the_body(application, listen, link, metadata):
    listen(application)
    end(link(application, partner_metadata=metadata))

    assert set(json.loads(Notification.objects.get().body)) == {"notification_type", "receipthero_id"}


@pytest.mark.parametrize("reason", [EndReason.PARTNER, EndReason.APPLICATION])
def test_end_by_the_partner_or_with_the_application_is_not_told(application, listen, link, reason):
    listen(application)
    end(link(application), reason)

    assert not Notification.objects.exists()


def test_application_without_an_endpoint_is_not_told(application, listen, link, make_application):
    listen(make_application("customer"))
    end(link(application))
    set_endpoint(application=application.row, actor=None, url="https://partner.example/")
    remove_endpoint(application=application.row, actor=None)
    end(link(application))

    assert not Notification.objects.exists()


def test_metadata_that_came_after_the_caller_read_the_connection_is_told(application, listen, link):
    listen(application)
    connection = link(application)
    Connection.objects.update(partner_metadata=METADATA)
    end(connection)

    assert json.loads(Notification.objects.get().body)["partner_metadata"] == METADATA


def visible(table, condition="true"):
    """How many rows another database connection sees."""
    with database.copy().temporary_connection() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE {condition}")
        return cursor.fetchone()[0]


@COMMITTED
def test_notification_and_job_are_there_with_the_commit(application, listen, link, empty_queue):
    listen(application)
    connection = link(application)
    with transaction.atomic():
        end(connection)
        assert visible("webhooks_notification") == visible("procrastinate_jobs") == 0
    assert visible("webhooks_notification") == visible("procrastinate_jobs", "queue_name = 'webhooks'") == 1


@COMMITTED
def test_what_is_rolled_back_is_never_told(application, listen, link, empty_queue, work):
    receiver = listen(application)
    connection = link(application)

    def fail():
        with transaction.atomic():
            end(connection)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()

    work()
    assert visible("webhooks_notification") == visible("procrastinate_jobs") == 0
    assert receiver.requests == []


# --- what the worker delivers -------------------------------------------------------------------


@COMMITTED
def test_user_removes_the_connection_and_the_partner_hears_of_it(
    application, listen, browser, exchange, partner, work, member
):
    import base64

    receiver = listen(application)
    state = base64.urlsafe_b64encode(json.dumps({"partner_metadata": METADATA}).encode()).decode()
    assert exchange(application, browser.authorize(application, state=state)).status_code == 200
    connection = Connection.objects.get()

    query = {"receipthero_id": connection.pk, "redirect_uri": CALLBACK}
    page = browser.client.get("/membership", query)
    browser.client.post(page.wsgi_request.get_full_path(), {"decision": "remove", "confirmed": "yes"})
    if Connection.objects.active().exists():
        browser.client.post(f"/account/connections/{connection.pk}/remove/")
    assert not Connection.objects.active().exists()
    work()

    [request] = receiver.requests
    body = Webhook(receiver.keys[KeyKind.SIGNING_SECRET]).verify(request.body, request.headers)
    assert body["notification_type"] == "oauth_authorization_revoke"
    assert body["receipthero_id"] == str(connection.pk)
    assert body["partner_metadata"] == METADATA
    notification = Notification.objects.get()
    assert (notification.state, notification.next_attempt_at) == (State.DELIVERED, None)
    attempt = notification.attempts.get()
    assert (attempt.status, attempt.failure, attempt.response_start) == (200, "", "thank you")


@COMMITTED
def test_failed_one_is_tried_again_with_the_same_id_and_bytes(application, listen, link, work, monkeypatch):
    answers = iter([respond(500), receivers.hang_up])
    receiver = listen(application, lambda connection: next(answers, respond())(connection))
    end(link(application, partner_metadata=METADATA))

    for tries in (1, 2):
        work()
        notification = Notification.objects.get()
        assert (notification.state, notification.tries) == (State.QUEUED, tries)
        assert timezone.now() < notification.next_attempt_at
        assert Endpoint.objects.get().failing_since == Attempt.objects.earliest("pk").started_at
        [job] = ProcrastinateJob.objects.filter(status="todo", task_name__endswith="deliver")
        assert job.scheduled_at == notification.next_attempt_at
        # Its time comes.
        Notification.objects.update(next_attempt_at=timezone.now())
        Endpoint.objects.update(wakes_at=timezone.now())
        ProcrastinateJob.objects.filter(status="todo").update(scheduled_at=None)
    work()

    assert Notification.objects.get().state == State.DELIVERED
    assert Endpoint.objects.get().failing_since is None
    assert len(receiver.requests) == 3
    assert len({request.body for request in receiver.requests}) == 1
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert list(Attempt.objects.order_by("pk").values_list("failure", flat=True)) == [
        Failure.STATUS,
        Failure.BROKEN_OFF,
        "",
    ]


def test_it_is_tried_for_about_a_day():
    delays = []
    while (delay := outbox.retry_delay(len(delays) + 1)) is not None:
        delays.append(delay)

    assert delays == sorted(delays)
    assert delays[0] < timedelta(seconds=10)
    assert timedelta(hours=20) < sum(delays, timedelta()) < timedelta(hours=28)


def test_delays_differ():
    assert len({outbox.retry_delay(3) for _ in range(20)}) > 10


@COMMITTED
def test_after_the_last_try_it_has_failed(application, listen, link, work):
    listen(application, respond(500))
    end(link(application))
    Notification.objects.update(tries=len(outbox.RETRY_DELAYS))
    work()

    notification = Notification.objects.get()
    assert (notification.state, notification.next_attempt_at) == (State.FAILED, None)
    assert not ProcrastinateJob.objects.filter(status="todo", task_name__endswith="deliver").exists()


@contextlib.contextmanager
def hanging_up(bad, *, after, of):
    """Let these receivers go on until others have had so many requests; yields what will be how many each had then.

    None is given up before: `TIMEOUT` is longer than the others are waited for.
    """
    had = []

    def wait():
        had.extend(len(server.wait_for(after, seconds=TIMEOUT - 15)) for server in of)
        for receiver in bad:
            receiver.hang_up()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield had
    finally:
        thread.join()


#: Seconds until a receiver is given up, where no test waits for that.
TIMEOUT = 55.0


@COMMITTED
def test_bad_receivers_do_not_hold_up_the_others(make_application, listen, link, work, monkeypatch):
    """All at once, and each bad one with more to tell than one turn takes."""
    monkeypatch.setattr(delivery, "TIMEOUT", TIMEOUT)
    bad = [receivers.hang, receivers.drip, receivers.drip_body, respond(500), receivers.break_off, receivers.hang_up]
    bad += [respond(307, Location="http://127.0.0.1/"), Flood(), receivers.endless_head]
    bad_servers = []
    for behaviour in bad:
        application = make_application("customer")
        bad_servers.append(listen(application, behaviour))
        for _ in range(7):
            end(link(application))
    good = [make_application("portal") for _ in range(3)]
    servers = [listen(application) for application in good]
    for application in good:
        for _ in range(5):
            end(link(application))

    with hanging_up(bad_servers, after=5, of=servers) as had:
        work()

    delivered = Attempt.objects.filter(notification__application__in=[application.row for application in good])
    assert had == [5, 5, 5]
    assert [len(server.requests) for server in servers] == [5, 5, 5]
    assert delivered.filter(failure="").count() == 15


@COMMITTED
def test_slow_endpoint_takes_one_place_of_the_worker(make_application, listen, link, work, monkeypatch):
    """Two places, one taken by the slow one however much there is to tell it; the others go through the second."""
    monkeypatch.setattr(delivery, "TIMEOUT", TIMEOUT)
    slow, quick = make_application("customer"), make_application("portal")
    hanging = listen(slow, receivers.hang)
    for _ in range(12):
        end(link(slow))
    server = listen(quick)
    for _ in range(4):
        end(link(quick))

    with hanging_up([hanging], after=4, of=[server]) as had:
        work(concurrency=2)

    assert had == [4]
    assert len(server.requests) == 4
    assert Attempt.objects.filter(notification__application=slow.row).exists()


@COMMITTED
def test_hundreds_for_a_receiver_that_hangs_do_not_hold_up_another(make_application, listen, link, work, monkeypatch):
    """One application has one place and five connections, whatever there is to tell it."""
    monkeypatch.setattr(delivery, "TIMEOUT", TIMEOUT)
    slow, quick = make_application("customer"), make_application("portal")
    hanging, server = listen(slow, receivers.hang), listen(quick)
    connection = link(slow)
    for _ in range(300):
        queue_revoke(connection=connection)
    for _ in range(20):
        end(link(quick))
    assert Notification.objects.filter(application=slow.row).count() == 300

    had = []

    def give_up():
        had.append(len(server.wait_for(20, seconds=TIMEOUT - 15)))
        had.append(len(hanging.wait_for(1)))
        had.append(hanging.connections)
        try:
            pause(application=slow.row, actor=None)
        finally:
            database.close()
            hanging.hang_up()

    team = threading.Thread(target=give_up)
    team.start()
    work(concurrency=3)
    team.join()

    served, told, connections = had
    assert len(server.requests) == served == 20
    assert 1 <= told <= connections <= 8


@COMMITTED
@pytest.mark.parametrize(("places", "is_held_up"), [(1, False), (50, True)])
def test_endpoints_that_are_failing_leave_places_to_the_others(
    make_application, listen, link, work, monkeypatch, places, is_held_up
):
    """Six hang, and the worker has three places: with no bound, the one that is well waits for them."""
    monkeypatch.setattr(tasks, "_failing_places", threading.BoundedSemaphore(places))
    monkeypatch.setattr(outbox, "PUT_OFF", timedelta(seconds=1))
    monkeypatch.setattr(delivery, "TIMEOUT", 3.0 if is_held_up else TIMEOUT)
    monkeypatch.setattr(tasks, "TURN_SECONDS", 0.5)
    hanging = []
    for _ in range(6):
        slow = make_application("customer")
        hanging.append(listen(slow, receivers.hang))
        end(link(slow))
    Endpoint.objects.update(failing_since=timezone.now())
    quick = make_application("portal")
    server = listen(quick)
    end(link(quick))

    with hanging_up([] if is_held_up else hanging, after=1, of=[server]) as had:
        work(concurrency=3)

    assert had == [1]
    assert len(server.requests) == 1
    first = Attempt.objects.earliest("started_at").started_at
    attempt = Attempt.objects.get(notification__application=quick.row)
    assert is_held_up == (attempt.started_at - first > timedelta(seconds=delivery.TIMEOUT))


@COMMITTED
def test_endpoint_that_was_put_off_has_its_turn_later(application, listen, link, work, monkeypatch):
    monkeypatch.setattr(tasks, "_failing_places", threading.BoundedSemaphore(1))
    receiver = listen(application)
    end(link(application))
    Endpoint.objects.update(failing_since=timezone.now())
    tasks._failing_places.acquire()
    try:
        work()
    finally:
        tasks._failing_places.release()
    assert receiver.requests == []
    [job] = ProcrastinateJob.objects.filter(status="todo", task_name__endswith="deliver")
    assert job.scheduled_at - timezone.now() <= outbox.PUT_OFF

    ProcrastinateJob.objects.filter(status="todo").update(scheduled_at=None)
    work()

    assert len(receiver.requests) == 1
    assert Endpoint.objects.get().failing_since is None


def test_endpoint_that_is_put_off_twice_is_queued_once(application, listen, link):
    listen(application)
    end(link(application))
    Endpoint.objects.update(failing_since=timezone.now())
    endpoint = Endpoint.objects.get()

    turns = [outbox.start_turn(endpoint_id=endpoint.pk, job_id=n, may_be_failing=False) for n in (1, 2)]

    assert [turn.destination for turn in turns] == [None, None]
    assert [turn.wake_at is None for turn in turns] == [False, True]
    assert outbox.start_turn(endpoint_id=endpoint.pk, job_id=3).is_failing


# --- what a receiver asks for -----------------------------------------------------------------------


@COMMITTED
def test_receiver_that_is_gone_is_asked_once_and_the_team_told(application, listen, link, work, team, mails):
    receiver = listen(application, respond(410))
    Endpoint.objects.update(failing_since=timezone.now())  # one at a time
    for _ in range(3):
        end(link(application))
    work()

    endpoint = Endpoint.objects.get()
    assert (endpoint.is_paused, endpoint.pause_reason) == (True, PauseReason.GONE)
    assert len(receiver.requests) == 1
    assert set(Notification.objects.values_list("state", flat=True)) == {State.QUEUED}
    sent = mails()
    assert sorted(message.to[0] for message in sent) == ["developer@example.com", "owner@example.com"]
    for text in (sent[0].body, sent[0].alternatives[0].content):
        assert "410 Gone" in text
        assert "has not been able" not in text


@COMMITTED
def test_test_message_to_one_that_is_gone_pauses_nothing(application, listen, work, team, mails):
    listen(application, respond(410))
    send_test(application=application.row)
    work()

    assert not Endpoint.objects.get().is_paused
    assert mails() == []


@pytest.mark.django_db
def test_answer_of_the_url_before_pauses_nothing(application, listen, link):
    listen(application)
    end(link(application))
    endpoint, notification = Endpoint.objects.get(), Notification.objects.get()
    gone = Result(timezone.now(), 1, 410, Failure.STATUS, "")
    set_endpoint(application=application.row, actor=None, url="http://127.0.0.1:9/other")

    outbox.record_attempt(notification_id=notification.pk, endpoint_id=endpoint.pk, result=gone)

    endpoint.refresh_from_db()
    assert (endpoint.is_paused, endpoint.failing_since) == (False, None)


@COMMITTED
@pytest.mark.parametrize("status", [429, 503])
def test_overloaded_receiver_is_left_alone_for_as_long_as_it_asks(application, listen, link, work, status):
    answers = iter([respond(status, Retry_After="600")])
    receiver = listen(application, lambda connection: next(answers, respond())(connection))
    Endpoint.objects.update(failing_since=timezone.now())  # one at a time
    for _ in range(3):
        end(link(application))
    work()

    endpoint = Endpoint.objects.get()
    assert len(receiver.requests) == 1
    rest = endpoint.rests_until - timezone.now()
    assert timedelta(seconds=580) < rest <= timedelta(seconds=600)
    tried = Notification.objects.get(tries=1)
    assert tried.next_attempt_at >= endpoint.rests_until
    [job] = ProcrastinateJob.objects.filter(status="todo", task_name__endswith="deliver")
    assert job.scheduled_at == endpoint.rests_until
    # New ones wait too, nobody takes it for forgotten, and it is not paused.
    end(link(application))
    work()
    Notification.objects.filter(tries=0).update(next_attempt_at=timezone.now() - timedelta(minutes=2))
    assert outbox.forgotten_endpoints() == []
    assert (len(receiver.requests), endpoint.is_paused) == (1, False)

    Endpoint.objects.update(rests_until=timezone.now(), wakes_at=timezone.now())
    Notification.objects.update(next_attempt_at=timezone.now())
    ProcrastinateJob.objects.filter(status="todo").update(scheduled_at=None)
    work()

    assert len(receiver.requests) == 5
    assert set(Notification.objects.values_list("state", flat=True)) == {State.DELIVERED}


@COMMITTED
def test_test_message_is_sent_to_one_that_rests(application, listen, work, link):
    receiver = listen(application)
    Endpoint.objects.update(rests_until=timezone.now() + timedelta(minutes=10))
    end(link(application))
    send_test(application=application.row)
    work()

    [request] = receiver.requests
    assert request.json["notification_type"] == "test"


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["url", "resume"])
def test_rest_ends_with_another_url_and_when_the_team_resumes(application, listen, change):
    listen(application)
    Endpoint.objects.update(rests_until=timezone.now() + timedelta(minutes=10))
    if change == "url":
        set_endpoint(application=application.row, actor=None, url="http://127.0.0.1:9/other")
    else:
        pause(application=application.row, actor=None)
        resume(application=application.row, actor=None)

    assert Endpoint.objects.get().rests_until is None


@COMMITTED
def test_many_for_one_endpoint_are_all_delivered_once(application, listen, link, work):
    receiver = listen(application)
    ids = set()
    for _ in range(120):
        connection = link(application)
        ids.add(str(connection.pk))
        end(connection)
    work()

    assert len(receiver.requests) == 120
    assert {request.json["receipthero_id"] for request in receiver.requests} == ids


# --- pause ------------------------------------------------------------------------------------------


@pytest.fixture
def team(application, make_user):
    return {
        role: TeamMember.objects.create(application=application.row, user=make_user(f"{role}@example.com"), role=role)
        for role in Role
    }


@COMMITTED
def test_after_three_days_of_failing_it_is_paused_and_the_team_told(application, listen, link, work, team, mails):
    listen(application, respond(500))
    end(link(application))
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=3, seconds=1))
    work()

    endpoint = Endpoint.objects.get()
    assert endpoint.pause_reason == PauseReason.FAILING
    sent = mails()
    assert sorted(message.to[0] for message in sent) == ["developer@example.com", "owner@example.com"]
    assert sent[0].subject == f"We have paused the webhook of {application.row.name}"
    assert f"/developer/apps/{application.row.pk}/webhook/" in sent[0].body
    assert endpoint.url in sent[0].body
    end(link(application))
    work()
    assert Attempt.objects.count() == 1
    assert mails() == []


def answered(notification, failure="", *, started_at=None):
    """Note what came of a try."""
    result = Result(started_at or timezone.now(), 1, 500 if failure else 200, failure, "thank you")
    outbox.record_attempt(notification_id=notification.pk, endpoint_id=notification.endpoint_id, result=result)
    return Endpoint.objects.get()


@pytest.mark.django_db
def test_team_that_sends_test_messages_is_paused_all_the_same(application, listen, link, team):
    """A test message says nothing of the endpoint's health, whatever comes of it."""
    listen(application)
    end(link(application))
    notification = Notification.objects.get()
    since = timezone.now() - timedelta(days=3, seconds=1)
    Endpoint.objects.update(failing_since=since)

    assert answered(send_test(application=application.row)).failing_since == since
    assert answered(notification, Failure.STATUS).pause_reason == PauseReason.FAILING


@pytest.mark.django_db
@pytest.mark.parametrize(("is_late", "is_well"), [(True, False), (False, True)])
def test_late_success_of_the_url_before_says_nothing_of_this_one(application, listen, link, is_late, is_well):
    listen(application)
    for _ in range(2):
        end(link(application))
    one, two = Notification.objects.all()
    began = timezone.now()
    set_endpoint(application=application.row, actor=None, url="http://127.0.0.1:9/other")
    assert answered(one, Failure.NOT_REACHED).failing_since

    assert (answered(two, started_at=began if is_late else None).failing_since is None) == is_well


@COMMITTED
def test_two_days_are_not_enough(application, listen, link, work, team):
    listen(application, respond(500))
    end(link(application))
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=2, hours=23))
    work()

    assert not Endpoint.objects.get().is_paused
    assert mail.outbox == []


@COMMITTED
def test_while_it_is_paused_all_waits_and_then_all_is_told(application, listen, link, work):
    receiver = listen(application)
    pause(application=application.row, actor=None)
    for _ in range(3):
        end(link(application))
    work()
    assert receiver.requests == []
    assert set(Notification.objects.values_list("state", flat=True)) == {State.QUEUED}

    resume(application=application.row, actor=None)
    work()
    assert len(receiver.requests) == 3


@COMMITTED
def test_test_message_is_sent_even_then_and_tried_once(application, listen, work):
    receiver = listen(application, respond(500))
    pause(application=application.row, actor=None)
    send_test(application=application.row)
    work()

    [request] = receiver.requests
    assert request.json == {"notification_type": "test", "receipthero_id": str(uuid.UUID(int=0))}
    assert Notification.objects.get().state == State.FAILED
    assert Endpoint.objects.get().failing_since is None


@COMMITTED
def test_it_is_sent_again_as_it_was(application, listen, link, work):
    receiver = listen(application)
    end(link(application))
    work()
    redeliver(application=application.row, notification_id=Notification.objects.get().pk)
    work()

    first, second = receiver.requests
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert Attempt.objects.count() == 2
    assert Notification.objects.get().state == State.DELIVERED


@COMMITTED
def test_new_url_and_new_keys_are_used_for_what_waits(application, listen, link, work, receive):
    listen(application, respond(500))
    end(link(application))
    work()
    elsewhere = receive()
    set_endpoint(application=application.row, actor=None, url=elsewhere.url)
    secret = rotate_key(application=application.row, actor=None, kind=KeyKind.SIGNING_SECRET, overlap=timedelta(0))
    redeliver(application=application.row, notification_id=Notification.objects.get().pk)
    work()

    [request] = elsewhere.requests
    assert Webhook(secret).verify(request.body, request.headers)


# --- what is not told any more -----------------------------------------------------------------------


def of_receipt(application, connection):
    return Notification.objects.create(
        application=application.row,
        endpoint=application.row.webhook_endpoint,
        connection_id=connection.pk,
        notification_type=NotificationType.RECEIPT,
        body="{}",
    )


def turn(application, job_id=1):
    return outbox.start_turn(endpoint_id=application.row.webhook_endpoint.pk, job_id=job_id)


def test_receipt_of_an_ended_connection_is_cancelled_and_its_end_is_told(application, listen, link):
    listen(application)
    connection = link(application)
    receipt = of_receipt(application, connection)
    end(connection)

    [message] = turn(application).messages
    assert json.loads(message.body)["notification_type"] == "oauth_authorization_revoke"
    receipt.refresh_from_db()
    assert (receipt.state, receipt.next_attempt_at, receipt.body) == (State.CANCELLED, None, "")
    with pytest.raises(RefusedError, match="not kept any more"):
        redeliver(application=application.row, notification_id=receipt.pk)
    # Who was told of may have a look all the same.
    assert json.loads(b"".join(write_account_data(connection.user)))


@pytest.mark.parametrize(
    ("status", "types"), [(Status.SUSPENDED, ["oauth_authorization_revoke"]), (Status.DELETED, [])]
)
def test_application_that_may_nothing_learns_of_ends_at_most(application, listen, link, status, types):
    listen(application)
    of_receipt(application, link(application))
    end(link(application))
    application.row.status = status
    application.row.save()

    assert [json.loads(message.body)["notification_type"] for message in turn(application).messages] == types


def test_turn_does_not_touch_the_backlog_of_a_paused_endpoint(application, listen, link):
    """It may be very long, and the endpoint is locked meanwhile."""
    listen(application)
    connection = link(application)
    receipt = of_receipt(application, connection)
    end(connection)
    pause(application=application.row, actor=None)

    with CaptureQueriesContext(database) as captured:
        assert turn(application).destination is None

    receipt.refresh_from_db()
    assert receipt.state == State.QUEUED
    assert not [query for query in captured.captured_queries if query["sql"].startswith("UPDATE")]


def test_turn_looks_at_a_part_of_what_is_due_and_the_next_one_at_the_rest(application, listen, link, monkeypatch):
    monkeypatch.setattr(outbox, "LOOK_SIZE", 3)
    listen(application)
    connection = link(application)
    later = of_receipt(application, connection)
    Notification.objects.update(next_attempt_at=timezone.now() + timedelta(hours=1))
    for _ in range(4):
        of_receipt(application, connection)
    end(connection)

    first = turn(application)
    assert (first.messages, first.wake_at <= timezone.now()) == ([], True)
    assert Notification.objects.filter(state=State.CANCELLED).count() == 3
    [message] = turn(application).messages
    assert json.loads(message.body)["notification_type"] == "oauth_authorization_revoke"
    later.refresh_from_db()
    assert later.state == State.QUEUED
    assert Notification.objects.filter(state=State.CANCELLED).count() == 4


def test_test_messages_are_found_by_an_index_however_much_waits(application, listen, link):
    listen(application)
    end(link(application))
    pause(application=application.row, actor=None)
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        with CaptureQueriesContext(database) as captured:
            turn(application)
        plans = []
        for query in captured.captured_queries:
            if query["sql"].startswith("SELECT") and '"webhooks_notification"' in query["sql"]:
                cursor.execute("EXPLAIN " + query["sql"])
                plans.append("\n".join(line for (line,) in cursor.fetchall()))

    assert len(plans) == 2
    assert all("queued_tests" in plan for plan in plans), plans


@COMMITTED
def test_what_became_obsolete_while_it_waited_is_not_told_after_resuming(
    application, listen, link, work, empty_queue, monkeypatch
):
    monkeypatch.setattr(outbox, "LOOK_SIZE", 3)
    receiver = listen(application)
    connection, other = link(application), link(application)
    pause(application=application.row, actor=None)
    for _ in range(7):
        of_receipt(application, connection)
    of_receipt(application, other)
    end(connection)
    work()
    assert receiver.requests == []

    resume(application=application.row, actor=None)
    for _ in range(4):  # turns, each of which looks at three
        work()

    assert len(receiver.requests) == 2
    states = Notification.objects.filter(connection_id=connection.pk, notification_type=NotificationType.RECEIPT)
    assert set(states.values_list("state", flat=True)) == {State.CANCELLED}


# --- what is not kept of who has closed the account ------------------------------------------------


@COMMITTED
def test_closed_account_is_forgotten_in_what_was_told_and_what_waits(application, listen, link, work, empty_queue):
    """Its end is told all the same, with what the partner has noted; other people's notifications stay."""
    receiver = listen(application, respond(200, body=b"thank you, Ada"))
    earlier, other = link(application, partner_metadata=METADATA), link(application)
    of_receipt(application, other)
    of_receipt(application, earlier)
    end(earlier)
    connection = Connection.objects.create(user=earlier.user, application=application.row, partner_metadata=METADATA)
    of_receipt(application, connection)
    work()
    told = Notification.objects.exclude(connection_id=other.pk)
    assert (told.filter(state=State.DELIVERED).count(), Attempt.objects.count()) == (2, 3)
    pause(application=application.row, actor=None)
    waiting = of_receipt(application, connection)

    close_account(user=earlier.user, organisation=application.row.organisation)
    [job] = ProcrastinateJob.objects.filter(status="todo", task_name__endswith="forget_notifications_of")
    run_job(job)

    waiting.refresh_from_db()
    assert (waiting.state, waiting.next_attempt_at) == (State.CANCELLED, None)
    [revoke] = told.exclude(body="")
    assert (revoke.connection_id, revoke.state) == (connection.pk, State.QUEUED)
    assert json.loads(revoke.body)["partner_metadata"] == METADATA
    assert set(Attempt.objects.filter(notification__in=told).values_list("response_start", flat=True)) == {""}
    kept = Notification.objects.get(connection_id=other.pk)
    assert (kept.body, kept.attempts.get().response_start) == ("{}", "thank you, Ada")
    for gone in told.filter(body=""):
        resume(application=application.row, actor=None)
        with pytest.raises(RefusedError, match="not kept any more"):
            redeliver(application=application.row, notification_id=gone.pk)
    work()
    assert receiver.requests[-1].json["receipthero_id"] == str(connection.pk)
    assert len(receiver.requests) == 4


@COMMITTED
def test_answers_to_earlier_tries_of_what_is_cancelled_are_not_kept(application, listen, link, work, empty_queue):
    """What the receiver of a receipt said of the user goes with the receipt, when the connection has ended."""
    listen(application, respond(500, body=b"thank you, Ada"))
    connection, other = link(application), link(application)
    of_receipt(application, connection)
    of_receipt(application, other)
    wake_endpoints([application.row.webhook_endpoint.pk])
    work()
    assert set(Attempt.objects.values_list("response_start", flat=True)) == {"thank you, Ada"}

    end(connection)
    Notification.objects.filter(state=State.QUEUED).update(next_attempt_at=timezone.now())
    turn(application)

    assert Attempt.objects.get(notification__connection_id=connection.pk).response_start == ""
    assert Attempt.objects.get(notification__connection_id=other.pk).response_start == "thank you, Ada"


def test_answer_is_forgotten_though_the_notification_is_empty_already(application, listen, link):
    listen(application)
    connection, other = link(application), link(application)
    for notification in (of_receipt(application, connection), of_receipt(application, other)):
        Attempt.objects.create(
            notification=notification, started_at=timezone.now(), duration_ms=1, response_start="thank you, Ada"
        )
    Notification.objects.update(body="", state=State.CANCELLED, next_attempt_at=None)

    assert forgetting.forget_notifications(user_id=connection.user_id) == 1
    assert forgetting.forget_notifications(user_id=connection.user_id) == 0

    assert Attempt.objects.get(notification__connection_id=connection.pk).response_start == ""
    assert Attempt.objects.get(notification__connection_id=other.pk).response_start == "thank you, Ada"


@COMMITTED
@pytest.mark.parametrize("fate", ["failed", "gone"])
def test_closed_account_whose_job_was_lost_is_forgotten_within_hours(application, listen, link, empty_queue, fate):
    """A worker of the version before takes the job and does not know it, or its tries were not enough."""
    listen(application)
    connection, other = link(application), link(application)
    receipts = [of_receipt(application, each) for each in (connection, other)]
    close_account(user=connection.user, organisation=application.row.organisation)
    if fate == "failed":
        ProcrastinateJob.objects.filter(task_name__endswith="forget_notifications_of").update(status="failed")
    else:
        ProcrastinateJob.objects.all().delete()

    # Its own job may have it first.
    assert tasks.forget_notifications_left(0) == 0
    PersonToForget.objects.update(asked_at=timezone.now() - tasks.LOST_AFTER - timedelta(seconds=1))
    assert tasks.forget_notifications_left(0) == 1

    assert [Notification.objects.get(pk=each.pk).body for each in receipts] == ["", "{}"]
    revoke = Notification.objects.get(notification_type=NotificationType.REVOKE)
    assert (revoke.state, revoke.body != "") == (State.QUEUED, True)
    assert not PersonToForget.objects.exists()
    assert tasks.forget_notifications_left(0) == 0
    run = HousekeepingRun.objects.filter(rows=1).get()
    assert (run.task, run.error) == ("apps.webhooks.tasks.forget_notifications_left", "")


@COMMITTED
def test_closed_account_that_is_forgotten_is_not_looked_for_again(application, listen, link, empty_queue):
    """So a team can have the news of the end sent again."""
    listen(application)
    connection = link(application)
    close_account(user=connection.user, organisation=application.row.organisation)
    [job] = ProcrastinateJob.objects.filter(status="todo", task_name__endswith="forget_notifications_of")
    run_job(job)
    Notification.objects.update(state=State.DELIVERED, next_attempt_at=None)

    assert not PersonToForget.objects.exists()
    assert forgetting.forget_who_is_left(asked_before=timezone.now() + timedelta(days=1)) == 0
    assert Notification.objects.get().body != ""


def test_account_that_is_not_closed_after_all_is_not_forgotten(application, listen, link, monkeypatch):
    listen(application)
    connection = link(application)

    def fail(**arguments) -> None:
        raise RefusedError("No.")

    monkeypatch.setattr(consent_services, "erase_user", fail)
    with pytest.raises(RefusedError):
        close_account(user=connection.user, organisation=application.row.organisation)

    assert not PersonToForget.objects.exists()


def test_answer_to_what_is_forgotten_meanwhile_is_not_kept(application, listen, link):
    listen(application)
    notification = of_receipt(application, link(application))
    Notification.objects.update(body="", state=State.CANCELLED)

    answered(notification)

    assert Attempt.objects.get().response_start == ""


def test_forgetting_goes_in_batches_and_finds_its_rows_by_an_index(application, listen, link, monkeypatch):
    monkeypatch.setattr(forgetting, "BATCH_SIZE", 2)
    listen(application)
    connection = link(application)
    for _ in range(5):
        of_receipt(application, connection)

    assert forgetting.forget_notifications(user_id=connection.user_id) == 5
    assert forgetting.forget_notifications(user_id=connection.user_id) == 0
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "notifications_by_connection" in Notification.objects.filter(connection_id__in=[connection.pk]).explain()


# --- turns ----------------------------------------------------------------------------------------


def test_second_job_does_not_get_the_turn_and_the_same_job_does(application, listen, link):
    """A job that was taken up again after a kill has its turn already."""
    listen(application)
    end(link(application))

    assert turn(application, 1).messages
    assert not turn(application, 2).messages
    assert turn(application, 1).messages
    Endpoint.objects.update(delivering_until=timezone.now() - timedelta(seconds=1))
    assert turn(application, 2).messages


def test_end_of_a_turn_looks_for_what_came_meanwhile(application, listen, link):
    listen(application)
    end(link(application))
    messages = turn(application).messages
    end(link(application))
    assert not turn(application, 2).messages

    Notification.objects.filter(pk=messages[0].notification_id).update(state=State.DELIVERED, next_attempt_at=None)
    assert outbox.end_turn(endpoint_id=application.row.webhook_endpoint.pk) <= timezone.now()


def test_later_try_is_planned_once(application, listen, link):
    listen(application)
    end(link(application))
    later = timezone.now() + timedelta(hours=1)
    Notification.objects.update(next_attempt_at=later)

    assert turn(application, 1).wake_at == later
    assert turn(application, 2).wake_at is None


@COMMITTED
def test_endpoint_whose_job_was_lost_is_found(application, listen, link, work):
    receiver = listen(application)
    end(link(application))
    ProcrastinateJob.objects.all().delete()
    assert outbox.forgotten_endpoints() == []

    Notification.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=2))
    assert outbox.forgotten_endpoints() == [application.row.webhook_endpoint.pk]
    tasks.wake_forgotten_endpoints.defer(timestamp=0)
    work()
    assert len(receiver.requests) == 1


def test_paused_endpoint_is_not_forgotten_and_not_woken(application, listen, link):
    listen(application)
    end(link(application))
    Notification.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=2))
    pause(application=application.row, actor=None)

    assert outbox.forgotten_endpoints() == []


# --- statements, and what is kept ---------------------------------------------------------------


def test_statements_of_an_end_do_not_grow(application, listen, link):
    listen(application)
    counts = []
    for _ in range(2):
        connection = link(application)
        with CaptureQueriesContext(database) as captured:
            end(connection)
        counts.append(len(captured))

    assert counts[0] == counts[1] <= 16


def test_old_notifications_go_with_their_attempts_and_ended_keys(application, listen, link):
    listen(application)
    for _ in range(2):
        end(link(application))
    old, new = Notification.objects.all()
    Notification.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=31))
    Attempt.objects.create(notification=old, started_at=timezone.now(), duration_ms=1)
    rotate_key(application=application.row, actor=None, kind=KeyKind.API_KEY)
    endpoint = Endpoint.objects.get()
    endpoint.keys.filter(ends_at__isnull=False).update(ends_at=timezone.now() - timedelta(seconds=1))

    assert tasks.delete_old_notifications(0) == 3
    assert list(Notification.objects.all()) == [new]
    assert not Attempt.objects.exists()
    assert endpoint.keys.count() == 2
    run = HousekeepingRun.objects.get()
    assert (run.task, run.rows, run.error) == ("apps.webhooks.tasks.delete_old_notifications", 3, "")


def old_notifications(application, link, count, *, attempts):
    for _ in range(count):
        end(link(application))
    Notification.objects.update(created_at=timezone.now() - timedelta(days=31))
    for notification in Notification.objects.all():
        Attempt.objects.bulk_create(
            Attempt(notification=notification, started_at=timezone.now(), duration_ms=1) for _ in range(attempts)
        )
    return OldNotifications(Notification.objects.filter(created_at__lt=timezone.now() - timedelta(days=30)), 2, 3)


def test_old_notifications_go_in_several_batches_and_leave_no_attempt(application, listen, link):
    listen(application)
    old = old_notifications(application, link, 3, attempts=4)

    assert old.count(2) == 2
    batches = []
    while not batches or not batches[-1].is_last:
        batches.append(old.delete_batch())

    assert sum(batch.rows for batch in batches) == 3 + 12
    assert max(batch.rows for batch in batches) <= 3 + 2
    assert not Notification.objects.exists()
    assert not Attempt.objects.exists()


@COMMITTED
def test_old_notification_that_is_being_delivered_is_passed_over(application, listen, link):
    listen(application)
    old = old_notifications(application, link, 2, attempts=1)
    held = Notification.objects.earliest("pk")
    results = []

    def sweep():
        try:
            results.append(old.delete_batch())
        finally:
            database.close()

    with transaction.atomic():
        Notification.objects.select_for_update().get(pk=held.pk)
        thread = threading.Thread(target=sweep)
        thread.start()
        thread.join(10)

    assert [batch.rows for batch in results] == [2]
    assert list(Notification.objects.all()) == [held]
    assert Attempt.objects.get().notification == held


def test_old_notifications_and_keys_are_found_by_their_indexes(application, listen):
    listen(application)
    endpoint = Endpoint.objects.get()
    with database.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO webhooks_notification
                (id, application_id, endpoint_id, notification_type, body, state, tries, created_at)
            SELECT gen_random_uuid(), %s, %s, 'test', '{}', 'delivered', 1, now() - n * interval '1 minute'
            FROM generate_series(1, 43500) n
            """,
            [application.row.pk, endpoint.pk],
        )
        cursor.execute("ANALYZE webhooks_notification")
    keys, notifications = CHORES["apps.webhooks.tasks.delete_old_notifications"].find_dead(timezone.now())
    plan = notifications.notifications.select_for_update(skip_locked=True, of=("self",))[:500].explain()
    assert "notifications_by_age" in plan, plan
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "webhook_keys_by_end" in keys.rows.explain()
