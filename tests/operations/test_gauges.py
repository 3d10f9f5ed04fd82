"""What the database knows: of mails that do not leave, and of chores that have never ended well."""

import smtplib
from datetime import timedelta

import pytest
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from prometheus_client.parser import text_string_to_metric_families

from apps.housekeeping.chores import CHORES
from apps.housekeeping.models import HousekeepingRun
from apps.operations.gauges import write_gauges
from apps.telemetry import metrics
from tests.conftest import queue_mails, run_worker


def told(name, **labels):
    """What is told under that name and these labels; None if nothing is."""
    for family in text_string_to_metric_families(write_gauges().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def oldest_mail():
    return told("countersign_mail_oldest_unsent_age_seconds")


def counted(outcome):
    return metrics.REGISTRY.get_sample_value("countersign_mails_total", {"outcome": outcome})


@pytest.fixture
def no_jobs(transactional_db):
    ProcrastinateJob.objects.all().delete()
    yield
    ProcrastinateJob.objects.all().delete()


def age_jobs(**age):
    ProcrastinateEvent.objects.filter(type="deferred").update(at=timezone.now() - timedelta(**age))


def test_mail_that_is_tried_again_later_counts_from_when_it_was_queued(no_jobs, settings):
    settings.EMAIL_BACKEND = "tests.telemetry.broken_mail.BrokenBackend"
    assert oldest_mail() == 0
    queue_mails("ada@example.com")
    run_worker(queues=["mail"])
    age_jobs(hours=2)
    queue_mails("eve@example.com")
    [row, _new] = ProcrastinateJob.objects.filter(queue_name="mail").order_by("pk")
    ProcrastinateJob.objects.filter(pk=row.pk).update(scheduled_at=timezone.now() + timedelta(hours=2))

    assert row.attempts == 1
    assert 7_190 < oldest_mail() < 7_300


def test_mail_that_was_sent_or_given_up_counts_no_more(no_jobs):
    queue_mails("ada@example.com")
    run_worker(queues=["mail"])
    age_jobs(hours=2)
    queue_mails("eve@example.com")
    mails = ProcrastinateJob.objects.filter(queue_name="mail")
    mails.filter(status="todo").update(status="failed")
    assert set(mails.values_list("status", flat=True)) == {"succeeded", "failed"}

    assert oldest_mail() == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (smtplib.SMTPRecipientsRefused({"ada@example.com": (452, b"4.2.2 full")}), "put_off"),
        (smtplib.SMTPServerDisconnected("gone"), "tried_again"),
        (smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"5.1.1 no")}), "given_up"),
    ],
    ids=["mailbox full", "server away", "no such mailbox"],
)
def test_full_mailbox_is_told_from_a_mail_server_that_is_away(no_jobs, monkeypatch, error, outcome):
    def fail(*_):
        raise error

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", fail)
    outcomes = ("sent", "tried_again", "put_off", "given_up")
    before = {each: counted(each) for each in outcomes}
    queue_mails("ada@example.com")

    run_worker(queues=["mail"])

    assert {each: counted(each) - before[each] for each in outcomes if counted(each) != before[each]} == {outcome: 1}


def refuse_all_mail(monkeypatch, error):
    """Let every try to send end in that way. Everything that has been queued may be tried at once."""

    def fail(*_):
        raise error

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", fail)
    ProcrastinateJob.objects.filter(status="todo").update(scheduled_at=None)


def test_mail_to_a_full_mailbox_does_not_age_and_the_next_one_does(no_jobs, monkeypatch):
    refuse_all_mail(monkeypatch, smtplib.SMTPRecipientsRefused({"ada@example.com": (452, b"4.2.2 full")}))
    queue_mails("ada@example.com")
    age_jobs(hours=2)
    assert oldest_mail() > 7_190
    run_worker(queues=["mail"])
    [row] = ProcrastinateJob.objects.filter(queue_name="mail")
    assert (row.status, row.attempts) == ("todo", 1)
    assert oldest_mail() == 0

    queue_mails("eve@example.com")
    ProcrastinateEvent.objects.filter(type="deferred").exclude(job=row).update(
        at=timezone.now() - timedelta(minutes=30)
    )

    assert 1_790 < oldest_mail() < 1_900


def test_mail_that_was_put_off_does_not_age_when_the_server_is_away_at_its_next_try(no_jobs, monkeypatch):
    """Else its hours would be taken for those of an outage that may be over in a minute."""
    queue_mails("ada@example.com")
    age_jobs(hours=2)
    for error in (
        smtplib.SMTPRecipientsRefused({"ada@example.com": (452, b"4.2.2 full")}),
        smtplib.SMTPServerDisconnected("gone"),
    ):
        refuse_all_mail(monkeypatch, error)
        run_worker(queues=["mail"])
    [row] = ProcrastinateJob.objects.filter(queue_name="mail")

    assert (row.status, row.attempts) == ("todo", 2)
    assert oldest_mail() == 0


def test_mail_that_was_put_off_comes_after_the_others(no_jobs, monkeypatch, mailoutbox):
    with monkeypatch.context() as patch:
        refuse_all_mail(patch, smtplib.SMTPRecipientsRefused({"ada@example.com": (452, b"4.2.2 full")}))
        queue_mails("ada@example.com")
        run_worker(queues=["mail"])
    queue_mails("eve@example.com")
    ProcrastinateJob.objects.filter(status="todo").update(scheduled_at=None)

    run_worker(queues=["mail"])

    assert [mail.to for mail in mailoutbox] == [["eve@example.com"], ["ada@example.com"]]


def test_chore_that_has_never_ended_well_is_told_too(transactional_db):
    name = "countersign_housekeeping_last_success_timestamp_seconds"
    HousekeepingRun.objects.all().delete()
    failing, well, *others = sorted(CHORES)
    now = timezone.now()
    HousekeepingRun.objects.create(task=failing, ended_at=now, error="OperationalError")
    HousekeepingRun.objects.create(task=well, ended_at=now)

    assert abs(told(name, task=well) - now.timestamp()) < 1
    assert {told(name, task=task) for task in (failing, *others)} == {0}
