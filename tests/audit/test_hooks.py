"""Which facts become events, with whose name on them; and that no secret does."""

import json
import uuid
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_login_failed
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.services import reinstate_user, suspend_user
from apps.audit import trail
from apps.audit.context import MAX_USER_AGENT
from apps.audit.models import AuditEvent, AuditPerson
from apps.audit.words import fact, sentence, spell_out
from apps.connections.models import Connection, EndReason
from apps.developers.history import note
from apps.developers.models import HistoryKind
from apps.developers.services.secrets import create_secret
from apps.tokens import services
from apps.webhooks import services as webhooks
from apps.webhooks.delivery import Result
from apps.webhooks.models import Endpoint, Failure, KeyKind, Notification, NotificationType
from apps.webhooks.outbox import record_attempt
from tests.conftest import Browser, totp_code


@pytest.fixture(autouse=True)
def _database(db):
    """Every test writes."""


def tags():
    return list(AuditEvent.objects.order_by("pk").values_list("tag", flat=True))


def last(tag):
    return AuditEvent.objects.filter(tag=tag).latest("pk")


def actor_of(event):
    return event.people.filter(part="actor").first()


def about_of(event):
    return event.people.filter(part="about").first()


# --- connections -------------------------------------------------------------------------------------------


def test_consent_is_an_event_with_everything_in_it(make_application, browser, member):
    application = make_application("connection")
    browser.client.defaults |= {"REMOTE_ADDR": "192.0.2.4", "HTTP_USER_AGENT": "Browser/1"}
    browser.authorize(application)

    event, connection_row = last("user:connection:granted"), Connection.objects.get()
    assert (event.application_id, event.organisation_id) == (application.row.pk, application.row.organisation_id)
    assert event.connection_id == connection_row.pk
    assert event.details == {"scopes": connection_row.scopes}
    person = actor_of(event)
    assert (person.user_id, person.name, person.user_agent) == (member.pk, "Ada Byron", "Browser/1")
    assert str(person.address) == "192.0.2.4"


def test_consent_again_says_whether_anything_changed(make_application, browser):
    application = make_application("connection")
    browser.authorize(application, scope="receipt:write")
    browser.authorize(application, scope="receipt:read receipt:write", prompt="consent")
    browser.authorize(application, prompt="consent")

    assert [tag for tag in tags() if "connection" in tag] == [
        "user:connection:granted",
        "user:connection:changed",
        "user:connection:confirmed",
    ]


def test_denial_is_an_event(any_application, browser):
    browser.answer(browser.ask(any_application), "deny")

    assert last("user:connection:denied").application_id == any_application.row.pk
    assert not Connection.objects.exists()


def test_consent_takes_one_statement_more(application, browser):
    page = browser.ask(application)
    with CaptureQueriesContext(connection) as captured:
        browser.answer(page)

    assert len([query for query in captured.captured_queries if "audit_" in query["sql"]]) == 1


def test_consent_that_is_rolled_back_leaves_no_event(application, browser, monkeypatch):
    page = browser.ask(application)
    monkeypatch.setattr(
        "apps.consent.views.authorization.AuthorizationView._send_code", lambda *_: exec("raise RuntimeError('late')")
    )
    with pytest.raises(RuntimeError, match="late"):
        browser.answer(page)

    assert "user:connection:granted" not in tags()


def test_membership_page_is_on_record(make_application, browser, connect):
    application = make_application("connection", redirect_uris="https://partner.example/callback")
    connect(application)
    address = f"/membership?receipthero_id={Connection.objects.get().pk}&redirect_uri=https://partner.example/callback"
    browser.client.post(address, {"action": "save", "scopes": ["receipt:read"]})
    browser.client.post(address, {"action": "confirm-remove", "scopes": []})

    assert last("user:connection:changed").details == {"scopes": ["receipt:read"]}
    assert actor_of(last("user:connection:ended")).name == "Ada Byron"


@pytest.mark.parametrize(
    ("reason", "tag"),
    [
        (EndReason.USER, "user:connection:ended"),
        (EndReason.PARTNER, "partner:connection:ended"),
        (EndReason.ADMINISTRATOR, "administrator:connection:ended"),
        (EndReason.APPLICATION, "server:connection:ended"),
    ],
)
def test_end_of_a_connection_is_one_event(application, connect, member, reason, tag):
    connect(application)
    row = Connection.objects.get()
    assert services.end_connection(connection=row, reason=reason)
    assert not services.end_connection(connection=row, reason=reason)

    event = AuditEvent.objects.get(tag=tag)
    assert (event.connection_id, event.application_id) == (row.pk, application.row.pk)
    person = actor_of(event) if reason == EndReason.USER else about_of(event)
    assert person.user_id == member.pk


def test_administrator_who_ends_connections_is_named(application, connect, administrator):
    connect(application)
    selected = {"action": "end", "_selected_action": [str(Connection.objects.get().pk)]}
    administrator.post("/admin/connections/connection/", selected)

    event = last("administrator:connection:ended")
    assert AuditPerson.objects.get(event=event, part="actor").user_id != about_of(event).user_id


def test_replayed_code_is_an_event(any_application, browser, exchange, member):
    code = browser.authorize(any_application)
    exchange(any_application, code)
    assert exchange(any_application, code).status_code == 400

    event = last("server:family:refused_replay")
    assert event.details["presented"] == "authorization code"
    assert about_of(event).user_id == member.pk
    assert exchange(any_application, code).status_code == 400
    assert last("server:family:refused_replay").pk == event.pk, "recorded once"


def test_replayed_refresh_token_is_an_event(make_application, connect, refresh, member):
    application = make_application("customer")
    first = connect(application)["refresh_token"]
    second = refresh(application, first).json()["refresh_token"]
    refresh(application, second)
    assert refresh(application, first).status_code == 400

    assert last("server:family:refused_replay").details["presented"] == "refresh token"


def test_ordinary_token_requests_are_no_events(make_application, connect, refresh, introspect, call_with):
    application = make_application("portal")
    tokens = connect(application)
    before = tags()
    refresh(application, tokens["refresh_token"])
    introspect(application, tokens["access_token"])
    call_with("/open_auth/get_user_data/", tokens["access_token"])

    assert tags() == before


# --- people ------------------------------------------------------------------------------------------------


def log_in(client, email, password, **extra):
    return client.post("/account/login/", {"login": email, "password": password}, **extra)


def test_log_in_and_log_out_are_events(organisation, member, password, client):
    log_in(client, member.email, password)
    client.post("/account/logout/")

    assert tags() == ["user:session:started", "user:session:ended"]
    assert {actor_of(event).user_id for event in AuditEvent.objects.all()} == {member.pk}


def test_failed_log_in_names_the_account_and_not_who_did_it(organisation, member, client):
    log_in(client, member.email.upper(), "wrong", REMOTE_ADDR="2001:db8::7")

    event = last("visitor:session:refused")
    assert event.details == {"is_known": True}
    assert about_of(event).user_id == member.pk
    assert (actor_of(event).user_id, str(actor_of(event).address)) == (None, "2001:db8::7")


def test_failed_log_in_at_no_account_keeps_nothing_of_what_was_typed(organisation, client, audit_lines):
    typed = f"hunter-{uuid.uuid4().hex}@example.com"
    log_in(client, typed, "wrong")

    event = last("visitor:session:refused")
    assert event.details == {"is_known": False}
    assert about_of(event) is None
    assert typed.partition("@")[0] not in everything_stored()


@pytest.mark.parametrize("typed", ["\x00@example.com", "\ud800@example.com", "a" * 5000, "' OR 1=1 --"])
def test_failed_log_in_with_any_text_is_an_event(typed):
    user_login_failed.send(sender="test", credentials={"email": typed}, request=None)

    assert last("visitor:session:refused").details == {"is_known": False}


@pytest.mark.django_db(transaction=True)  # allauth tells of a second factor after its commit
def test_password_and_second_factor_are_events(organisation, member, password, client):
    log_in(client, member.email, password)
    new = f"New-{uuid.uuid4()}"
    client.post("/account/password/change/", {"oldpassword": password, "password1": new, "password2": new})
    log_in(client, member.email, new)
    client.post("/account/reauthenticate/", {"password": new})
    client.get("/account/2fa/totp/activate/")
    secret = client.session["mfa.totp.secret"]
    client.post("/account/2fa/totp/activate/", {"code": totp_code(secret)})

    assert "user:password:changed" in tags()
    assert last("user:second_factor:added").details["kind"] in {"totp", "recovery_codes"}
    assert secret not in everything_stored()
    assert new not in everything_stored()


def test_wrong_second_factor_is_an_event(organisation, member, password, client):
    TOTP.activate(member, generate_totp_secret())
    log_in(client, member.email, password)
    client.post("/account/2fa/authenticate/", {"code": "000000"})

    event = last("visitor:second_factor:refused")
    assert event.details == {"kind": "totp"}
    assert about_of(event).user_id == member.pk


def test_addresses_added_and_removed_are_events_without_them(organisation, browser, member):
    browser.client.post("/account/email/", {"action_add": "", "email": "second@example.com"})
    row = EmailAddress.objects.filter(email="second@example.com").first()
    assert row is not None
    browser.client.post("/account/email/", {"action_remove": "", "email": "second@example.com"})

    assert {"user:email:added", "user:email:removed"} <= set(tags())
    assert "second@example.com" not in everything_stored()


def test_suspension_names_both(member, make_user):
    administrator = make_user("root@example.com", first_name="Grace")
    assert suspend_user(user=member, actor=administrator)
    assert not suspend_user(user=member, actor=administrator)
    assert reinstate_user(user=member)

    assert tags() == ["administrator:user:suspended", "administrator:user:reinstated"]
    event = last("administrator:user:suspended")
    assert (actor_of(event).user_id, about_of(event).user_id) == (administrator.pk, member.pk)


# --- applications, keys, administration --------------------------------------------------------------------


@pytest.mark.parametrize("kind", HistoryKind)
def test_every_kind_of_history_is_an_event_in_words(application, member, kind):
    details = {"email": "guest@example.com", "member": "Grace Hopper", "role": "viewer", "number": 2}
    note(application.row, kind, actor=member, text="free text", **details)

    event = AuditEvent.objects.get(tag=f"team:application:{kind.value}")
    assert event.details == {"role": "viewer", "number": 2}
    assert event.application_id == application.row.pk
    assert sentence(event.tag, event.details) != spell_out(event.tag)
    assert ":" not in sentence(event.tag, event.details)
    assert "_" not in sentence(event.tag, event.details)


def test_tag_without_words_is_spelt_out():
    assert sentence("team:application:unheard_of", {}) == spell_out("team:application:unheard_of")
    assert spell_out("team:application:unheard_of") == "Application unheard of"


def test_history_tells_reviewers_commands_and_the_worker_apart(application, member):
    note(application.row, HistoryKind.APPROVED, actor=member, is_by_reviewer=True)
    note(application.row, HistoryKind.APPROVED, actor=None)
    note(application.row, HistoryKind.WEBHOOK_CHANGED, actor=None, is_by_server=True, paused=True)

    assert tags() == [
        "reviewer:application:approved",
        "operator:application:approved",
        "server:application:webhook_changed",
    ]


def test_changes_of_a_webhook_can_be_told_apart(application, member):
    """By facts that are no secret: the URL stays in the application's own history."""
    row, url = application.row, "https://partner.example/hooks/s3cret-path"
    webhooks.set_endpoint(application=row, actor=member, url=url)
    webhooks.pause(application=row, actor=member)
    webhooks.resume(application=row, actor=member)
    webhooks.rotate_key(application=row, actor=member, kind=KeyKind.SIGNING_SECRET, overlap=timedelta(hours=1))
    webhooks.end_previous_key(application=row, actor=member, kind=KeyKind.SIGNING_SECRET)
    webhooks.remove_endpoint(application=row, actor=member)

    events = AuditEvent.objects.filter(tag__startswith="team:application:webhook").order_by("pk")
    assert [(sentence(event.tag, event.details), event.details) for event in events] == [
        ("Gave an application's webhook an address", {"has_url": True}),
        ("Paused an application's webhook", {"paused": True}),
        ("Let an application's webhook go on", {"paused": False}),
        ("Made a new key of an application's webhook", {"key": "signing_secret", "overlap_seconds": 3600}),
        ("Ended the previous key of an application's webhook", {"key": "signing_secret"}),
        ("Removed an application's webhook", {"has_url": False}),
    ]
    assert "s3cret-path" not in everything_stored()


def test_webhook_that_the_worker_pauses_is_not_put_down_to_an_operator(application, member):
    webhooks.set_endpoint(application=application.row, actor=member, url="https://partner.example/hooks")
    endpoint = Endpoint.objects.get()
    notification = Notification.objects.create(
        application=application.row, endpoint=endpoint, notification_type=NotificationType.REVOKE, body="{}"
    )
    gone = Result(timezone.now(), 12, status=410, failure=Failure.STATUS, response_start="")
    record_attempt(notification_id=notification.pk, endpoint_id=endpoint.pk, result=gone)

    event = last("server:application:webhook_changed")
    assert (event.details, actor_of(event)) == ({"paused": True}, None)
    assert not AuditEvent.objects.filter(tag__startswith="operator:").exists()


def test_facts_are_said_in_words():
    assert fact("is_known", True) == ("the account exists", "yes")
    assert fact("searched_by", ["user", "tag"]) == ("searched by", "user, tag")
    assert fact("of_an_older_version", 3) == ("of an older version", "3")


def test_rotation_of_signing_keys_is_an_event():
    fresh = services.rotate_signing_keys()

    assert last("operator:signing_keys:rotated").details == {"kids": [key.kid for key in fresh]}


def test_administration_is_on_record(administrator):
    administrator.post("/admin/auth/group/add/", {"name": "Some words"})
    group = Group.objects.get()
    administrator.post(f"/admin/auth/group/{group.pk}/change/", {"name": "Other words"})

    added, changed = last("administrator:group:added"), last("administrator:group:changed")
    assert added.details == {"model": "auth.group", "object": str(group.pk)}
    assert changed.details == {"model": "auth.group", "object": str(group.pk), "fields": ["Name"]}
    assert actor_of(added).name == "Ada Byron"
    assert " words" not in everything_stored()


def test_administration_says_what_it_is_about(application, member, make_user):
    administrator = make_user("root@example.com")
    message = [{"changed": {"fields": ["X"]}}, {"added": {"name": "reviewer", "object": "Grace Hopper"}}]
    for row in (application.row, application.row.organisation, member):
        LogEntry.objects.log_actions(administrator.pk, [row], CHANGE, message)

    assert last("administrator:application:changed").application_id == application.row.pk
    assert last("administrator:organisation:changed").organisation_id == application.row.organisation_id
    assert about_of(last("administrator:user:changed")).user_id == member.pk
    assert last("administrator:user:changed").details["fields"] == ["X", "reviewer (added)"]
    assert LogEntry.objects.count() == 3


def test_deletion_of_several_rows_is_an_event_for_each(administrator, member, make_user):
    rows = [
        Authenticator.objects.create(user=user, type="totp", data={"secret": "x"})
        for user in (member, make_user("grace@example.com"))
    ]
    form = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    administrator.post("/admin/mfa/authenticator/", form)

    events = AuditEvent.objects.filter(tag="administrator:authenticator:deleted")
    assert {about_of(event).user_id for event in events} == {row.user_id for row in rows}


# --- recording ---------------------------------------------------------------------------------------------


def everything_stored():
    """All of the trail as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, ' ') FROM audit_auditevent e")
        events = cursor.fetchone()[0] or ""
        cursor.execute("SELECT string_agg(p::text, ' ') FROM audit_auditperson p")
        return events + (cursor.fetchone()[0] or "")


def test_no_secret_reaches_the_trail_or_its_log(
    make_application, browser, exchange, refresh, member, password, audit_lines, django_capture_on_commit_callbacks
):
    """Through everything that knows one: log-in, code, tokens, replay, a new client secret."""
    application = make_application("customer")
    before = AuditEvent.objects.count()
    with django_capture_on_commit_callbacks(execute=True):
        client = Client(HTTP_USER_AGENT="Browser/1")
        log_in(client, member.email, password)
        code = browser.authorize(application, state="the-partners-state")
        tokens = exchange(application, code).json()
        rotated = refresh(application, tokens["refresh_token"]).json()
        refresh(application, rotated["refresh_token"])
        refresh(application, tokens["refresh_token"])
        exchange(application, code)
        fresh_secret = create_secret(application=application.row, actor=member)
        services.rotate_signing_keys()

    secrets = [password, code, application.secret, fresh_secret, "the-partners-state", client.session.session_key]
    secrets += [answer[name] for answer in (tokens, rotated) for name in ("access_token", "refresh_token")]
    stored, logged = everything_stored(), json.dumps(audit_lines())
    assert len(audit_lines()) == AuditEvent.objects.count() - before >= 5
    for secret in secrets:
        assert secret not in stored
        assert secret not in logged
    assert "Ada" not in logged
    assert member.email not in logged


def test_log_has_ids_and_addresses_only_when_wanted(
    settings, application, member, audit_lines, django_capture_on_commit_callbacks, browser
):
    for settings.AUDIT_LOG_ADDRESSES in (False, True):
        with django_capture_on_commit_callbacks(execute=True):
            browser.authorize(application, prompt="consent")
            trail.record("server:thing:done")

    first, second, third, fourth = audit_lines()
    assert first.keys() == {"event", "at", "tag", "request_id", "user", "application", "organisation", "connection"}
    assert first["user"] == str(member.pk)
    assert second.keys() == fourth.keys() == {"event", "at", "tag"}
    assert third.keys() - first.keys() == {"address"}
    assert third["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        ("plain", "plain"),
        ("nul\x00in it", "nul\ufffdin it"),
        ("line\r\nbreak\x1b[31m", "line\ufffd\ufffdbreak\ufffd[31m"),
        ("caf\u00c3\u00a9", "café"),
        ("\u00ff\u00fe invalid", "\ufffd\ufffd invalid"),
        ("not latin: \u20ac", "not latin: €"),
        ("\ud800", "?"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("x" * 100_000, "x" * MAX_USER_AGENT),
        ("", ""),
    ],
)
def test_any_user_agent_can_be_stored(organisation, member, client, header, stored):
    log_in(client, member.email, "wrong", HTTP_USER_AGENT=header)

    assert actor_of(last("visitor:session:refused")).user_agent == stored


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "192.0.2.9", "127.0.0.1"),
        (1, "198.51.100.1, 192.0.2.9", "192.0.2.9"),
        (2, "198.51.100.1, 192.0.2.9", "198.51.100.1"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "nonsense", None),
        (1, "", "127.0.0.1"),
    ],
)
def test_address_is_counted_past_our_own_proxies(
    organisation, member, settings, application, browser, proxies, forwarded, address
):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    browser.client.defaults |= {"HTTP_X_FORWARDED_FOR": forwarded}
    browser.authorize(application)

    found = actor_of(last("user:connection:granted")).address
    assert (str(found) if found else None) == address


def test_fewer_proxies_than_promised_do_not_stop_anybody(settings, application, browser):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    browser.client.defaults |= {"HTTP_X_FORWARDED_FOR": "192.0.2.9"}
    browser.authorize(application)

    assert actor_of(last("user:connection:granted")).address is None


@pytest.mark.parametrize("tag", ["", "granted", "user:connection", "User:connection:granted", "a:b:c:d", "a:b:c\n"])
def test_tag_says_who_what_and_how(tag):
    with pytest.raises(ValueError, match="subject:object:action"):
        trail.record(tag)


def test_event_without_anybody_keeps_no_person():
    trail.record("server:thing:done")

    event = last("server:thing:done")
    assert (event.person_commitment, event.about_commitment) == (None, None)
    assert not AuditPerson.objects.exists()


def test_time_is_the_moment_of_recording():
    with transaction.atomic():
        trail.record("server:thing:first")
        trail.record("server:thing:second")

    first, second = AuditEvent.objects.order_by("pk")
    assert first.happened_at < second.happened_at <= timezone.now()
    assert first.transaction_id == second.transaction_id


def test_log_in_takes_one_statement_more(organisation, member):
    browser = Browser()
    with CaptureQueriesContext(connection) as captured:
        browser.client.force_login(member)

    assert len([query for query in captured.captured_queries if "audit_" in query["sql"]]) == 1
