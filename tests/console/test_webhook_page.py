"""The webhook's page: URL, keys shown once, pause, and the log of what was delivered."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.developers.models import Role
from apps.webhooks.keys import open_key
from apps.webhooks.models import Attempt, Endpoint, EndpointKey, Failure, KeyKind, Notification, NotificationType, State
from apps.webhooks.services import send_test, set_endpoint
from tests.console.test_dashboard_pages import address, text_of

pytestmark = pytest.mark.spec("CONTRACT", "10")

URL = "https://partner.example/hooks"
EVIL = "<script>alert(1)</script>"

#: Test messages are sent once a minute at most.
AN_HOUR_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def team_client(owner):
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def viewer_client(live, join):
    client = Client()
    client.force_login(join(live, Role.VIEWER, "vera@example.com").user)
    return client


@pytest.fixture
def endpoint(live):
    set_endpoint(application=live, actor=None, url=URL)
    return live.webhook_endpoint


@pytest.fixture
def page(team_client, live):
    return lambda query="": team_client.get(address(live, "webhook/") + query)


def log(live, count=1, **fields):
    for _ in range(count):
        notification = send_test(application=live)
        notification.state, notification.created_at = State.FAILED, AN_HOUR_AGO
        notification.save()
        defaults = {"status": 500, "failure": Failure.STATUS, "response_start": EVIL}
        Attempt.objects.create(
            notification=notification, started_at=AN_HOUR_AGO, duration_ms=12, **{**defaults, **fields}
        )


def test_first_url_shows_both_keys_once(team_client, live, page):
    response = team_client.post(address(live, "webhook/"), {"url": URL})

    shown = response.content.decode()
    values = [open_key(key) for key in EndpointKey.objects.all()]
    assert len(values) == 2
    assert all(value in shown for value in values)
    assert "no-store" in response["Cache-Control"]
    again = page().content.decode()
    assert not any(value in again for value in values)
    assert URL in again
    assert all(f"…{key.hint}" in again for key in EndpointKey.objects.all())


def test_bad_url_is_explained_and_stays_in_the_field(team_client, live):
    response = team_client.post(address(live, "webhook/"), {"url": "https://10.0.0.1/"})

    assert response.status_code == 400
    assert "not on the public internet" in text_of(response)
    assert 'value="https://10.0.0.1/"' in response.content.decode()
    assert not Endpoint.objects.exists()


def test_changed_url_keeps_the_keys(team_client, live, endpoint):
    before = set(EndpointKey.objects.values_list("pk", flat=True))
    response = team_client.post(address(live, "webhook/"), {"url": URL + "/new"}, follow=True)

    assert "Saved" in text_of(response)
    assert set(EndpointKey.objects.values_list("pk", flat=True)) == before


@pytest.mark.parametrize("kind", KeyKind)
def test_new_key_is_shown_once_and_the_form_works_once(team_client, live, endpoint, page, kind):
    [form] = [form for pair, form in page().context["keys"] if pair.kind == kind]
    data = {**form.initial, "overlap": 3600}
    response = team_client.post(address(live, "webhook/key"), data)

    newest = open_key(EndpointKey.objects.get(kind=kind, ends_at=None))
    assert newest in response.content.decode()
    assert "Used until" in text_of(page())
    assert team_client.post(address(live, "webhook/key"), data).status_code == 409
    assert team_client.post(address(live, "webhook/act"), {"action": f"end_{kind.value}"}).status_code == 302
    assert "Used until" not in text_of(page())


def test_while_an_old_key_is_used_another_new_one_ends_both_and_the_form_says_so(team_client, live, endpoint, page):
    def form():
        [form] = [form for pair, form in page().context["keys"] if pair.kind == KeyKind.API_KEY]
        return form

    assert len(form().fields["overlap"].choices) == 5
    assert "end at once when you make another" not in text_of(page())
    team_client.post(address(live, "webhook/key"), {**form().initial, "overlap": 3600})

    assert [value for value, _ in form().fields["overlap"].choices] == [0]
    assert "Both keys above end at once when you make another" in text_of(page())
    refused = team_client.post(address(live, "webhook/key"), {**form().initial, "overlap": 3600})
    assert refused.status_code == 409
    assert "would end it before its time" in text_of(refused)
    assert EndpointKey.objects.filter(kind=KeyKind.API_KEY).count() == 2
    assert team_client.post(address(live, "webhook/key"), {**form().initial, "overlap": 0}).status_code == 200
    assert EndpointKey.objects.filter(kind=KeyKind.API_KEY).count() == 1


@pytest.mark.parametrize("data", [{}, {"kind": "x"}, {"kind": "api_key", "seen": "1", "overlap": "999999999"}])
def test_key_form_that_is_none_is_400(team_client, live, endpoint, data):
    assert team_client.post(address(live, "webhook/key"), data).status_code == 400


def test_pause_resume_test_and_remove(team_client, live, endpoint, page):
    def act(action):
        return text_of(team_client.post(address(live, "webhook/act"), {"action": action}, follow=True))

    assert "Paused by the team" in act("pause")
    assert "Resume deliveries" in text_of(page())
    assert "Resumed" in act("resume")
    assert "on its way" in act("test")
    assert Notification.objects.count() == 1
    assert "on its way already" in text_of(team_client.post(address(live, "webhook/act"), {"action": "test"}))
    Notification.objects.update(state=State.DELIVERED)
    answer = team_client.post(address(live, "webhook/act"), {"action": "test"})
    assert answer.status_code == 409
    assert "One test message a minute can be sent. Wait a moment, then press the button again." in text_of(answer)
    assert "Removed" in act("remove")
    assert not EndpointKey.objects.exists()
    assert team_client.post(address(live, "webhook/act"), {"action": "pause"}).status_code == 409
    assert team_client.post(address(live, "webhook/act"), {"action": "explode"}).status_code == 400


def test_log_shows_each_attempt_and_escapes_the_answer(live, endpoint, page):
    log(live)
    response = page()

    assert EVIL not in response.content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in response.content.decode()
    assert "status 500" in text_of(response)
    assert "12 ms" in text_of(response)
    assert str(Failure.STATUS.label) in text_of(response)


def test_it_is_sent_again(team_client, live, endpoint):
    log(live)
    notification = Notification.objects.get()
    data = {"notification": notification.pk}

    assert team_client.post(address(live, "webhook/again"), data).status_code == 302
    notification.refresh_from_db()
    assert notification.state == State.QUEUED
    assert team_client.post(address(live, "webhook/again"), {"notification": "x"}).status_code == 400


def waiting(live, kind):
    """A notification that waits, of a connection or a test message."""
    log(live)
    Notification.objects.update(notification_type=kind, state=State.QUEUED, next_attempt_at=timezone.now())


@pytest.mark.parametrize("state", [State.QUEUED, State.FAILED])
def test_button_is_there_where_it_does_something(team_client, live, endpoint, page, state):
    """While deliveries are paused nothing but a test message can be sent again."""
    waiting(live, NotificationType.REVOKE)
    Notification.objects.update(state=state)
    again = "Try now" if state == State.QUEUED else "Send again"

    assert again in text_of(page())
    team_client.post(address(live, "webhook/act"), {"action": "pause"})
    assert again not in text_of(page())
    Notification.objects.update(notification_type=NotificationType.TEST)
    assert (again in text_of(page())) == (state == State.FAILED)


def test_what_is_not_kept_is_explained_and_cannot_be_sent_again(team_client, live, endpoint, page):
    waiting(live, NotificationType.RECEIPT)
    Notification.objects.update(state=State.CANCELLED, body="")

    shown = text_of(page())
    assert "What it said is not kept: the user is not connected any more." in shown
    assert "Send again" not in shown
    data = {"notification": Notification.objects.get().pk}
    assert team_client.post(address(live, "webhook/again"), data).status_code == 409


def test_log_shows_the_last_attempts_and_a_page_all(live, endpoint, page, viewer_client):
    log(live)
    notification = Notification.objects.get()
    Attempt.objects.bulk_create(
        Attempt(notification=notification, started_at=AN_HOUR_AGO, duration_ms=number, status=599, failure="status")
        for number in range(5_001, 5_041)
    )

    shown = text_of(page())
    assert shown.count("status 599") == 12
    assert "Show all 41 attempts" in shown
    assert "5,040 ms" in shown
    assert "5,028 ms" not in shown
    for number, count in (("1", 20), ("2", 20), ("3", 1)):
        one = page(f"?delivery={notification.pk}&page={number}")
        assert text_of(one).count(" ms") == count
    assert "41 attempts" in text_of(one)
    assert "Page 3 of 3" in text_of(one)
    assert EVIL not in one.content.decode()
    assert viewer_client.get(address(live, f"webhook/?delivery={notification.pk}")).status_code == 200


def test_page_of_attempts_is_for_one_s_own_notifications(live, endpoint, page, make_application):
    other = make_application("customer").row
    set_endpoint(application=other, actor=None, url=URL)
    log(other)

    assert page(f"?delivery={Notification.objects.get().pk}").status_code == 404
    assert page("?delivery=x").status_code == 404
    assert page("?delivery=").status_code == 404


def test_viewer_sees_all_and_may_nothing(viewer_client, live, endpoint):
    log(live)
    response = viewer_client.get(address(live, "webhook/"))

    assert URL in response.content.decode()
    assert "status 500" in text_of(response)
    assert not re.search(r'action="[^"]*/webhook/', response.content.decode())


def test_log_has_pages_and_takes_the_same_queries(live, endpoint, page):
    log(live)
    page()
    with CaptureQueriesContext(connection) as few:
        page()
    log(live, 24)
    with CaptureQueriesContext(connection) as many:
        first = page()

    assert len(many) == len(few)
    assert "Page 1 of 2" in text_of(first)
    assert len(first.context["page"].object_list) == 20
    assert len(page("?page=2").context["page"].object_list) == 5
    assert page("?page=x").status_code == 200
