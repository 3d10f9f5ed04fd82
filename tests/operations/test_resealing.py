"""A new SECRET_KEY: with the earlier one beside it all goes on, and after `reseal` it is not needed any more."""

import io
import json
import secrets

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from cryptography.fernet import InvalidToken
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.audit import sealing as audit_sealing
from apps.audit import trail
from apps.audit.models import AuditSeal
from apps.audit.verification import verify
from apps.operations.doctor import keys as doctor
from apps.operations.doctor.findings import Level, Patient
from apps.sealing import derive_secret
from apps.telemetry import metrics
from apps.tokens.keys import ensure_signing_keys, forget_loaded_keys, is_readable, reseal_key, signing_key
from apps.tokens.models import SigningKey
from apps.webhooks.keys import open_key
from apps.webhooks.models import EndpointKey, KeyKind, Notification, State
from apps.webhooks.services import rotate_key, send_test, set_endpoint, wake_endpoints
from tests.conftest import queue_mails, run_worker
from tests.webhooks.receivers import receiving, respond

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def use(settings):
    """Go on with another secret, as processes do that were started again; and the ones before it."""

    def use(secret, *earlier):
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secret, list(earlier)
        derive_secret.cache_clear()
        forget_loaded_keys()

    own = settings.SECRET_KEY
    yield use
    # What another test reads is sealed with the secret of all tests again.
    use(own, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    call_command("reseal", stdout=io.StringIO())
    use(own)


@pytest.fixture
def old(settings):
    return settings.SECRET_KEY


@pytest.fixture
def new():
    return secrets.token_urlsafe(48)


@pytest.fixture
def receiver(make_application):
    """An endpoint of an application, whose keys are sealed."""
    ProcrastinateJob.objects.all().delete()
    application = make_application("connection")
    with receiving(respond(200)) as receiver:
        set_endpoint(application=application.row, actor=None, url=receiver.url)
        receiver.application = application.row
        yield receiver
    ProcrastinateJob.objects.all().delete()


def reseal():
    output = io.StringIO()
    try:
        call_command("reseal", "--json", stdout=output)
        status = 0
    except SystemExit as end:
        status = end.code
    return status, {each["name"]: each for each in json.loads(output.getvalue())["sealed"]}


def reseal_signing_keys():
    for key in SigningKey.objects.all():
        assert reseal_key(key)
        key.save()


def levels(check):
    return [finding.level for finding in check(Patient())]


def test_with_the_earlier_secret_everything_goes_on(use, old, new, receiver, member, password):
    ensure_signing_keys()
    kids = {name: signing_key(name).kid for name in ("RS256", "HS256")}
    queue_mails("ada@example.com")
    browser = Client()
    assert browser.login(email=member.email, password=password)

    use(new, old)

    assert {name: signing_key(name).kid for name in kids} == kids
    assert browser.get("/account/").status_code == 200
    send_test(application=receiver.application)
    run_worker(queues=["webhooks", "mail"])
    assert Notification.objects.get().state == State.DELIVERED
    assert [letter.to for letter in mail.outbox] == [["ada@example.com"]]


def test_without_the_earlier_secret_nothing_would_open(use, old, new, receiver, member):
    ensure_signing_keys()
    RecoveryCodes.activate(member)
    use(new)

    assert not any(is_readable(key) for key in SigningKey.objects.all())
    with pytest.raises(InvalidToken):
        open_key(EndpointKey.objects.first())
    assert levels(doctor.examine_sealed) == levels(doctor.examine_second_factors) == [Level.PROBLEM]
    status, tallies = reseal()
    assert status == 1
    assert tallies["webhook keys"] == {"name": "webhook keys", "current": 0, "resealed": 0, "closed": 2}


def test_after_resealing_the_earlier_secret_is_not_needed(use, old, new, receiver, member):
    ensure_signing_keys()
    codes = RecoveryCodes.activate(member).get_unused_codes()
    Authenticator.objects.create(user=member, type="totp", data={"secret": totp.generate_totp_secret()})
    kid = signing_key("RS256").kid
    values = {key.pk: open_key(key) for key in EndpointKey.objects.all()}
    queue_mails("ada@example.com", "eve@example.com")
    ProcrastinateJob.objects.filter(task_name__endswith="send_mail").update(attempts=1)
    use(new, old)
    assert levels(doctor.examine_sealed) == levels(doctor.examine_second_factors) == [Level.WARNING]

    status, tallies = reseal()

    assert status == 0
    assert {name: (tally["resealed"], tally["closed"]) for name, tally in tallies.items()} == {
        "webhook keys": (2, 0),
        "signing keys": (SigningKey.objects.count(), 0),
        "second factors": (2, 0),
        "mails in the queue": (2, 0),
    }
    use(new)
    assert levels(doctor.examine_sealed) == levels(doctor.examine_second_factors) == [Level.OK]
    assert RecoveryCodes.activate(member).get_unused_codes() == codes
    assert signing_key("RS256").kid == kid
    assert {key.pk: open_key(key) for key in EndpointKey.objects.all()} == values
    send_test(application=receiver.application)
    run_worker(queues=["webhooks", "mail"])
    assert Notification.objects.get().state == State.DELIVERED
    assert len(mail.outbox) == 2
    assert {tally["resealed"] for tally in reseal()[1].values()} == {0}


def test_all_batches_are_resealed(use, old, new, receiver, monkeypatch):
    monkeypatch.setattr("apps.operations.resealing.BATCH_SIZE", 1)
    queue_mails("ada@example.com", "eve@example.com")
    use(new, old)

    tallies = reseal()[1]

    assert tallies["webhook keys"]["resealed"] == tallies["mails in the queue"]["resealed"] == 2


def test_seals_of_the_earlier_secret_are_told_apart_and_not_taken_for_forged(use, old, new):
    trail.record("server:thing:done")
    audit_sealing.seal_events(batches=10)
    first = AuditSeal.objects.latest("pk").pk
    use(new, old)
    assert levels(doctor.examine_audit_trail) == [Level.OK]
    trail.record("server:thing:done")
    audit_sealing.seal_events(batches=10)

    report = verify()

    assert report.findings == []
    assert (report.last_earlier_seal, report.last_seal) == (first, first + 1)
    output = io.StringIO()
    call_command("verify_audit", stdout=output)
    assert f"were made with an earlier SECRET_KEY, up to seal {first}." in output.getvalue()
    use(new)
    assert {finding.seal for finding in verify().findings} == set(range(1, first + 1))
    use(secrets.token_urlsafe(48), new)
    assert first in {finding.seal for finding in verify().findings}


def test_webhook_whose_key_does_not_open_shows_in_the_figures_and_waits(use, old, new, receiver, caplog):
    def counted():
        return metrics.REGISTRY.get_sample_value("countersign_webhook_deliveries_total", {"outcome": "key_closed"})

    before = counted()
    use(new)
    send_test(application=receiver.application)

    run_worker(queues=["webhooks"])

    assert counted() > before
    notification = Notification.objects.get()
    assert (notification.state, notification.tries) == (State.QUEUED, 0)
    assert "SECRET_KEY does not open the keys of the webhook" in caplog.text
    use(old)
    ProcrastinateJob.objects.all().delete()
    wake_endpoints([notification.endpoint_id])
    run_worker(queues=["webhooks"])
    assert Notification.objects.get().state == State.DELIVERED


def test_doctor_looks_at_the_keys_that_go_on_during_an_overlap(use, old, new, receiver):
    ensure_signing_keys()
    use(new, old)
    reseal_signing_keys()
    for kind in KeyKind:
        rotate_key(application=receiver.application, actor=None, kind=kind)

    # The keys before are still sent and signed with, and only the earlier secret opens them.
    assert levels(doctor.examine_sealed) == [Level.WARNING]
    EndpointKey.objects.filter(ends_at__isnull=False).update(ends_at=timezone.now())
    assert levels(doctor.examine_sealed) == [Level.OK]


def test_browser_stays_known_across_the_change(use, old, new, organisation, member, password, settings):
    settings.RATE_LIMITS = True
    settings.RATE_LIMIT_RATES = dict.fromkeys(settings.RATE_LIMIT_RATES, "0") | {"login": "1/h"}
    known = Client()

    def log_in(browser, typed):
        browser.post("/account/logout/")
        return browser.post("/account/login/", {"login": member.email, "password": typed}).status_code

    assert log_in(known, password) == 302
    use(new, old)
    assert [log_in(Client(), "wrong") for _ in range(2)] == [200, 429]

    assert log_in(known, password) == 302
    # It has a cookie of the new secret's now.
    use(new)
    assert [log_in(Client(), "wrong") for _ in range(2)] == [429] * 2
    assert log_in(known, password) == 302


def test_new_keys_take_over_at_once_when_the_secret_was_lost(use, new, receiver):
    use(new)
    fresh = {kind: rotate_key(application=receiver.application, actor=None, kind=kind) for kind in KeyKind}
    SigningKey.objects.all().delete()
    assert levels(doctor.examine_sealed) == [Level.OK]
    send_test(application=receiver.application)

    run_worker(queues=["webhooks"])

    assert Notification.objects.get().state == State.DELIVERED
    [request] = receiver.requests
    assert request.headers["authorization"] == f"Token {fresh[KeyKind.API_KEY]}"


def test_refresh_that_is_repeated_across_the_change_gets_the_same_successor(
    use, old, new, make_application, connect, refresh
):
    application = make_application("portal")
    presented = connect(application)["refresh_token"]
    answer = refresh(application, presented).json()

    use(new, old)
    assert refresh(application, presented).json()["refresh_token"] == answer["refresh_token"]

    use(new)
    assert refresh(application, presented).json()["error"] == "invalid_grant"
    # It was honest all the same: what it had issued goes on.
    assert refresh(application, answer["refresh_token"]).status_code == 200
