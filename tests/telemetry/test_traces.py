"""Traces: sent to a real receiver, which looks at every byte."""

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.telemetry import spans, tracing
from apps.tokens import keys
from apps.webhooks.services import send_test, set_endpoint
from tests.conftest import run_worker
from tests.ports import free_port
from tests.webhooks.receivers import receiving, respond

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector:
    """A receiver of traces (OTLP over HTTP)."""

    def __init__(self):
        self.bodies = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                assert self.path == "/v1/traces"
                collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    @property
    def resources(self):
        return [of for body in self.bodies for of in ExportTraceServiceRequest.FromString(body).resource_spans]

    @property
    def spans(self):
        return [span for of in self.resources for scope in of.scope_spans for span in scope.spans]

    def named(self, name):
        return [span for span in self.spans if span.name == name]


def facts(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture
def trace_to(transactional_db, monkeypatch):
    """Begin to trace, as a process does that starts; returns what ends it."""
    started = []

    def start(url):
        active = spans.Tracing(endpoint=url, service_name="countersign-test")
        started.append(active)
        monkeypatch.setattr(tracing, "active", active)
        connection.close()  # so that the next one is a new one
        return active

    yield start
    for active in started:
        active.stop()
    connection.execute_wrappers.clear()


def test_requests_statements_and_their_places_are_sent(collector, trace_to, make_application, connect):
    keys.signing_key("RS256")  # loaded once per process
    active = trace_to(collector.url)

    connect(make_application("customer"))
    active.stop()

    [exchange] = collector.named("POST token")
    assert facts(exchange) == {
        "http.request.method": "POST",
        "http.route": "token",
        "http.response.status_code": 200,
        "countersign.outcome": "ok",
        "countersign.request_id": facts(exchange)["countersign.request_id"],
    }
    statements = [span for span in collector.spans if span.parent_span_id == exchange.span_id]
    assert [span.name for span in statements] == ["SELECT", "SELECT", "WITH"]
    assert all(facts(span)["db.system.name"] == "postgresql" for span in statements)
    assert all(span.trace_id == exchange.trace_id for span in statements)
    [name] = {one.value.string_value for one in collector.resources[0].resource.attributes if one.key == "service.name"}
    assert name == "countersign-test"


def test_nothing_secret_or_personal_is_sent(collector, trace_to, visit, assert_absent):
    active = trace_to(collector.url)

    known = visit()
    active.stop()

    assert len(collector.spans) > 100
    assert_absent(known, b"\n".join(collector.bodies).decode("latin-1"))


def test_fault_is_sent_without_its_words(collector, trace_to, settings, member, password):
    settings.ROOT_URLCONF = "tests.telemetry.urls_that_fail"
    active = trace_to(collector.url)

    Client(raise_request_exception=False).post(
        "/fails/database/", {"email": member.email, "password": password}, headers={"cookie": f"a={password}"}
    )
    active.stop()

    [fault] = collector.named("POST fails-database")
    assert fault.status.code == fault.status.STATUS_CODE_ERROR
    refused = [span for span in collector.spans if facts(span).get("error.type")]
    assert [facts(span)["error.type"] for span in refused] == ["IntegrityError"]
    assert not any(span.events for span in collector.spans)
    for secret in (member.email, password):
        assert secret.encode() not in b"".join(collector.bodies)


def test_trace_of_the_own_proxy_goes_on(collector, trace_to, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    active = trace_to(collector.url)

    Client().get("/nowhere", headers={"traceparent": TRACEPARENT})
    active.stop()

    [span] = collector.named("GET unknown")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)


def test_trace_of_a_stranger_does_not(collector, trace_to):
    active = trace_to(collector.url)

    Client().get("/nowhere", headers={"traceparent": TRACEPARENT})
    active.stop()

    [span] = collector.named("GET unknown")
    assert span.trace_id.hex() != TRACE
    assert span.parent_span_id == b""


def test_log_lines_name_the_trace(collector, trace_to, log_lines):
    active = trace_to(collector.url)

    Client().get("/nowhere")
    active.stop()

    [span] = collector.named("GET unknown")
    assert f'"trace_id": "{span.trace_id.hex()}"' in log_lines()[-1]


def test_jobs_and_deliveries_are_sent_without_their_address(collector, trace_to, application):
    with receiving(respond()) as receiver:
        secrets = set_endpoint(application=application.row, actor=None, url=receiver.url)
        active = trace_to(collector.url)
        ProcrastinateJob.objects.all().delete()
        send_test(application=application.row)
        run_worker(queues=["webhooks"])
        active.stop()

    [job] = collector.named("apps.webhooks.tasks.deliver")
    [delivery] = collector.named("deliver webhook")
    assert delivery.trace_id == job.trace_id
    assert facts(delivery) == {"countersign.outcome": "delivered"}
    everything = b"".join(collector.bodies)
    assert receiver.url.encode() not in everything
    assert not any(secret.encode() in everything for secret in secrets.values())


def test_receiver_that_is_away_neither_breaks_nor_slows_a_request(trace_to, organisation):
    def slowest(count=20):
        times = []
        for _ in range(count):
            start = time.perf_counter()
            assert Client().get("/account/login/").status_code == 200
            times.append(time.perf_counter() - start)
        return sorted(times)[count // 2]

    slowest(3)
    before = slowest()
    active = trace_to(f"http://127.0.0.1:{free_port()}")

    # Whoever sent them in the request would wait a second before each new try.
    assert slowest() < before * 3 + 0.5

    start = time.perf_counter()
    active.stop()
    assert time.perf_counter() - start < spans.STOP_SECONDS + 10


def test_receiver_that_never_answers_does_not_keep_the_process(trace_to):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        active = trace_to(f"http://127.0.0.1:{silent.getsockname()[1]}")
        Client().get("/nowhere")

        start = time.perf_counter()
        active.stop()

        assert time.perf_counter() - start < spans.STOP_SECONDS + 10


@pytest.mark.parametrize(("endpoint", "imported"), [("", "False"), ("http://127.0.0.1:9", "True")])
def test_what_makes_spans_is_not_imported_without_a_receiver(endpoint, imported, monkeypatch):
    """It takes megabytes in every process."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    program = "import sys, config.wsgi; print('opentelemetry.sdk.trace' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=django_settings.BASE_DIR, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.strip() == imported, done.stderr
