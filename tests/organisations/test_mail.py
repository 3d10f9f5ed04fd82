"""Mail in an organisation's name: queued with the change it tells of, and sent by the background worker."""

import logging
import re
import smtplib
from datetime import timedelta
from email import message_from_bytes, policy
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected

import pytest
from asgiref.sync import async_to_sync
from cryptography.fernet import Fernet
from django.core import mail
from django.db import connection, transaction
from django.template import TemplateDoesNotExist
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from procrastinate.exceptions import JobAborted

from apps.organisations import tasks
from apps.organisations.addresses import site_address
from apps.organisations.letters import unseal
from apps.organisations.mail import queue_mail, sender_of
from tests.conftest import in_another_thread, run_job, run_worker

TO = "ada@example.com"


@pytest.fixture(autouse=True)
def _templates(settings, tmp_path):
    """A mail with the frames that every mail has."""
    folder = tmp_path / "mail"
    folder.mkdir()
    (folder / "greeting_subject.txt").write_text("Hello {{ name }}\n")
    (folder / "greeting.txt").write_text(
        '{% extends "mail/message.txt" %}{% block content %}Dear {{ name }} & all{% endblock content %}'
    )
    (folder / "greeting.html").write_text(
        '{% extends "mail/message.html" %}{% block content %}<h1>Dear {{ name }}</h1>{% endblock content %}'
    )
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path, *engine["DIRS"]]}]


@pytest.fixture
def greet(organisation):
    """Queue that mail, in an empty queue: Django does not empty tables that are not its own."""
    ProcrastinateJob.objects.all().delete()

    def call(to=TO, name="Ada"):
        queue_mail(organisation=organisation, to=to, template="greeting", context={"name": name})

    return call


def queued():
    return ProcrastinateJob.objects.filter(queue_name="mail", status="todo").order_by("id")


def the_job():
    return ProcrastinateJob.objects.get(queue_name="mail")


def header(message, name):
    """The header as it goes out, read by Python's own parser."""
    return message_from_bytes(message.message().as_bytes(), policy=policy.default)[name]


# --- what is in a mail ------------------------------------------------------------------------


def test_mail_has_a_text_and_an_html_part_in_the_organisation_s_frame(greet, mails):
    greet()

    [message] = mails()
    wire = message_from_bytes(message.message().as_bytes(), policy=policy.default)

    assert [part.get_content_type() for part in wire.iter_parts()] == ["text/plain", "text/html"]
    text, html = (part.get_content() for part in wire.iter_parts())
    assert text == "Dear Ada & all\n\n-- \nKuittila\n"
    assert "<h1>Dear Ada</h1>" in html
    assert '<p class="brand">Kuittila</p>' in html


def test_html_is_escaped_and_text_is_not(greet, mails):
    evil = "<script>alert('1')</script> & Co"
    greet(name=evil)

    [message] = mails()
    assert message.subject == f"Hello {evil}"
    assert f"Dear {evil} & all" in message.body
    assert "<script" not in message.alternatives[0].content
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; &amp; Co" in message.alternatives[0].content


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_subject_and_sender_stay_one_header(greet, mails, organisation, line_break):
    organisation.name = f"Kuittila{line_break}Bcc: eve@example.com"
    greet(name=f"Ada{line_break}Bcc: eve@example.com{line_break}{line_break}body\x07\x1b")

    [message] = mails()

    assert message.subject == "Hello Ada Bcc: eve@example.com body"
    assert header(message, "Bcc") is None
    assert header(message, "From").addresses[0].display_name == "Kuittila Bcc: eve@example.com"
    assert message.recipients() == [TO]


def test_subject_in_any_language(greet, mails):
    greet(name="Ääkkönen 👩‍💻 日本")

    assert header(mails()[0], "Subject") == "Hello Ääkkönen 👩‍💻 日本"


def test_mail_is_from_the_organisation_at_the_installation_s_address(greet, mails, settings):
    settings.DEFAULT_FROM_EMAIL = "Countersign <no-reply@sign.example>"
    greet()

    assert mails()[0].from_email == "Kuittila <no-reply@sign.example>"


def test_name_with_a_comma_is_one_sender(organisation, settings):
    settings.DEFAULT_FROM_EMAIL = "no-reply@sign.example"
    organisation.name = 'Kuittila, "Oy" <eve@example.com>'

    assert sender_of(organisation) == '"Kuittila, \\"Oy\\" <eve@example.com>" <no-reply@sign.example>'


def test_mail_of_the_log_in_has_the_same_sender(client, member, organisation, mails):
    client.post("/account/password/reset/", {"email": member.email})

    assert [message.from_email for message in mails()] == [sender_of(organisation)]


@pytest.mark.parametrize("support", ["", "help@kuittila.example"])
def test_answers_go_to_the_support_address_if_there_is_one(greet, mails, organisation, support):
    organisation.support_email = support
    greet()

    assert header(mails()[0], "Reply-To") == (support or None)


def test_no_machine_answers(greet, mails):
    """RFC 3834 section 5."""
    greet()

    assert header(mails()[0], "Auto-Submitted") == "auto-generated"


def test_missing_template_fails_in_the_request(organisation):
    with pytest.raises(TemplateDoesNotExist):
        queue_mail(organisation=organisation, to=TO, template="nothing", context={})

    assert not queued().exists()


# --- to whom --------------------------------------------------------------------------------------


def test_everybody_gets_a_mail_of_their_own(greet, mails):
    greet(address for address in ("ada@example.com", "bob@example.com"))

    assert [message.recipients() for message in mails()] == [["ada@example.com"], ["bob@example.com"]]


def test_address_that_comes_twice_gets_one_mail(greet):
    greet(["ada@example.com", "bob@example.com", "ADA@example.com", "ada@example.com"])

    assert [unseal(row.args["sealed"]).to for row in queued()] == ["ada@example.com", "bob@example.com"]


def test_nobody_gets_none(greet):
    greet([])

    assert not queued().exists()


def test_mails_returns_what_is_new(greet, mails):
    greet()
    assert len(mails()) == 1
    greet(name="Bob")

    assert [message.subject for message in mails()] == ["Hello Bob"]
    assert mails() == []
    assert not queued().exists()


# --- queued with the change it tells of ----------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_mail_is_queued_when_the_change_is_committed(greet):
    with transaction.atomic():
        greet()
        assert visible_to_the_worker() == 0
    assert visible_to_the_worker() == 1


@pytest.mark.django_db(transaction=True)
def test_mail_of_a_change_that_was_rolled_back_is_never_sent(greet):
    def fail():
        with transaction.atomic():
            greet()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()

    assert visible_to_the_worker() == 0
    assert not queued().exists()


def visible_to_the_worker():
    """How many mails another connection sees."""
    with connection.copy().temporary_connection() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'mail'")
        return cursor.fetchone()[0]


def work(*queues):
    """Run the worker for these queues (none: for all) until nothing is left to do now."""
    run_worker(queues=list(queues) or None)


@pytest.mark.django_db(transaction=True)
def test_the_worker_sends_it(greet):
    """script/server starts it for all queues."""
    greet()

    work()

    assert [message.subject for message in mail.outbox] == ["Hello Ada"]
    assert the_job().status == "succeeded"


# --- sealed ---------------------------------------------------------------------------------------


def test_nobody_reads_a_mail_in_the_queue(greet):
    greet(name="Confidential")

    row = queued().get()

    assert set(row.args) == {"template", "sealed"}
    for private in ("Confidential", TO, "Kuittila"):
        assert private not in str(row.args)
    assert unseal(row.args["sealed"]).to == TO


def test_link_of_a_forgotten_password_is_in_the_mail_and_nowhere_in_the_queue(client, organisation, member, mails):
    client.post("/account/password/reset/", {"email": member.email})

    waiting = [str(row.args) for row in queued()]
    [message] = mails()

    [key] = re.findall(r"/password/reset/key/([^/\s]+)/", message.body)
    assert len(waiting) == 1
    assert key not in waiting[0]
    assert member.email not in waiting[0]


def test_page_does_not_wait_for_the_mail_server(client, organisation, member, fail_with, mails):
    fail_with(TimeoutError())

    answer = client.post("/account/password/reset/", {"email": member.email})

    assert answer.status_code == 302
    assert queued().count() == 1


@pytest.mark.django_db(transaction=True)
def test_mail_of_another_deployment_secret_is_given_up(greet, caplog):
    greet()
    row = queued().get()
    sealed = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    ProcrastinateJob.objects.filter(pk=row.pk).update(args={**row.args, "sealed": sealed})

    work("mail")

    assert the_job().status == "aborted"
    assert "queued with another SECRET_KEY; it is not sent" in caplog.text


# --- what fails -----------------------------------------------------------------------------------


@pytest.fixture
def fail_with(monkeypatch):
    """Let the mail server answer so."""

    def call(error):
        def refuse(self, messages):
            raise error

        monkeypatch.setattr(mail.backends.locmem.EmailBackend, "send_messages", refuse)

    return call


def refused(code):
    return SMTPRecipientsRefused({TO: (code, b"5.1.1 <ada@example.com>: no such user")})


TRANSIENT = [
    SMTPServerDisconnected("gone"),
    ConnectionRefusedError(),
    TimeoutError(),
    SMTPDataError(451, b""),
    refused(451),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_mail_that_fails_is_tried_again_later(greet, fail_with, error):
    greet()
    fail_with(error)

    work("mail")

    row = the_job()
    assert (row.status, row.attempts) == ("todo", 1)
    assert timedelta(0) < row.scheduled_at - timezone.now() <= timedelta(seconds=3)


def test_it_is_tried_for_about_a_day(greet):
    greet()
    job = queued().get().procrastinate_job
    waits = []
    while exception := tasks.send_mail.get_retry_exception(TimeoutError(), job.evolve(attempts=len(waits))):
        waits.append(exception.retry_decision.retry_at - timezone.now())

    assert waits == sorted(waits)
    assert timedelta(hours=22) < sum(waits, timedelta()) < timedelta(hours=26)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [refused(550), refused(553), ValueError("no header")], ids=["550", "553", "header"])
def test_mail_that_is_refused_for_good_is_not_tried_again(greet, fail_with, caplog, error):
    greet(name="Confidential")
    fail_with(error)

    work("mail")

    assert the_job().status == "aborted"
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Mail greeting (job" in record.getMessage()
    assert record.getMessage().endswith("it is not sent")
    for private in ("Confidential", "Dear", TO):
        assert private not in caplog.handler.format(record)


def test_after_the_last_time_it_is_given_up(greet, fail_with, caplog):
    greet(name="Confidential")
    fail_with(TimeoutError())
    row = queued().get()
    row.attempts = tasks._RETRY.max_attempts

    with pytest.raises(JobAborted):
        run_job(row)

    assert "attempt 11): TimeoutError; it is not sent" in caplog.text
    assert "Confidential" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_address_that_is_none_is_not_tried_again(greet):
    greet("eve@example.com\nBcc: all@example.com")

    work("mail")

    assert mail.outbox == []
    assert the_job().status == "aborted"


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"

    assert 0 < mail.get_connection().timeout <= 60
    assert issubclass(smtplib.SMTPException, OSError)


# --- tidiness -------------------------------------------------------------------------------------


def run_periodic(task):
    job = app.job_manager
    context = type("Context", (), {"app": type("App", (), {"job_manager": job})})()
    in_another_thread(lambda: async_to_sync(task.func)(context, timestamp=0))


def set_status(row, status, age):
    """Put a job into a state that it reached `age` ago."""
    ProcrastinateJob.objects.filter(pk=row.pk).update(status=status)
    ProcrastinateEvent.objects.filter(job_id=row.pk).update(at=timezone.now() - age)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "aborted"])
def test_job_that_ended_goes_after_a_day(greet, status):
    greet(["old@example.com", "new@example.com"])
    old, new = queued()
    set_status(old, status, timedelta(hours=25))
    set_status(new, status, timedelta(hours=23))

    run_periodic(tasks.remove_old_jobs)

    assert list(ProcrastinateJob.objects.values_list("pk", flat=True)) == [new.pk]


@pytest.mark.parametrize("status", ["todo", "doing"])
def test_job_that_has_not_ended_stays(greet, status):
    greet()
    set_status(queued().get(), status, timedelta(hours=25))

    run_periodic(tasks.remove_old_jobs)

    assert ProcrastinateJob.objects.count() == 1


def start(row, heartbeat_age):
    """Let a worker take the job, whose last sign of life was so long ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s) RETURNING id",
            [timezone.now() - heartbeat_age],
        )
        [worker] = cursor.fetchone()
    ProcrastinateJob.objects.filter(pk=row.pk).update(status="doing", worker_id=worker)


@pytest.mark.parametrize(("age", "status"), [(timedelta(minutes=5), "todo"), (timedelta(seconds=5), "doing")])
def test_mail_of_a_worker_that_was_killed_is_taken_up_again(greet, age, status):
    greet()
    start(queued().get(), age)

    run_periodic(tasks.resume_jobs)

    assert the_job().status == status


@pytest.mark.django_db(transaction=True)
def test_killed_job_of_which_the_next_one_waits_is_given_up_and_holds_up_no_other(greet):
    greet(["ada@example.com", "bob@example.com"])
    first, second = queued()
    ProcrastinateJob.objects.filter(pk=first.pk).update(queueing_lock="only-one")
    for row in (first, second):
        start(row, timedelta(minutes=5))
    greet("next@example.com")
    ProcrastinateJob.objects.filter(pk=queued().last().pk).update(queueing_lock="only-one")

    run_periodic(tasks.resume_jobs)

    statuses = {unseal(row.args["sealed"]).to: row.status for row in ProcrastinateJob.objects.all()}
    assert statuses == {"ada@example.com": "failed", "bob@example.com": "todo", "next@example.com": "todo"}


# --- addresses in mails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("insecure", "port", "address"),
    [
        (False, 8000, "https://receipts.example/developer/"),
        (True, 8000, "http://receipts.example:8000/developer/"),
        (True, 80, "http://receipts.example/developer/"),
    ],
)
def test_address_of_a_page_for_mails(organisation, settings, insecure, port, address):
    settings.INSECURE_HTTP, settings.PORT = insecure, port

    assert site_address(organisation, "/developer/") == address
    assert site_address(organisation) == address.removesuffix("/developer/")
