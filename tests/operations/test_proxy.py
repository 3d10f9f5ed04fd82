"""The reverse proxy of docker-compose.yml, run for real before a production server: deploy/caddy/Caddyfile."""

import contextlib
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from django.conf import settings
from django.core.signing import TimestampSigner

from apps.operations.mirror import HEADER
from apps.sealing import derive_secret_of
from tests.ports import free_port

PASSWORD = "correct horse battery staple"
METADATA = "/.well-known/oauth-authorization-server"

pytestmark = pytest.mark.timeout(300)


class Site:
    """A production server at one port, and Caddy before it at two others."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.http_port, self.https_port, web_port = free_port(), free_port(), free_port()
        self.database_url = database_url
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "VAR_DIR") if name in os.environ}
        self.environment = {
            **kept,
            "SECRET_KEY": secrets.token_urlsafe(64),
            "DATABASE_URL": database_url,
            "ALLOWED_HOSTS": "localhost",
            # For localhost it is left out otherwise.
            "HSTS_SECONDS": "63072000",
            "EMAIL_URL": "consolemail://",
            "TRUSTED_PROXIES": "1",
            "PORT": str(web_port),
        }
        self.proxy_environment = {
            **kept,
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "HTTP_PORT": str(self.http_port),
            "HTTPS_PORT": str(self.https_port),
            "WEB_HOST": "localhost",
            "WEB_PORT": str(web_port),
            "LONG_BODIES_PORT": str(free_port()),
        }

    def manage(self, *arguments: str, typed: str = "") -> None:
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(
            command, env=self.environment, cwd=settings.BASE_DIR, check=True, input=typed, text=True, timeout=120
        )

    @contextlib.contextmanager
    def running(self) -> Iterator["Site"]:
        caddy = [str(Path(sys.executable).with_name("caddy")), "run", "--config", "deploy/caddy/Caddyfile"]
        commands = [([sys.executable, "manage.py", "serve"], self.environment), (caddy, self.proxy_environment)]
        self.processes = [subprocess.Popen(command, env=env, cwd=settings.BASE_DIR) for command, env in commands]
        try:
            deadline = time.monotonic() + 120
            while not self._is_up():
                assert all(process.poll() is None for process in self.processes)
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield self
        finally:
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                process.wait(timeout=90)

    @contextlib.contextmanager
    def without_web_server(self) -> Iterator[None]:
        """Stop it; afterwards there is a new one."""
        web, _ = self.processes
        web.terminate()
        web.wait(timeout=90)
        yield
        self.processes[0] = subprocess.Popen(
            [sys.executable, "manage.py", "serve"], env=self.environment, cwd=settings.BASE_DIR
        )

    def _is_up(self) -> bool:
        try:
            with self.browser() as browser:
                return browser.get(METADATA).status_code < 500
        except (OSError, httpx.HTTPError):
            return False

    def browser(self) -> httpx.Client:
        """A client that trusts the proxy's authority and no other."""
        trusted = ssl.create_default_context(cafile=self.folder / "caddy/pki/authorities/local/root.crt")
        return httpx.Client(base_url=f"https://localhost:{self.https_port}", verify=trusted, timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with an organisation and a user."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    name = f"proxy_{secrets.token_hex(4)}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        made = Site(tmp_path_factory.mktemp("caddy"), parts._replace(path=f"/{name}").geturl())
        made.manage("migrate", "--verbosity", "0")
        made.manage("create_organisation", "--slug=a", "--name=A", "--domain=localhost")
        made.manage("create_user", "--email=someone@example.com", typed=f"{PASSWORD}\n")
        with made.running():
            yield made
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_http_is_redirected_to_https(site: Site) -> None:
    answer = httpx.get(f"http://localhost:{site.http_port}/account/login/?next=/")
    assert answer.status_code == 308
    assert answer.headers["Location"] == "https://localhost/account/login/?next=/"


def test_pages_arrive_over_https_with_the_server_believing_it(site: Site) -> None:
    with site.browser() as browser:
        answer = browser.get("/account/login/")
    assert answer.status_code == 200
    # Not for the names below this one, and not for browsers' lists: others may serve those.
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_what_is_for_machines_inside_is_not_shown_outside(site: Site, path: str) -> None:
    with site.browser() as browser:
        answer = browser.get(path)
    assert (answer.status_code, answer.content) == (404, b"")


def test_request_line_of_16_kilobytes_passes(site: Site) -> None:
    with site.browser() as browser:
        assert browser.get(METADATA, params={"ignored": "a" * 16_000}).status_code == 200


def test_head_of_more_than_64_kilobytes_is_refused(site: Site) -> None:
    with site.browser() as browser:
        assert browser.get(METADATA, headers={"X-Ignored": "a" * 80_000}).status_code == 431


def test_body_of_more_than_5_megabytes_is_refused(site: Site) -> None:
    with site.browser() as browser:
        assert browser.post("/oauth/token", content=b"a" * 5_100_000).status_code == 413


def test_log_in_works_and_the_trail_has_the_address_of_the_client_and_not_what_it_claims(site: Site) -> None:
    with site.browser() as browser:
        page = browser.get("/account/login/")
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert found is not None
        fields = {"csrfmiddlewaretoken": found[1], "login": "someone@example.com", "password": PASSWORD}
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "Referer": str(page.url)}
        forged |= {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "http"}
        answer = browser.post("/account/login/", data=fields, headers=forged)
        assert answer.status_code == 302, answer.text
        assert {cookie.name for cookie in browser.cookies.jar if cookie.secure} >= {"__Host-countersign_session"}
        assert browser.get("/account/").status_code == 200
    with psycopg.connect(site.database_url) as connection:
        rows = connection.execute("SELECT DISTINCT host(address) FROM audit_auditperson WHERE address IS NOT NULL")
        assert {row[0] for row in rows} == {"127.0.0.1"}


def adapted(networks: str) -> dict[str, Any]:
    """Caddy's own reading of the file, with these networks of a CDN."""
    caddy = str(Path(sys.executable).with_name("caddy"))
    command = [caddy, "adapt", "--adapter", "caddyfile", "--config", "deploy/caddy/Caddyfile"]
    environment = {"PATH": os.environ["PATH"], "COUNTERSIGN_CDN": networks}
    read = subprocess.run(command, env=environment, cwd=settings.BASE_DIR, check=True, capture_output=True)
    servers: dict[str, Any] = json.loads(read.stdout)["apps"]["http"]["servers"]
    [server] = [each for each in servers.values() if ":443" in each["listen"]]
    return server


def test_only_the_networks_of_a_named_cdn_are_believed_whom_they_call_for() -> None:
    assert not adapted("")["trusted_proxies"].get("ranges")
    server = adapted("203.0.113.0/24 2001:db8::/32")
    assert server["trusted_proxies"] == {"source": "static", "ranges": ["203.0.113.0/24", "2001:db8::/32"]}
    assert server["trusted_proxies_strict"]


def test_request_waits_while_the_web_server_is_replaced(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool, site.browser() as browser:
        with site.without_web_server():
            answer = pool.submit(browser.post, "/oauth/token", data={"grant_type": "password"}, timeout=90)
            # Longer than a new one takes to start.
            time.sleep(5)
            assert not answer.done()
        assert answer.result().status_code in (400, 401)


def test_clients_that_send_half_a_body_hold_up_nobody(site: Site) -> None:
    """Each would hold a thread of the web server, of which there are about ten."""
    trusted = ssl.create_default_context(cafile=site.folder / "caddy/pki/authorities/local/root.crt")
    head = b"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\n\r\ngrant_type="
    with contextlib.ExitStack() as stack, site.browser() as browser:
        for _ in range(60):
            plain = stack.enter_context(socket.create_connection(("localhost", site.https_port), timeout=60))
            stack.enter_context(trusted.wrap_socket(plain, server_hostname="localhost")).sendall(head)
        statuses = [browser.get(METADATA).status_code for _ in range(5)]
    assert statuses == [200] * 5


def test_strangers_choose_neither_the_id_of_a_request_nor_a_trace(site: Site) -> None:
    made_up = {"X-Request-ID": "made-up", "X_Request_ID": "made-up", "Traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    key = derive_secret_of(site.environment["SECRET_KEY"], "doctor")
    made_up |= {"Tracestate": "a=b", HEADER: TimestampSigner(key=key, salt="mirror").sign("pass")}
    with site.browser() as browser:
        ids = {browser.get(METADATA, headers=made_up).headers["X-Request-ID"] for _ in range(2)}
        seen = browser.get("/operations/mirror", headers=made_up).json()
    assert len(ids) == 2
    assert "made-up" not in ids
    assert seen["request_id"] != "made-up"
    assert seen["traceparent"] == ""
