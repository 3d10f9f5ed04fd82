"""How much of a body deploy/caddy/Caddyfile takes, and what half-sent ones cost it in memory: a real Caddy."""

import contextlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from django.conf import settings

from tests.ports import free_port

HERE = "127.0.0.1"
MEBIBYTE = 1024 * 1024
SESSION = {"Cookie": "__Host-countersign_session=anything"}
BACKEND = {"Authorization": "Bearer anything"}
VISITOR = "203.0.113.7"
#: Of all that a test opens at the same time; each kind of long body has eight places.
MANY = 60

pytestmark = pytest.mark.timeout(300)


class Upstream(http.server.ThreadingHTTPServer):
    """In the web server's place: answers with the number of bytes that it got, and keeps the heads."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HERE, 0), Answer)
        self.heads: list[dict[str, str]] = []


class Answer(http.server.BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
        answer = str(len(self._body())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Proxy:
    """A Caddy before an upstream."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, upstream: Upstream) -> None:
        self.process, self.port, self.upstream = process, port, upstream

    def post(self, path: str, headers: dict[str, str], content: Any) -> httpx.Response:
        return httpx.post(f"http://{HERE}:{self.port}{path}", headers=headers, content=content, timeout=60)

    def send_half(self, path: str, headers: dict[str, str], size: int) -> socket.socket:
        """Begin a request whose last byte never comes; what the proxy does not take within a second is not sent."""
        client = socket.create_connection((HERE, self.port), timeout=1)
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {size}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with contextlib.suppress(OSError):
            client.sendall("\r\n".join([*lines, "", ""]).encode() + bytes(size - 1))
        return client

    def memory(self) -> int:
        """Return the bytes that it has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [kibibytes] = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kibibytes) * 1024


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    upstream = Upstream()
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    compose = yaml.safe_load((Path(settings.BASE_DIR) / "docker-compose.yml").read_text())
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "GOMEMLIMIT": compose["services"]["proxy"]["environment"]["GOMEMLIMIT"],
        "COUNTERSIGN_SITES": "http://",
        "HTTP_PORT": str(port),
        "WEB_HOST": "localhost",
        "WEB_PORT": str(upstream.server_address[1]),
        "LONG_BODIES_PORT": str(free_port()),
        "COUNTERSIGN_CDN": "private_ranges",
    }
    command = [str(Path(sys.executable).with_name("caddy")), "run", "--config", "deploy/caddy/Caddyfile"]
    process = subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                socket.create_connection((HERE, port), timeout=5).close()
                break
            time.sleep(0.1)
        yield Proxy(process, port, upstream)
    finally:
        process.kill()
        process.wait(timeout=60)
        upstream.shutdown()
        upstream.server_close()


@pytest.mark.parametrize(
    ("path", "headers", "most"),
    [
        ("/oauth/token", {}, 64 * 1024),
        ("/account/login/", SESSION, 64 * 1024),
        ("/api/notifications", BACKEND, 2 * MEBIBYTE),
        ("/developer/applications/a/branding/", SESSION, 4_900_000),
        ("/review/applications/a/", SESSION, 2_500_000),
        ("/admin/organisations/organisation/1/change/", SESSION, 4_900_000),
    ],
)
def test_each_door_takes_what_it_has_to_take_and_no_more(
    proxy: Proxy, path: str, headers: dict[str, str], most: int
) -> None:
    answer = proxy.post(path, headers, bytes(most))
    assert (answer.status_code, answer.text) == (200, str(most))
    more = 5_100_000 if most > 2 * MEBIBYTE else most * 11 // 10
    assert proxy.post(path, headers, bytes(more)).status_code == 413
    assert len(proxy.upstream.heads) == 1


@pytest.mark.parametrize("path", ["/api/notifications", "/developer/applications/a/branding/", "/admin/"])
def test_nobody_without_a_session_or_a_token_has_a_long_body_read(proxy: Proxy, path: str) -> None:
    assert proxy.post(path, {}, bytes(100_000)).status_code == 413
    assert proxy.post(path, {}, bytes(1000)).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "most"),
    [("/oauth/token", {}, 60_000), ("/api/notifications", BACKEND, 2_000_000), ("/admin/", SESSION, 4_900_000)],
)
def test_body_that_does_not_announce_its_size_is_cut_off_at_the_same(
    proxy: Proxy, path: str, headers: dict[str, str], most: int
) -> None:
    def pieces(size: int) -> Iterator[bytes]:
        yield from (bytes(10_000) for _ in range(size // 10_000))

    answer = proxy.post(path, headers, pieces(most))
    assert (answer.status_code, answer.text) == (200, str(most))
    with contextlib.suppress(httpx.TransportError):
        assert proxy.post(path, headers, pieces(most + 300_000)).status_code >= 400


def test_web_server_is_told_the_same_of_a_long_request_as_of_a_short_one(proxy: Proxy) -> None:
    told = {"X-Forwarded-For": VISITOR, "X-Forwarded-Proto": "https", "Host": "sign.example.com"}
    told |= {"X_Forwarded_For": "198.51.100.9", "X-Request-ID": "made-up", "Traceparent": "made-up", **SESSION}
    for size in (1000, 1_000_000):
        assert proxy.post("/admin/", told, bytes(size)).status_code == 200
    short, long = proxy.upstream.heads
    assert long["x-request-id"] not in ("made-up", short["x-request-id"])
    assert short["x-forwarded-for"] == f"{VISITOR}, {HERE}"
    assert "traceparent" not in long
    for head in (short, long):
        del head["x-request-id"], head["content-length"]
    assert long == short


@pytest.mark.parametrize(
    ("path", "headers", "size"),
    [
        ("/admin/", SESSION, 4_990_000),
        ("/api/notifications", BACKEND, 2_090_000),
        ("/oauth/token", {}, 65_000),
        ("/oauth/token", {}, 4_990_000),
    ],
)
def test_many_half_bodies_do_not_fill_the_memory_nor_hold_up_what_is_short(
    proxy: Proxy, path: str, headers: dict[str, str], size: int
) -> None:
    """Memory is bounded by the number of long bodies that are read at a time, not by that of clients."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(MANY) as pool:
        for client in pool.map(lambda _: proxy.send_half(path, headers, size), range(MANY)):
            stack.enter_context(client)
        assert proxy.upstream.heads == []
        assert proxy.post("/oauth/token", {}, bytes(1000)).status_code == 200
        most = proxy.memory()
    # Their places are free again.
    whole = min(size, 1_000_000) if headers else 1000
    assert proxy.post(path, headers, bytes(whole)).status_code == 200
    assert most < 360 * MEBIBYTE
