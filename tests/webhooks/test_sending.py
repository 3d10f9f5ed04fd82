"""POST /api/notifications: who may, what is refused, and what comes of a batch (CONTRACT section 10)."""

import base64
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from standardwebhooks.webhooks import Webhook

from apps.connections.models import Connection
from apps.developers.models import Status
from apps.webhooks.models import KeyKind, Notification
from apps.webhooks.old_notifications import OldNotifications
from apps.webhooks.sending import queue_notifications
from apps.webhooks.services import remove_endpoint

pytestmark = pytest.mark.spec("CONTRACT", "10")

ADDRESS = "/api/notifications"


@pytest.fixture
def service(make_application):
    return make_application("service")


@pytest.fixture
def connection(application, member, listen):
    listen(application)
    return Connection.objects.create(application=application.row, user=member, partner_metadata={"a": "b"})


@pytest.fixture
def token(partner):
    def call(application):
        body = {"grant_type": "client_credentials", **application.credentials}
        return partner.post("/oauth/token", body).json()["access_token"]

    return call


def basic(application, secret=None):
    pair = f"{application.client_id}:{secret or application.secret}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.fixture
def ask(partner, service):
    """Send a document, or text as it is, with the service's credentials or another header."""

    def call(document, *, authorization=None, content_type="application/json", **extra):
        body = document if isinstance(document, (str, bytes)) else json.dumps(document)
        headers = {"Authorization": authorization or basic(service), **extra}
        return partner.post(ADDRESS, body, content_type=content_type, headers=headers)

    return call


def receipt(connection, **fields):
    return {
        "notification_type": "receipt_notification",
        "receipthero_id": str(connection.pk),
        "receipt_id": "r-1",
        **fields,
    }


def transaction_of(connection, **fields):
    return (
        receipt(connection, notification_type="transaction_notification", data={"merchant_name": "Kauppa Åbo"}) | fields
    )


# --- what is told ---------------------------------------------------------------------------------


def test_receipt_notification(ask, connection):
    response = ask(receipt(connection))

    assert response.status_code == 202
    notification = Notification.objects.get()
    assert response.json() == {"results": [{"status": "queued", "webhook_id": str(notification.pk)}]}
    assert json.loads(notification.body) == {
        "notification_type": "receipt_notification",
        "receipthero_id": str(connection.pk),
        "partner_metadata": {"a": "b"},
        "receipt_id": "r-1",
    }


def test_transaction_notification(ask, connection):
    assert ask({"notifications": [transaction_of(connection)]}).status_code == 202

    assert json.loads(Notification.objects.get().body) == {
        "notification_type": "transaction_notification",
        "receipthero_id": str(connection.pk),
        "partner_metadata": {"a": "b"},
        "receipt_id": "r-1",
        "data": {"merchant_name": "Kauppa Åbo"},
    }


@pytest.mark.django_db(transaction=True)
def test_partner_gets_it_signed(ask, application, member, listen, work):
    receiver = listen(application)
    connection = Connection.objects.create(application=application.row, user=member)
    ask({"notifications": [receipt(connection), transaction_of(connection)]})
    work()

    secret = receiver.keys[KeyKind.SIGNING_SECRET]
    bodies = [Webhook(secret).verify(request.body, request.headers) for request in receiver.requests]
    assert {body["notification_type"] for body in bodies} == {"receipt_notification", "transaction_notification"}


# --- who may --------------------------------------------------------------------------------------


def test_access_token_of_the_service_works_as_well(ask, connection, token, service):
    assert ask(receipt(connection), authorization=f"Bearer {token(service)}").status_code == 202


@pytest.mark.parametrize("header", [" ", "Bearer", "Bearer unknown", "Token x", "Bearer csa_x"])
def test_without_a_good_token_it_is_401(ask, connection, header):
    response = ask(receipt(connection), authorization=header)

    assert response.status_code == 401
    assert response.json()["error"] == "invalid_token"
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response["Cache-Control"] == "no-store"
    assert not Notification.objects.exists()


def test_wrong_secret_is_401_and_offers_basic(ask, connection, service):
    response = ask(receipt(connection), authorization=basic(service, "wrong"))

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response["WWW-Authenticate"].startswith("Basic")


def test_service_without_the_scope_may_not(ask, connection, make_application, token):
    other = make_application("service", scopes=["introspect"])

    for header in (basic(other), f"Bearer {token(other)}"):
        response = ask(receipt(connection), authorization=header)
        assert (response.status_code, response.json()["error"]) == (403, "insufficient_scope")
    assert not Notification.objects.exists()


def test_partner_may_not(ask, connection, application, connect, make_application):
    customer = make_application("customer")
    user_token = connect(customer)["access_token"]

    for header in (basic(application), f"Bearer {user_token}"):
        assert ask(receipt(connection), authorization=header).status_code == 403


def test_suspended_service_may_not(ask, connection, service, token):
    bearer = f"Bearer {token(service)}"
    service.row.status = Status.SUSPENDED
    service.row.save()

    assert ask(receipt(connection), authorization=bearer).status_code == 401
    assert ask(receipt(connection)).status_code == 400


# --- about whom -----------------------------------------------------------------------------------


def only_error(response):
    assert response.status_code == 200
    [result] = response.json()["results"]
    assert result["status"] == "error"
    assert result["error_description"]
    return result["error"]


def test_unknown_ended_foreign_and_suspended_look_the_same(
    ask, connection, application, member, make_application, other_organisation, make_user
):
    foreign = make_application("customer", organisation=other_organisation)
    others = Connection.objects.create(application=foreign.row, user=member)
    ended = Connection.objects.create(
        application=application.row, user=make_user("b@example.com"), ended_at=timezone.now()
    )
    gone = Connection(pk=uuid.uuid4())
    inactive = Connection.objects.create(application=application.row, user=make_user("c@example.com", is_active=False))
    answers = [ask(receipt(one)).content for one in (others, ended, gone, inactive)]
    application.row.status = Status.SUSPENDED
    application.row.save()
    answers.append(ask(receipt(connection)).content)

    assert len(set(answers)) == 1
    assert json.loads(answers[0])["results"][0]["error"] == "unknown_connection"


def test_application_without_a_webhook(ask, connection, application):
    remove_endpoint(application=application.row, actor=None)

    assert only_error(ask(receipt(connection))) == "no_webhook"


# --- batches --------------------------------------------------------------------------------------


def test_bad_item_does_not_hold_up_the_others(ask, connection):
    items = [receipt(connection, id="a"), {"id": "b"}, "nonsense", receipt(connection, id="d", receipt_id="")]
    response = ask({"notifications": [*items, receipt(connection)]})

    results = response.json()["results"]
    assert response.status_code == 202
    assert [result["status"] for result in results] == ["queued", "error", "error", "error", "queued"]
    assert [result.get("id") for result in results] == ["a", "b", None, "d", None]
    assert Notification.objects.count() == 2


@pytest.mark.parametrize("count", [0, 1001])
def test_batch_of_none_or_too_many_is_refused(ask, connection, count):
    assert ask({"notifications": [receipt(connection)] * count}).status_code == 400


def test_thousand_take_as_many_statements_as_two(ask, application, connection, make_user, service, token):
    """A connection each, and keys: that is all there is to look up."""
    users = [make_user(f"{number}@example.com") for number in range(3)]
    links = [Connection.objects.create(application=application.row, user=user) for user in users]
    counts = []
    for size in (2, 1000):
        batch = [receipt(links[n % 3], receipt_id=f"r-{n}", id=f"{size}-{n}") for n in range(size)]
        with CaptureQueriesContext(database) as captured:
            response = ask({"notifications": batch}, authorization=f"Bearer {token(service)}")
        assert {result["status"] for result in response.json()["results"]} == {"queued"}
        counts.append(len(captured))

    assert counts[0] == counts[1] <= 10
    assert Notification.objects.count() == 1002


def test_one_job_for_each_endpoint(ask, connection, empty_queue):
    ask({"notifications": [receipt(connection, receipt_id=str(n)) for n in range(20)]})

    assert ProcrastinateJob.objects.filter(queue_name="webhooks").count() == 1


# --- once, however often it is asked for --------------------------------------------------------


def test_same_key_and_content_is_told_once(ask, connection):
    first = ask(receipt(connection, id="k-1"))
    second = ask(receipt(connection, id="k-1"))

    [one], [two] = first.json()["results"], second.json()["results"]
    assert (first.status_code, second.status_code) == (202, 200)
    assert (one["status"], two["status"]) == ("queued", "duplicate")
    assert one["webhook_id"] == two["webhook_id"]
    assert Notification.objects.count() == 1


def test_same_key_and_other_content_is_a_conflict(ask, connection):
    ask(receipt(connection, id="k-1"))

    for other in (receipt(connection, id="k-1", receipt_id="r-2"), transaction_of(connection, id="k-1")):
        assert only_error(ask(other)) == "key_conflict"
    assert Notification.objects.count() == 1


def test_key_twice_in_one_batch(ask, connection):
    batch = [receipt(connection, id="k"), receipt(connection, id="k"), receipt(connection, id="k", receipt_id="x")]
    results = ask({"notifications": batch}).json()["results"]

    assert [result["status"] for result in results] == ["queued", "duplicate", "error"]
    assert Notification.objects.count() == 1


def test_repeat_after_the_connection_has_ended_is_still_a_repeat(ask, connection):
    ask(receipt(connection, id="k"))
    Connection.objects.update(ended_at=timezone.now())

    [result] = ask(receipt(connection, id="k")).json()["results"]
    assert result["status"] == "duplicate"


def test_keys_of_two_services_are_not_the_same(ask, connection, make_application):
    ask(receipt(connection, id="k"))
    other = make_application("service")

    [result] = ask(receipt(connection, id="k"), authorization=basic(other)).json()["results"]
    assert result["status"] == "queued"


def test_without_a_key_each_is_told(ask, connection):
    ask(receipt(connection))
    ask(receipt(connection))

    assert Notification.objects.count() == 2


def test_key_of_a_refused_item_is_free(ask, connection):
    ask(receipt(connection, id="k", receipt_id=""))

    assert ask(receipt(connection, id="k")).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_two_batches_with_the_same_keys_at_once_are_told_once(application, member, listen, service, organisation):
    import threading

    from django.db import connections
    from django.test import Client

    listen(application)
    link = Connection.objects.create(application=application.row, user=member)
    answers = []

    def send(order):
        batch = [receipt(link, id=f"k-{n:02}", receipt_id=str(n)) for n in range(40)][::order]
        headers = {"Authorization": basic(service)}
        response = Client().post(ADDRESS, {"notifications": batch}, content_type="application/json", headers=headers)
        answers.append(response.status_code)
        connections.close_all()

    threads = [threading.Thread(target=send, args=[order]) for order in (1, -1) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 6
    assert set(answers) <= {200, 202}
    assert Notification.objects.count() == 40


@pytest.mark.django_db(transaction=True)
def test_key_whose_old_notification_is_deleted_at_that_moment_is_told_anew(application, member, listen, service):
    """Housekeeping deletes the row after it was in the way of ours, and before we have looked at it."""
    listen(application)
    link = Connection.objects.create(application=application.row, user=member)
    queue_notifications(sender=service.row, items=[receipt(link, id="old"), receipt(link, id="kept")])
    old = Notification.objects.filter(sender_key="old")
    old.update(created_at=timezone.now() - timedelta(days=31))
    [first] = old.values_list("pk", flat=True)
    deleted = []

    def sweep():
        try:
            return OldNotifications(old).delete_batch().rows
        finally:
            database.close()

    def housekeeping_is_faster(execute, sql, params, many, context):
        if sql.startswith("SELECT") and "webhooks_notification" in sql and not deleted:
            with ThreadPoolExecutor() as pool:
                deleted.append(pool.submit(sweep).result(timeout=10))
        return execute(sql, params, many, context)

    items = [receipt(link, id=key) for key in ("old", "kept", "new", "old")] + [receipt(link)]
    with database.execute_wrapper(housekeeping_is_faster):
        results = queue_notifications(sender=service.row, items=items)

    assert deleted == [1]
    assert [result["status"] for result in results] == ["queued", "duplicate", "queued", "duplicate", "queued"]
    assert results[0]["webhook_id"] == results[3]["webhook_id"] == str(old.get().pk) != str(first)
    assert Notification.objects.count() == 4


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"notification_type": "oauth_authorization_revoke"},
        {"notification_type": "test"},
        {"notification_type": None},
        {"notification_type": []},
        {"receipthero_id": "x"},
        {"receipthero_id": 5},
        {"receipthero_id": None},
        {"receipthero_id": ""},
        {"receipt_id": 5},
        {"receipt_id": ""},
        {"receipt_id": "x" * 256},
        {"receipt_id": "a\x00b"},
        {"receipt_id": "\ud800"},
        {"id": ""},
        {"id": 7},
        {"id": None},
        {"id": "x" * 256},
        {"id": "\x00"},
        {"data": {"merchant_name": "x"}},
        {"partner_metadata": {}},
    ],
)
def test_item_that_is_wrong_is_named(ask, connection, change):
    assert only_error(ask({**receipt(connection), **change})) == "invalid_request"


@pytest.mark.parametrize(
    "data", [None, [], "x", {}, {"merchant_name": 1}, {"merchant_name": ""}, {"merchant_name": "x", "more": 1}]
)
def test_data_that_is_wrong_is_named(ask, connection, data):
    assert only_error(ask(transaction_of(connection, data=data))) == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [
        *(
            "[]",
            '"x"',
            "null",
            "5",
            "{",
            "\xff".encode("latin-1"),
            '{"notifications": {}}',
            '{"notifications": null}',
        ),
        *('{"notifications": [], "more": 1}', '{"notifications": [NaN]}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"),
    ],
)
def test_body_that_is_wrong_is_400(ask, service, body):
    response = ask(body)

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


def test_other_type_is_415(ask, service):
    assert ask("a=b", content_type="application/x-www-form-urlencoded").status_code == 415


def test_long_body_is_413(ask, service):
    assert ask(" " * (2 * 1024 * 1024 + 1)).status_code == 413


def test_body_of_a_full_batch_fits(ask, connection):
    big = "x" * 255
    batch = [transaction_of(connection, receipt_id=big, data={"merchant_name": big}) for _ in range(1000)]

    assert ask({"notifications": batch}).status_code == 202


def test_other_methods_are_405(partner, organisation):
    assert partner.get(ADDRESS).status_code == 405
