"""Log lines: one JSON object each, with the request's id and without a secret."""

import json
import logging
import os
import subprocess
import sys
import uuid
from urllib.parse import quote

import pytest
from django.conf import settings
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.audit import trail
from apps.telemetry.logs import JsonFormatter, LineFormatter
from tests.conftest import queue_mails, run_worker


def objects(lines):
    found = [json.loads(line) for line in lines]
    assert all(isinstance(one, dict) for one in found)
    return found


def access_lines(lines):
    return [line for line in objects(lines) if line["logger"] == "countersign.access"]


# --- request ids --------------------------------------------------------------------------------------


def test_every_answer_has_an_id_of_its_own(db):
    first, second = (Client().get("/account/login/")["X-Request-ID"] for _ in range(2))

    assert first != second
    assert len(first) == len(second) == 16


def test_id_of_the_own_proxy_is_taken_over(settings, db):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    presented = f"proxy-{uuid.uuid4()}"

    assert Client().get("/nowhere", headers={"x-request-id": presented})["X-Request-ID"] == presented


@pytest.mark.parametrize("presented", ["", "x" * 65, "two words", 'quo"te', "line\nbreak", "ümlaut", "a,b", "<b>"])
def test_id_that_is_none_is_replaced(settings, db, presented):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1

    assert Client().get("/nowhere", headers={"x-request-id": presented})["X-Request-ID"] != presented


def test_id_of_a_stranger_is_replaced(db):
    assert Client().get("/nowhere", headers={"x-request-id": "stranger"})["X-Request-ID"] != "stranger"


# --- the access log -------------------------------------------------------------------------------------


def test_each_request_has_a_line_with_its_door_and_outcome(log_lines, application, browser, exchange):
    response = exchange(application, browser.authorize(application), client_secret="wrong")

    line = access_lines(log_lines())[-1]
    assert (line["door"], line["method"], line["status"]) == ("token-receipts", "POST", 401)
    assert (line["grant"], line["outcome"]) == ("authorization_code", "invalid_client")
    assert line["request_id"] == response["X-Request-ID"]
    assert line["ms"] > 0
    assert line["level"] == "INFO"
    assert line["time"].endswith("+00:00")


def test_door_without_its_slash_goes_by_the_same_name(log_lines, db):
    Client().post("/open_auth/token")
    Client().post("/open_auth/token/")

    assert [line["door"] for line in access_lines(log_lines())] == ["token-campus"] * 2


def test_address_is_in_the_line_only_if_the_host_wants_it(log_lines, settings, db):
    Client().get("/nowhere", REMOTE_ADDR="192.0.2.77")
    assert "192.0.2.77" not in "".join(log_lines())

    settings.AUDIT_LOG_ADDRESSES = True
    Client().get("/nowhere", REMOTE_ADDR="192.0.2.77")
    assert access_lines(log_lines())[-1]["address"] == "192.0.2.77"


def test_access_log_can_be_off(log_lines, db):
    logging.getLogger("countersign.access").setLevel(logging.WARNING)

    Client().get("/nowhere")

    assert access_lines(log_lines()) == []


@pytest.mark.parametrize(
    ("level", "expected"),
    [("INFO", ["access", "trouble", "audit"]), ("warning", ["trouble", "audit"]), ("ERROR", ["audit"])],
)
def test_nothing_below_the_level_is_logged_but_the_audit_trail(level, expected):
    code = """
import logging
import django

django.setup()
logging.getLogger("countersign.access").info("access")
logging.getLogger("procrastinate").warning("trouble")
logging.getLogger("countersign.audit").info("audit")
"""
    environment = {"LOG_LEVEL": level, "LOG_FORMAT": "line", "ACCESS_LOG": "1"}
    environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stderr.splitlines()] == expected


# --- what must not be in it -----------------------------------------------------------------------------


def test_no_line_of_a_visit_has_a_secret_or_who_it_was(
    log_lines, visit, assert_absent, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        known = visit()

    lines = log_lines()
    assert len(access_lines(lines)) >= 15
    # A client's id is in none either; the audit trail names applications by our own ids.
    assert_absent(known, "\n".join(lines))


def test_fault_is_logged_with_its_place_and_without_its_words(log_lines, settings, db, member, password):
    settings.ROOT_URLCONF = "tests.telemetry.urls_that_fail"
    client = Client(raise_request_exception=False)
    form = {"email": member.email, "password": password}
    key = f"key-{uuid.uuid4()}"

    answers = [client.post("/fails/words/" + key + "/", form), client.post("/fails/database/", form)]

    assert [answer.status_code for answer in answers] == [500, 500]
    words, database = (line for line in objects(log_lines()) if line["logger"] == "django.request")
    assert [words["request_id"], database["request_id"]] == [answer["X-Request-ID"] for answer in answers]
    assert "ValueError" in words["exception"]
    assert "RuntimeError" in words["exception"]
    assert "urls_that_fail.py" in words["exception"]
    assert words["message"] == "Internal Server Error: fails-words"
    assert "23505" in database["exception"]
    assert "one_of_each" in database["exception"]
    text = "\n".join(log_lines())
    for secret in (member.email, password, key):
        assert secret not in text


def test_lines_for_people_have_no_words_of_an_exception_either(password):
    try:
        int(password)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "went wrong", (), sys.exc_info())

    hidden = LineFormatter("%(message)s").format(record)
    record.exc_text = None
    shown = LineFormatter("%(message)s", shows_messages=True).format(record)

    assert password not in hidden
    assert "ValueError" in hidden
    assert password in shown


def test_groups_and_causes_are_told_without_their_words(password):
    try:
        try:
            raise ExceptionGroup(password, [ValueError(password), OSError(13, password)])
        except ExceptionGroup as error:
            raise RuntimeError(password) from error
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "went wrong", (), sys.exc_info())

    told = json.loads(JsonFormatter().format(record))["exception"]

    assert all(name in told for name in ("RuntimeError", "ExceptionGroup", "ValueError", "PermissionError: errno 13"))
    assert password not in told


def test_text_with_line_breaks_stays_one_line():
    record = logging.LogRecord("x", logging.INFO, __file__, 1, 'a\nb\r"%s"', ("\u2028c",), None)

    line = JsonFormatter().format(record)

    assert len(line.split("\n")) == 1
    assert json.loads(line)["message"] == 'a\nb\r"\u2028c"'


@pytest.mark.parametrize("letters", ["é", "漢字", "a\\b"])
def test_path_of_a_fault_is_in_no_line_however_django_writes_it(log_lines, settings, db, letters):
    settings.ROOT_URLCONF = "tests.telemetry.urls_that_fail"
    key = f"key-{uuid.uuid4()}"

    Client(raise_request_exception=False).post(f"/fails/words/{quote(key + letters)}/", {"password": "y"})

    [line] = (line for line in objects(log_lines()) if line["logger"] == "django.request")
    assert line["message"] == "Internal Server Error: fails-words"
    assert key not in "\n".join(log_lines())


# --- what a person can quote ------------------------------------------------------------------------------


def test_error_page_names_the_reference(settings, db):
    settings.ROOT_URLCONF = "tests.telemetry.urls_that_fail"

    answer = Client(raise_request_exception=False).post("/fails/words/x/", {"password": "y"})

    assert f"<code>{answer['X-Request-ID']}</code>" in answer.content.decode()


# --- the audit trail and the queue --------------------------------------------------------------------------


def test_audit_line_has_the_request_id(log_lines, browser, application, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        browser.authorize(application)

    lines = objects(log_lines())
    ids = {line["request_id"] for line in lines if line["logger"] == "countersign.access"}
    audited = [json.loads(line["message"]) for line in lines if line["logger"] == "countersign.audit"]
    assert audited
    assert {line["request_id"] for line in audited} <= ids


def test_audit_line_outside_of_a_request_has_none(log_lines, db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        trail.record("server:audit:tested")

    [line] = objects(log_lines())
    assert "request_id" not in json.loads(line["message"])


def test_job_is_followed_from_its_queueing_to_its_own_lines(log_lines, transactional_db, settings):
    """What queues it says its number; what it logs goes by that number."""
    settings.EMAIL_BACKEND = "tests.telemetry.broken_mail.BrokenBackend"
    ProcrastinateJob.objects.all().delete()  # Django does not empty tables that are not its own

    queue_mails("somebody@example.com")
    run_worker(queues=["mail"])

    lines = objects(log_lines())
    [queued] = [line["message"] for line in lines if line["logger"] == "apps.organisations.queue"]
    [failed] = [line for line in lines if line["logger"] == "apps.organisations.tasks"]
    assert queued == f"Queued {failed['request_id']}."
    assert failed["door"] == "apps.organisations.tasks.send_mail"
    assert "somebody" not in "\n".join(log_lines())
