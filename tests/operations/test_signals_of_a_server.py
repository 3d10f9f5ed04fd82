"""The signs of life of a whole server: `manage.py serve` with its processes, as production starts it."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlencode, urlsplit

import psutil
import pytest
from django.conf import settings
from django.db import connection

from tests.operations.test_metrics import samples_of
from tests.ports import free_port
from tests.telemetry.test_traces import Collector, facts

TOKEN = secrets.token_urlsafe(24)


class Server:
    """A server of two processes on the test's database, or a worker; its temporary folder is `folder`."""

    def __init__(self, folder, *, command="serve", **variables):
        self.port = free_port()
        self.log = folder / "log"
        database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
        environment = os.environ | {
            "DATABASE_URL": database.geturl(),
            "ENVIRONMENT": "development",
            "LOG_FORMAT": "json",
            "ACCESS_LOG": "1",
            "PORT": str(self.port),
            "WEB_PROCESSES": "2",
            "METRICS_TOKEN": TOKEN,
            "TRUSTED_PROXIES": "1",
            "TMPDIR": str(folder),
            **variables,
        }
        with self.log.open("wb") as log:
            program = [sys.executable, "manage.py", command]
            self.process = subprocess.Popen(program, cwd=settings.BASE_DIR, env=environment, stdout=log, stderr=log)

    def send(self, method, path, *, body=None, host="testserver", **headers):
        """Send one request over a connection of its own; returns status, headers and body."""
        exchange = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"Host": host}
            if body is not None:
                body = urlencode(body)
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            exchange.request(method, path, body, headers)
            response = exchange.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            exchange.close()

    def wait_until_alive(self):
        deadline = time.monotonic() + 90
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            try:
                if self.send("GET", "/livez")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.1)

    def scrape(self):
        status, _headers, text = self.send("GET", "/metrics", host="10.1.2.3", Authorization=f"Bearer {TOKEN}")
        assert status == 200
        return samples_of(text)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=90)

    def kill(self):
        """End it where no test looks at how it ends: a process that is still starting, in the place of one that was
        killed, does not hear that it should stop, and granian waits for it.
        """
        family = [psutil.Process(self.process.pid)] if self.process.poll() is None else []
        family += [child for each in family for child in each.children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait(timeout=60)


@pytest.fixture
def server(transactional_db, tmp_path):
    running = Server(tmp_path)
    try:
        yield running.wait_until_alive()
    finally:
        running.kill()


def test_server_that_is_stopped_sends_its_last_traces(transactional_db, organisation, tmp_path):
    """A request just before the stop, long before the next batch is due."""
    collector = Collector()
    server = Server(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="60000")
    try:
        server.wait_until_alive()
        _status, headers, _body = server.send("GET", "/account/login/?next=/kept-to-ourselves/")
    finally:
        server.end()
        collector.stop()

    [request] = collector.named("GET account_login")
    assert facts(request)["countersign.request_id"] == headers["x-request-id"]
    assert b"kept-to-ourselves" not in b"".join(collector.bodies)


@pytest.mark.timeout(300)
def test_worker_tells_what_it_did_at_its_own_port(transactional_db, tmp_path):
    with connection.cursor() as cursor:  # nobody has queued this minute's yet
        cursor.execute("DELETE FROM procrastinate_periodic_defers")
    port = free_port()
    worker = Server(tmp_path, command="work", METRICS_PORT=str(port))
    worker.port = port
    ran = ("countersign_jobs_total", ("outcome", "ok"), ("task", "apps.organisations.tasks.resume_jobs"))
    try:
        deadline = time.monotonic() + 180
        told = {}
        while ran not in told:  # each minute's first job
            assert worker.process.poll() is None, worker.log.read_text()
            assert time.monotonic() < deadline, worker.log.read_text()
            time.sleep(0.2)
            with contextlib.suppress(OSError):
                told = worker.scrape()
        assert worker.send("GET", "/metrics", Authorization="Bearer wrong")[0] == 401
    finally:
        worker.end()


def test_worker_whose_port_is_taken_says_so(transactional_db, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = Server(tmp_path, command="work", METRICS_PORT=str(port))
        assert worker.process.wait(timeout=60) != 0

    assert f"METRICS_PORT={port} cannot be listened at: Address already in use." in worker.log.read_text()


def test_processes_tell_together_what_each_has_done_and_log_objects(server, make_application, connect, refresh):
    application = make_application("portal")
    tokens = connect(application)
    known = {"client secret": application.secret, "state": f"state-{secrets.token_hex(8)}", **tokens}
    del known["expires_in"], known["token_type"], known["scope"]

    status, _headers, readiness = server.send("GET", "/readyz", host="10.1.2.3")  # as a kubelet asks
    assert status == 200, readiness + server.log.read_text()
    ids = []
    for number in range(20):
        fields = {"grant_type": "refresh_token", "refresh_token": f"made-up-{number}", **application.credentials}
        status, headers, _body = server.send("POST", "/oauth/token", body=fields, X_Request_ID=f"proxy-{number}")
        assert status == 400
        ids.append(headers["x-request-id"])
    server.send("GET", f"/oauth/authorize?client_id={application.client_id}&state={known['state']}")
    counted = ("countersign_oauth_requests_total", ("door", "token"), ("grant", "refresh_token"))
    assert server.scrape()[*counted, ("outcome", "invalid_grant")] == 20

    # One process dies and is replaced: what it had counted stays.
    workers = psutil.Process(server.process.pid).children()
    workers[0].kill()
    deadline = time.monotonic() + 90
    while len([one for one in psutil.Process(server.process.pid).children() if one not in workers]) < 1:
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.1)
    server.wait_until_alive()
    assert server.scrape()[*counted, ("outcome", "invalid_grant")] == 20

    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    access = [line for line in map(json.loads, lines) if line.get("logger") == "countersign.access"]
    assert [line["request_id"] for line in access if line["door"] == "token"] == ids
    assert ids == [f"proxy-{number}" for number in range(20)]
    for what, secret in known.items():
        assert secret not in server.log.read_text(), what
    assert "made-up" not in server.log.read_text()
