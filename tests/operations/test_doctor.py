"""The doctor's checks on real PostgreSQL and real sockets: each finds the good good, and the bad bad."""

import json
import os
import secrets
import socket
import socketserver
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.services import create_user
from apps.audit import sealing, trail
from apps.audit.models import AuditEvent, AuditSeal
from apps.developers.services.terms import publish_terms
from apps.housekeeping.models import HousekeepingRun
from apps.operations.doctor import configuration, content, database, examination, files, keys, mail, work
from apps.operations.doctor.findings import Check, Finding, Level, Patient, ok, span
from apps.organisations.models import Organisation, Reviewer
from apps.sealing import derive_secret
from apps.tokens.keys import ensure_signing_keys
from apps.tokens.models import SigningKey

NOBODY = Patient()
GOOD = {
    "ENVIRONMENT": "production",
    "DEBUG": "0",
    "DEMO_MODE": "0",
    "INSECURE_HTTP": "0",
    "ALLOWED_HOSTS": "sign.example.com",
    "EMAIL_URL": "smtp+tls://mail.example.com:587",
    "DEFAULT_FROM_EMAIL": "no-reply@example.com",
}


def only(findings: Iterator[Finding]) -> Finding:
    """The one finding."""
    [finding] = findings
    return finding


def level(findings: Iterator[Finding]) -> Level:
    """The worst of the findings."""
    return max(finding.level for finding in findings)


def execute(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


# --- settings ---------------------------------------------------------------------------------


def test_settings_that_would_start_are_well(monkeypatch, settings):
    settings.RATE_LIMITS = True
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert only(configuration.examine_settings(NOBODY)).level is Level.OK

    hasher = settings.OAUTH2_PROVIDER["CLIENT_SECRET_HASHER"]
    monkeypatch.setitem(settings.OAUTH2_PROVIDER, "CLIENT_SECRET_HASHER", "unknown")
    assert "countersign.E001" in only(configuration.examine_settings(NOBODY)).what
    monkeypatch.setitem(settings.OAUTH2_PROVIDER, "CLIENT_SECRET_HASHER", hasher)

    monkeypatch.setenv("ALLOWED_HOSTS", "*")
    assert level(configuration.examine_settings(NOBODY)) is Level.PROBLEM

    monkeypatch.setenv("ALLOWED_HOSTS", "sign.example.com")
    settings.RATE_LIMITS = False
    assert level(configuration.examine_settings(NOBODY)) is Level.WARNING


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("SECRETKEY_FILE", "SECRET_KEY_FILE"),
        ("secret_key", "SECRET_KEY"),
    ],
)
def test_slip_in_a_name_is_found(monkeypatch, slip, meant):
    assert only(configuration.examine_names(NOBODY)).level is Level.OK

    monkeypatch.setenv(slip, "anything")
    finding = only(configuration.examine_names(NOBODY))

    assert finding.level is Level.WARNING
    assert finding.advice == f"Did you mean {meant}?"
    assert "anything" not in finding.what


@pytest.mark.parametrize("name", ["HOME", "HOSTNAME", "PATH", "LANG", "PYTHONPATH", "POSTGRES_PASSWORD", "USER", "PWD"])
def test_other_peoples_names_are_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, os.environ.get(name, "anything"))
    assert only(configuration.examine_names(NOBODY)).level is Level.OK


@pytest.mark.parametrize(
    ("host", "password", "options", "expected"),
    [
        ("", "", {}, Level.OK),
        ("127.0.0.1", "", {}, Level.OK),
        ("", "", {"host": "/run/postgresql"}, Level.OK),
        ("db.internal", "word", {"sslmode": "verify-full"}, Level.OK),
        ("db.internal", "", {"sslmode": "verify-full"}, Level.WARNING),
        ("db.internal", "word", {}, Level.WARNING),
        ("db.internal", "word", {"sslmode": "disable"}, Level.WARNING),
    ],
)
def test_way_to_the_database(settings, monkeypatch, host, password, options, expected):
    for name, value in {"HOST": host, "PASSWORD": password, "OPTIONS": options}.items():
        monkeypatch.setitem(settings.DATABASES["default"], name, value)
    findings = list(configuration.examine_database_url(NOBODY))
    assert max(finding.level for finding in findings) is expected
    assert "word" not in str([finding.what for finding in findings]).replace("password", "")


# --- the database -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_this_server_is_well(monkeypatch):
    monkeypatch.setattr(database, "_SERVER", database._SERVER.replace("current_setting('fsync')", "'on'"))
    monkeypatch.setattr(database, "_SERVER", database._SERVER.replace("current_setting('full_page_writes')", "'on'"))
    monkeypatch.setattr(database, "_SERVER", database._SERVER.replace("current_setting('synchronous_commit')", "'on'"))
    assert only(database.examine_server(NOBODY)).level is Level.OK


@pytest.mark.django_db
def test_server_that_may_forget_is_found_out():
    execute("SET LOCAL synchronous_commit = off")
    assert any("synchronous_commit" in finding.what for finding in database.examine_server(NOBODY))


@pytest.mark.django_db
def test_mixed_up_time_zone_is_found_out():
    execute("SET LOCAL TimeZone = 'Europe/Helsinki'")
    assert any("Europe/Helsinki" in finding.what for finding in database.examine_server(NOBODY))


@pytest.mark.django_db
def test_collation_of_the_indexes(monkeypatch):
    assert only(database.examine_collation(NOBODY)).level is Level.OK

    monkeypatch.setattr(database, "_COLLATION", "SELECT '2.36', '2.41'")
    assert only(database.examine_collation(NOBODY)).level is Level.PROBLEM


@pytest.fixture
def ordinary_role(db: None) -> str:
    """A role that owns nothing and may do what a server has to, until the test's transaction ends."""
    role = f"role_{uuid.uuid4().hex}"
    execute(f"CREATE ROLE {role}")
    execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    execute(f"SET LOCAL ROLE {role}")
    return role


def test_ordinary_role_leaves_the_audit_trail_alone(ordinary_role):
    finding = only(database.examine_privileges(NOBODY))
    assert finding.level is Level.OK
    assert ordinary_role in finding.what


def test_role_that_may_change_the_audit_trail_is_found_out(ordinary_role):
    execute("RESET ROLE")
    execute(f"GRANT UPDATE ON audit_auditevent TO {ordinary_role}")
    execute(f"SET LOCAL ROLE {ordinary_role}")
    findings = list(database.examine_privileges(NOBODY))
    assert any(f"REVOKE UPDATE ON audit_auditevent FROM {ordinary_role};" in each.advice for each in findings)


def test_role_with_spare_rights_is_found_out(ordinary_role):
    execute("RESET ROLE")
    execute(f"ALTER ROLE {ordinary_role} CREATEDB")
    execute(f"SET LOCAL ROLE {ordinary_role}")
    assert any("CREATEDB" in each.what for each in database.examine_privileges(NOBODY))


def test_superuser_is_found_out(db):
    assert any("superuser" in each.what for each in database.examine_privileges(NOBODY))


def test_trigger_that_is_off_is_found_out(ordinary_role):
    execute("RESET ROLE")
    execute("ALTER TABLE audit_auditevent DISABLE TRIGGER audit_no_update")
    execute(f"SET LOCAL ROLE {ordinary_role}")
    assert level(database.examine_privileges(NOBODY)) is Level.PROBLEM


@pytest.mark.django_db
def test_migrations():
    assert only(database.examine_migrations(NOBODY)).level is Level.OK

    execute(
        "DELETE FROM django_migrations WHERE app = 'audit'"
        " AND name = (SELECT max(name) FROM django_migrations WHERE app = 'audit')"
    )
    finding = only(database.examine_migrations(NOBODY))
    assert finding.level is Level.PROBLEM
    assert "1 migration not applied" in finding.what


@pytest.mark.django_db
def test_newer_schema_is_found_out():
    execute("INSERT INTO django_migrations (app, name, applied) VALUES ('tokens', '9999_of_tomorrow', now())")
    finding = only(database.examine_migrations(NOBODY))
    assert finding.level is Level.WARNING
    assert "tokens.9999_of_tomorrow" in finding.what


@pytest.mark.django_db
def test_room_for_connections(settings):
    settings.WEB_PROCESSES, settings.WEB_THREADS = 2, 5
    assert only(database.examine_connections(NOBODY)).level is Level.OK

    settings.WEB_PROCESSES = 1_000
    assert only(database.examine_connections(NOBODY)).level is Level.PROBLEM


@pytest.mark.django_db
def test_pool_that_is_smaller_than_the_threads(settings):
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    settings.WEB_PROCESSES, settings.WEB_THREADS = 1, pool
    assert level(database.examine_connections(NOBODY)) is Level.OK

    settings.WEB_THREADS = pool + 1
    assert level(database.examine_connections(NOBODY)) is Level.WARNING


@pytest.mark.django_db
def test_clock_of_the_database():
    assert only(database.examine_clock(NOBODY)).level is Level.OK


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.5, Level.OK), (-1.9, Level.OK), (3, Level.WARNING), (-60, Level.PROBLEM)]
)
def test_clocks_that_differ(seconds, expected):
    assert database.compare_clocks(seconds, "somebody's").level is expected


# --- what depends on the secret ---------------------------------------------------------------


@pytest.mark.django_db
def test_signing_keys():
    ensure_signing_keys()
    assert only(keys.examine_signing_keys(NOBODY)).level is Level.OK

    SigningKey.objects.update(created_at=timezone.now() - keys.ROTATE_AFTER - timedelta(days=1))
    assert only(keys.examine_signing_keys(NOBODY)).level is Level.WARNING


@pytest.fixture
def other_secret(settings: Any) -> Iterator[Callable[[], None]]:
    """Exchange the deployment secret, as a host does who has lost it."""

    def exchange() -> None:
        settings.SECRET_KEY = secrets.token_urlsafe(48)
        derive_secret.cache_clear()

    yield exchange
    derive_secret.cache_clear()


@pytest.mark.django_db
def test_signing_keys_of_another_secret_are_found_out(other_secret):
    ensure_signing_keys()
    other_secret()
    assert only(keys.examine_signing_keys(NOBODY)).level is Level.PROBLEM


def seal_one_event() -> None:
    AuditEvent.objects.create(tag="user:session:started")
    assert sealing.seal_events(batches=1) >= 1


@pytest.mark.django_db(transaction=True)
def test_sealed_trail_is_well_and_anothers_seal_is_not(other_secret):
    seal_one_event()
    assert only(keys.examine_audit_trail(NOBODY)).level is Level.OK

    other_secret()
    assert only(keys.examine_audit_trail(NOBODY)).level is Level.PROBLEM


@pytest.mark.django_db
def test_events_that_nobody_seals_are_found_out(monkeypatch):
    AuditEvent.objects.create(tag="user:session:started")
    assert AuditSeal.objects.count() == 0
    assert only(keys.examine_audit_trail(NOBODY)).level is Level.OK

    monkeypatch.setattr(keys, "SEALED_WITHIN", timedelta(seconds=-60))
    assert only(keys.examine_audit_trail(NOBODY)).level is Level.PROBLEM


# --- the worker -------------------------------------------------------------------------------


@pytest.mark.django_db
def test_worker():
    execute("DELETE FROM procrastinate_workers")
    assert only(work.examine_worker(NOBODY)).level is Level.PROBLEM

    execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now())")
    assert only(work.examine_worker(NOBODY)).level is Level.WARNING

    execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now())")
    assert only(work.examine_worker(NOBODY)).level is Level.OK


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("minutes", "expected"), [(0, Level.OK), (1, Level.OK), (10, Level.WARNING), (100, Level.PROBLEM)]
)
def test_queue(minutes, expected):
    execute("DELETE FROM procrastinate_jobs")
    if minutes:
        execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args, scheduled_at)"
            " VALUES ('default', 'a.task', '{}', now() - make_interval(mins => %s))",
            minutes,
        )
    assert only(work.examine_queue(NOBODY)).level is expected


@pytest.mark.django_db
def test_failed_jobs():
    execute("DELETE FROM procrastinate_jobs")
    assert only(work.examine_failed_jobs(NOBODY)).level is Level.OK

    execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status)"
        " VALUES ('default', 'apps.mail.send_mail', '{}', 'failed')"
    )
    finding = only(work.examine_failed_jobs(NOBODY))
    assert finding.level is Level.WARNING
    assert "Send mail" in finding.what


@pytest.fixture
def _migrated_just_now(db):
    """However long the tests have been running."""
    execute("UPDATE django_migrations SET applied = now()")
    execute("DELETE FROM procrastinate_periodic_defers")


@pytest.mark.usefixtures("_migrated_just_now")
def test_periodic_tasks_of_a_fresh_database_are_not_late():
    assert only(work.examine_periodic_tasks(NOBODY)).level is Level.OK


@pytest.mark.django_db
def test_periodic_tasks_that_never_ran_are_late():
    execute("UPDATE django_migrations SET applied = now() - interval '10 days'")
    assert only(work.examine_periodic_tasks(NOBODY)).level is Level.PROBLEM


@pytest.mark.usefixtures("_migrated_just_now")
def test_periodic_task_whose_last_run_failed_is_found_out():
    now = timezone.now()
    HousekeepingRun.objects.create(
        task="apps.audit.tasks.seal_audit_events", started_at=now, ended_at=now, error="OperationalError"
    )
    finding = only(work.examine_periodic_tasks(NOBODY))
    assert finding.level is Level.WARNING
    assert "OperationalError" in finding.what


# --- mail -------------------------------------------------------------------------------------


class MailServer(socketserver.ThreadingTCPServer):
    """Enough of SMTP (RFC 5321) for one session; `refuses` names commands that it answers with 550."""

    daemon_threads = True

    def __init__(self, refuses: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.refuses, self.mails = refuses, []


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.wfile.write(b"220 mail.example.com\r\n")
        for line in self.rfile:
            command = line.decode().split(":")[0].split()[0].upper()
            if command in self.server.refuses:
                self.wfile.write(b"535 no\r\n" if command == "AUTH" else b"550 no\r\n")
            elif command == "EHLO":
                self.wfile.write(b"250-mail.example.com\r\n250 AUTH PLAIN\r\n")
            elif command == "AUTH":
                self.wfile.write(b"235 welcome\r\n")
            elif command == "DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += self.rfile.readline()
                self.server.mails.append(text.decode())
                self.wfile.write(b"250 taken\r\n")
            elif command == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


@contextmanager
def mail_server(settings: Any, *refuses: str) -> Iterator[MailServer]:
    with MailServer(refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.server_address
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "somebody", secrets.token_hex()
        settings.DEFAULT_FROM_EMAIL = "Acme <no-reply@example.com>"
        yield server
        server.shutdown()


def test_mail_server_is_asked_and_sent_nothing(settings):
    with mail_server(settings) as server:
        finding = only(mail.examine_mail(NOBODY))
        assert finding.level is Level.OK
        assert "no-reply@example.com" in finding.what
        assert server.mails == []


def test_mail_is_sent_when_asked_for(settings):
    with mail_server(settings) as server:
        assert level(mail.examine_mail(Patient(mail_to="ada@example.com"))) is Level.OK
        [text] = server.mails
    assert "To: ada@example.com" in text


@pytest.mark.parametrize(
    ("refused", "variable"), [("AUTH", "EMAIL_URL"), ("MAIL", "DEFAULT_FROM_EMAIL"), ("RCPT", "--mail-to")]
)
def test_mail_server_that_refuses_is_found_out(settings, refused, variable):
    with mail_server(settings, refused):
        findings = list(mail.examine_mail(Patient(mail_to="ada@example.com")))
    assert any(each.level is Level.PROBLEM and variable in each.advice for each in findings), findings
    assert settings.EMAIL_HOST_PASSWORD not in str(findings)


def test_mail_server_without_the_tls_that_was_asked_for_is_found_out(settings):
    with mail_server(settings):
        settings.EMAIL_USE_TLS = True
        assert "smtp+ssl://" in only(mail.examine_mail(NOBODY)).advice


def test_mail_server_that_is_not_there_is_found_out(settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = free.getsockname()
        assert only(mail.examine_mail(NOBODY)).level is Level.PROBLEM


def test_mails_that_nobody_gets_are_found_out(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    finding = only(mail.examine_mail(NOBODY))
    assert finding.level is Level.WARNING
    assert "console" in finding.what


@pytest.mark.django_db
def test_backups_that_stopped_are_noticed(monkeypatch):
    now = timezone.now()
    for made, installed, expected, words in (
        (None, now - timedelta(hours=1), Level.OK, "new"),
        (None, now - timedelta(hours=27), Level.WARNING, "never"),
        (now - timedelta(hours=25), now - timedelta(days=99), Level.OK, "25 hours ago"),
        (now - timedelta(hours=27), now - timedelta(days=99), Level.WARNING, "27 hours ago"),
        (now - timedelta(days=8), now - timedelta(days=99), Level.PROBLEM, "8 days ago"),
    ):
        monkeypatch.setattr(work, "find_last_backup", lambda made=made: made)
        monkeypatch.setattr(work, "_installed_at", lambda installed=installed: installed)
        finding = only(work.examine_backup(NOBODY))
        assert finding.level is expected
        assert words.replace("never", "none was ever") in finding.what


@pytest.mark.django_db
def test_backup_that_was_made_is_found():
    trail.record("operator:backup:made", secret_key=True)
    assert "second" in only(work.examine_backup(NOBODY)).what


# --- files and caches -------------------------------------------------------------------------


def test_media_folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    assert only(files.examine_media(NOBODY)).level is Level.OK
    assert list(settings.MEDIA_ROOT.iterdir()) == []

    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    assert only(files.examine_media(NOBODY)).level is Level.PROBLEM


@pytest.mark.parametrize(("free", "expected"), [(50e9, Level.OK), (5e8, Level.WARNING), (1e7, Level.PROBLEM)])
def test_disk(monkeypatch, free, expected):
    real = files.shutil.disk_usage(Path("/"))
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: real._replace(free=free))
    assert only(files.examine_disk(NOBODY)).level is expected


def test_static_files(monkeypatch):
    assert only(files.examine_static_files(NOBODY)).level is Level.OK

    monkeypatch.delitem(staticfiles_storage.hashed_files, "css/theme.css")
    finding = only(files.examine_static_files(NOBODY))
    assert finding.level is Level.PROBLEM
    assert "css/theme.css" in finding.what


@pytest.mark.django_db
def test_cache(settings):
    assert only(files.examine_cache(NOBODY)).level is Level.OK

    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert only(files.examine_cache(NOBODY)).level is Level.PROBLEM


def test_memory_for_the_processes_of_the_web_server(settings, monkeypatch):
    monkeypatch.setattr(files, "memory_limit", lambda: 512 << 20)
    settings.WEB_PROCESSES = 2
    finding = only(files.examine_memory(NOBODY))
    assert (finding.level, finding.what) == (Level.OK, "512 MiB here: 2 web processes, 1 hashing at once in each")

    settings.WEB_PROCESSES = 3
    finding = only(files.examine_memory(NOBODY))
    assert finding.level is Level.WARNING
    assert "WEB_PROCESSES=3 need 672 MiB" in finding.what
    assert "set WEB_PROCESSES to 2." in finding.advice


def test_valkey_that_is_not_there_is_found_out(settings):
    settings.CACHE_URL = ""
    assert only(files.examine_valkey(NOBODY)).level is Level.OK

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.CACHE_URL = f"redis://:secret-word@127.0.0.1:{free.getsockname()[1]}/0"
        finding = only(files.examine_valkey(NOBODY))
    assert finding.level is Level.PROBLEM
    assert "the database counts" in finding.what
    assert "secret-word" not in finding.what + finding.advice


# --- what people set up -----------------------------------------------------------------------


@pytest.mark.django_db
def test_no_organisation_is_a_problem():
    assert only(content.examine_organisations(NOBODY)).level is Level.PROBLEM


def test_domain_that_is_not_answered_is_found_out(organisation, settings):
    settings.ALLOWED_HOSTS = ["receipts.example"]
    assert only(content.examine_organisations(NOBODY)).level is Level.OK

    settings.ALLOWED_HOSTS = ["sign.example.com"]
    finding = only(content.examine_organisations(NOBODY))
    assert finding.level is Level.PROBLEM
    assert finding.advice == "Append it: ALLOWED_HOSTS=sign.example.com,receipts.example"


def test_no_default_organisation_is_a_problem(organisation, settings):
    settings.ALLOWED_HOSTS = ["receipts.example"]
    Organisation.objects.update(is_default=False)
    assert only(content.examine_organisations(NOBODY)).level is Level.PROBLEM


def test_reviewers(organisation, member):
    assert only(content.examine_reviewers(NOBODY)).level is Level.WARNING

    Reviewer.objects.create(user=member, organisation=organisation)
    assert only(content.examine_reviewers(NOBODY)).level is Level.OK


@pytest.mark.django_db
def test_administrators(password):
    assert only(content.examine_administrators(NOBODY)).level is Level.WARNING

    user = create_user(email="grace@example.com", password=password, is_administrator=True)
    assert "second factor" in only(content.examine_administrators(NOBODY)).what

    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    assert only(content.examine_administrators(NOBODY)).level is Level.OK


def test_terms(organisation):
    assert only(content.examine_terms(NOBODY)).level is Level.WARNING

    publish_terms(organisation=organisation, text="Be kind.")
    assert only(content.examine_terms(NOBODY)).level is Level.OK


def test_demo_data_in_a_production_is_found_out(make_application, settings):
    settings.DEMO_MODE = False
    application = make_application("connection")
    assert only(content.examine_demo_data(NOBODY)).level is Level.OK

    type(application.row).objects.filter(pk=application.row.pk).update(client_id="demo-receipts")
    assert only(content.examine_demo_data(NOBODY)).level is Level.PROBLEM


# --- the examination --------------------------------------------------------------------------


def of(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> list[examination.Result]:
    """What an examination of these checks alone gives."""
    monkeypatch.setattr(examination, "CHECKS", checks)
    return list(examination.examine(NOBODY))


@pytest.mark.django_db
def test_check_that_fails_is_a_finding_and_the_next_ones_are_made(monkeypatch):
    def fails(patient: Patient) -> Iterator[Finding]:
        yield ok("so far")
        execute("SELECT 1 / 0")

    def succeeds(patient: Patient) -> Iterator[Finding]:
        execute("SELECT 1")
        yield ok("there")

    results = of(monkeypatch, Check("one", fails, needs_database=True), Check("two", succeeds, needs_database=True))

    assert [(result.check, result.finding.level) for result in results] == [
        ("one", Level.OK),
        ("one", Level.PROBLEM),
        ("two", Level.OK),
    ]
    assert "division by zero" in results[1].finding.what


@pytest.mark.django_db
def test_missing_table_is_only_the_migrations_problem(monkeypatch):
    def fails(patient: Patient) -> Iterator[Finding]:
        execute("SELECT * FROM no_such_table")
        yield ok("never")

    [result] = of(monkeypatch, Check("one", fails, needs_database=True))

    assert result.finding.level is Level.WARNING
    assert result.finding.advice == "Run manage.py migrate."


@pytest.mark.django_db
def test_check_that_waits_for_ever_is_left_alone(monkeypatch):
    free = threading.Event()

    def waits(patient: Patient) -> Iterator[Finding]:
        free.wait(60)
        yield ok("at last")

    monkeypatch.setattr(examination, "WAIT_SECONDS", 0.1)
    [result] = of(monkeypatch, Check("slow", waits, waits=True))
    free.set()

    assert result.finding.level is Level.PROBLEM
    assert "no answer" in result.finding.what


@pytest.mark.django_db
def test_time_is_bounded(monkeypatch):
    monkeypatch.setattr(examination, "TOTAL_SECONDS", -1)
    [result] = of(monkeypatch, Check("late", lambda patient: iter([ok("never")])))
    assert result.finding.level is Level.WARNING


@pytest.mark.django_db(transaction=True)
def test_sessions_are_left_as_they_were_all_the_time():
    """Through a pooler the session is the next one's as soon as a transaction has ended."""
    [(before,)] = database.read("SHOW statement_timeout")
    with CaptureQueriesContext(connection) as asked:
        for _ in examination.examine(NOBODY):
            assert database.read("SHOW statement_timeout") == [(before,)]
    settings = [query["sql"] for query in asked if "set_config" in query["sql"]]
    assert settings
    assert all("true)" in statement for statement in settings)


@pytest.mark.django_db(transaction=True)
def test_statement_that_takes_too_long_is_ended(monkeypatch):
    def dawdles(patient: Patient) -> Iterator[Finding]:
        execute("SELECT pg_sleep(30)")
        yield ok("never")

    monkeypatch.setattr(database, "STATEMENT_MILLISECONDS", 100)
    [result] = of(monkeypatch, Check("slow", dawdles, needs_database=True))
    assert result.finding.level is Level.PROBLEM
    assert "statement timeout" in result.finding.what


def test_every_check_is_listed_once():
    names = [check.name for check in examination.CHECKS + examination.CHECKS_OF_ADDRESS]
    assert len(names) == len(set(names))
    modules = (configuration, content, database, files, keys, mail, work)
    written = {value for module in modules for name, value in vars(module).items() if name.startswith("examine_")}
    assert written == {check.examine for check in examination.CHECKS}


@pytest.mark.django_db
def test_command_prints_a_line_for_each_finding_and_exits_with_the_worst():
    output = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("doctor", stdout=output, no_color=True)
    lines = [line for line in output.getvalue().splitlines() if line]

    assert end.value.code == Level.PROBLEM  # the tests' own settings are those of a demo
    assert len(lines) >= len(examination.CHECKS) + 1
    assert all(line.split()[0] in ("ok", "warning", "problem") for line in lines[:-1])


@pytest.mark.django_db
def test_command_prints_json():
    output = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", json=True, stdout=output)
    report = json.loads(output.getvalue())

    assert report["verdict"] == "problem"
    assert {entry["check"] for entry in report["checks"]} == {check.name for check in examination.CHECKS}
    assert os.environ["SECRET_KEY"] not in output.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "1 second"), (90, "90 seconds"), (7200, "2 hours"), (9e6, "104 days")]
)
def test_spans_are_said_as_people_say_them(seconds, words):
    assert span(seconds) == words
