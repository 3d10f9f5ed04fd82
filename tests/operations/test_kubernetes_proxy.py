"""The proxy in each pod of deploy/kubernetes/web.yaml: a real Caddy with the manifest's variables."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.conf import settings

from tests.ports import free_port

#: Who asks the proxy here, as the ingress controller does in a cluster: a private address.
CONTROLLER = "127.0.0.1"
VISITOR = "203.0.113.7"


class Upstream(http.server.ThreadingHTTPServer):
    """Notes the head of each request as soon as it is there, and answers when it has the body."""

    def __init__(self) -> None:
        super().__init__((CONTROLLER, 0), Answer)
        self.heads: list[dict[str, str]] = []


class Answer(http.server.BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(upstream: Upstream, tmp_path: Path) -> Iterator[int]:
    """The proxy; yields its port."""
    text = (Path(settings.BASE_DIR) / "deploy/kubernetes/web.yaml").read_text()
    [container] = yaml.safe_load(text)["spec"]["template"]["spec"]["initContainers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    port = free_port()
    own = {"HTTP_PORT": str(port), "WEB_PORT": str(upstream.server_address[1]), "LONG_BODIES_PORT": str(free_port())}
    folders = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    command = [str(Path(sys.executable).with_name("caddy")), "run", "--config", "deploy/caddy/Caddyfile"]
    environment = {"PATH": os.environ["PATH"], **given, **own, **folders}
    process = subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                socket.create_connection((CONTROLLER, port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_half_a_body_does_not_reach_the_web_server(proxy: int, upstream: Upstream) -> None:
    """Whichever ingress controller is in front: each would hold one of about ten threads, and with them /livez."""
    head = b"POST /oauth/token HTTP/1.1\r\nHost: sign.example.com\r\nContent-Length: 10\r\n\r\n"
    with socket.create_connection((CONTROLLER, proxy), timeout=60) as client:
        client.sendall(head + b"half ")
        time.sleep(2)
        assert upstream.heads == []
        client.sendall(b"a body"[:5])
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert len(upstream.heads) == 1


def test_controller_is_believed_whom_it_calls_for_and_strangers_headers_are_dropped(
    proxy: int, upstream: Upstream
) -> None:
    sent = {"X-Forwarded-For": VISITOR, "X-Forwarded-Proto": "https", "Host": "sign.example.com"}
    sent |= {"X_Forwarded_For": "198.51.100.9", "X-Request-ID": "made-up", "Traceparent": "made-up"}
    answer = httpx.post(f"http://{CONTROLLER}:{proxy}/oauth/token", headers=sent, content=b"a")
    assert answer.status_code == 200
    [head] = upstream.heads
    # The controller and this proxy: TRUSTED_PROXIES=2.
    assert head["x-forwarded-for"] == f"{VISITOR}, {CONTROLLER}"
    assert head["x-forwarded-proto"] == "https"
    assert head["host"] == "sign.example.com"
    assert "x_forwarded_for" not in head
    assert head["x-request-id"] != "made-up"
    assert "traceparent" not in head


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_what_is_for_machines_inside_is_answered_by_nobody(proxy: int, upstream: Upstream, path: str) -> None:
    assert httpx.get(f"http://{CONTROLLER}:{proxy}{path}", headers={"X-Forwarded-For": VISITOR}).status_code == 404
    assert upstream.heads == []


def test_number_of_proxies_is_told_to_the_web_server() -> None:
    folder = Path(settings.BASE_DIR) / "deploy/kubernetes"
    [config] = yaml.safe_load((folder / "kustomization.yaml").read_text())["configMapGenerator"]
    assert "TRUSTED_PROXIES=2" in config["literals"]
