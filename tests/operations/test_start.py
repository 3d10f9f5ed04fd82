"""`script/server`, run for real: it starts from nothing, says what is wrong in one line, and leaves nothing behind."""

import contextlib
import http.client
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
READY = "Ctrl-C ends it"
#: What script/test sets for the tests themselves; a start begins without.
SETTINGS = (
    "DATABASE_URL",
    "SECRET_KEY",
    "ENVIRONMENT",
    "DEBUG",
    "DEMO_MODE",
    "INSECURE_HTTP",
    "ALLOWED_HOSTS",
    "HOST",
    "PORT",
    "VAR_DIR",
)

pytestmark = pytest.mark.timeout(400)


class Start:
    """One run of script/server on a free port, with its output in a file."""

    def __init__(self, var: Path, **environment: str) -> None:
        self.port = free_port()
        self.output_file = var / "output.txt"
        clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        with self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                [str(CHECKOUT / "script" / "server")],
                env=clean | {"VAR_DIR": str(var), "PORT": str(self.port)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def wait_until_ready(self) -> "Start":
        deadline = time.monotonic() + 200
        while READY not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return self

    def get(self, url: str) -> tuple[int, str]:
        """Status and Location of the answer."""
        parts = urlsplit(url)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            with connection.getresponse() as answer:
                answer.read()
                return answer.status, answer.getheader("Location", "")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, with_signal: int) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=120)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Start]]:
    """Start script/server with these environment variables; whatever still runs at the end of the test is ended."""
    started: list[Start] = []

    def run(var: Path = tmp_path, **environment: str) -> Start:
        started.append(Start(var, **environment))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A start from nothing that is up, shared by the tests that only look at it."""
    running = Start(tmp_path_factory.mktemp("var"))
    try:
        yield running.wait_until_ready()
    finally:
        running.end(signal.SIGTERM)


def refusal(failed: Start) -> str:
    """The one line a failed start prints."""
    assert failed.process.wait(timeout=200) == 1, failed.output
    lines = failed.output.strip().splitlines()
    assert len(lines) == 1, failed.output
    assert lines[0].startswith("countersign: ")
    return lines[0]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Which of them are still running; a zombie is not."""
    running = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def test_start_tells_address_logins_and_links(server: Start) -> None:
    assert f"http://127.0.0.1:{server.port}/demo/" in server.output
    assert re.search(r"\S+@\S+  \S+", server.output)
    for door in ("/auth?", "/oauth/authorize?", "/oauth/authorise/?"):
        assert f"http://127.0.0.1:{server.port}{door}client_id=" in server.output


def test_printed_authorization_links_lead_to_the_login(server: Start) -> None:
    links = re.findall(r"http://127\.0\.0\.1:\d+/\S+client_id=\S+", server.output)
    assert len(links) == 3
    for link in links:
        status, location = server.get(link)
        assert status == 302, link
        assert "/login/" in location


def test_start_keeps_its_secrets_to_itself(server: Start) -> None:
    for name in ("secret-key", "environment.json", "demo.json"):
        mode = (server.output_file.parent / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600, name


def test_request_line_of_16_kilobytes_is_read(server: Start) -> None:
    assert server.get(f"/.well-known/oauth-authorization-server?ignored={'a' * 16_000}")[0] == 200


def test_dead_web_process_is_replaced(server: Start) -> None:
    [web] = [process for process in server.family() if "granian" in process.cmdline() and process.children()]
    one, other = web.children()
    one.kill()
    psutil.wait_procs([one], timeout=60)
    deadline = time.monotonic() + 90
    while set(alive(web.children())) <= {one, other}:
        assert time.monotonic() < deadline, server.output
        time.sleep(0.1)
    assert server.get("/.well-known/oauth-authorization-server")[0] == 200


def test_second_start_on_the_same_data_is_refused(server: Start, start: Callable[..., Start], tmp_path: Path) -> None:
    assert "in use by another start" in refusal(start(VAR_DIR=str(server.output_file.parent)))


def test_taken_port_is_refused(server: Start, start: Callable[..., Start]) -> None:
    assert f"port {server.port} on 127.0.0.1 is taken" in refusal(start(PORT=str(server.port)))


@pytest.mark.parametrize("port", ["none", "0", "65536"])
def test_impossible_port_is_refused(start: Callable[..., Start], port: str) -> None:
    assert "PORT has to be a number" in refusal(start(PORT=port))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://someone:secret-word@no-such-host.invalid/countersign", "check its host name"),
        ("postgresql://someone:secret-word@127.0.0.1:{free}/countersign", "is PostgreSQL running there"),
        ("postgresql:///countersign?host=/nonexistent", "is PostgreSQL running there"),
        ("mysql://someone:secret-word@127.0.0.1/countersign", "has to look like postgresql://"),
    ],
)
def test_unusable_database_is_refused_without_its_password(start: Callable[..., Start], url: str, reason: str) -> None:
    line = refusal(start(DATABASE_URL=url.format(free=free_port())))
    assert reason in line
    assert "secret-word" not in line


def test_unknown_database_is_refused(start: Callable[..., Start]) -> None:
    parts = urlsplit(os.environ["DATABASE_URL"])
    line = refusal(start(DATABASE_URL=parts._replace(path="/no_such_database").geturl()))
    assert "does not exist -- create it first" in line


def test_file_that_cannot_be_read_is_refused(start: Callable[..., Start]) -> None:
    assert "SECRET_KEY_FILE=/nonexistent cannot be read" in refusal(start(SECRET_KEY_FILE="/nonexistent"))


def test_unsafe_production_is_refused(start: Callable[..., Start]) -> None:
    refused = start(DEMO_MODE="0", INSECURE_HTTP="1", ALLOWED_HOSTS="*")
    assert refused.process.wait(timeout=200) == 1, refused.output
    assert "Traceback" not in refused.output
    for name in ("INSECURE_HTTP", "ALLOWED_HOSTS", "EMAIL_URL", "DEFAULT_FROM_EMAIL"):
        assert f"  {name} " in refused.output, refused.output


def test_production_starts_when_it_has_what_it_needs(start: Callable[..., Start]) -> None:
    running = start(DEMO_MODE="0", ALLOWED_HOSTS="sign.example.com", EMAIL_URL="consolemail://").wait_until_ready()
    assert "Demo logins" not in running.output


def test_old_python_is_refused(start: Callable[..., Start], tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    assert f"Python 3.11 or newer is needed, and {old} is 3.9" in refusal(start(PYTHON=str(old)))


def test_every_way_to_end_it_leaves_no_process_and_the_next_start_works(
    start: Callable[..., Start], tmp_path: Path
) -> None:
    """Ctrl-C, a service manager's SIGTERM, a closed terminal, and an out-of-memory kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGTERM):
        running = start().wait_until_ready()
        family = running.family()
        assert len(family) > 5
        status = running.end(number)
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0), running.output
        if number == signal.SIGKILL:  # the kernel tells the others, who then end by themselves
            psutil.wait_procs(family, timeout=90)
        assert alive(family) == []
        assert not (tmp_path / "environment.json").exists() or number == signal.SIGKILL


def test_end_of_one_process_ends_all(start: Callable[..., Start]) -> None:
    running = start().wait_until_ready()
    family = running.family()
    [worker] = [process for process in family if "work" in process.cmdline()]
    worker.kill()
    assert running.process.wait(timeout=120) == 1
    assert "the worker process ended by itself" in running.output
    assert alive(family) == []
