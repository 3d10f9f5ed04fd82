"""Runs Countersign: database, migrations, demo data, web server, background worker. Ends all of it together.

script/server calls this inside the virtual environment. Nothing here needs to be set: what is not in the environment
gets a value that fits a first look on this machine (`script/server --help` lists them).
"""

import argparse
import contextlib
import http.client
import ipaddress
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn
from urllib.parse import urlencode, urlsplit

import psycopg

from embedded_postgres import EmbeddedPostgres, PostgresError, die_with_parent

CHECKOUT = Path(__file__).resolve().parent.parent
DATABASE_NAME = "countersign"
DATABASE_CONNECT_SECONDS = 5
OLDEST_POSTGRES = 140000  # what Django 5.2 supports

WEB_PROCESSES = 2
# Per process, as many as granian accepts without a warning. The demo pages call this very server while they are being
# served, so one thread would not do.
WEB_THREADS = 2 * (os.cpu_count() or 1) + 1
URL_BUFFER_BYTES = 65536  # request line and headers together: `state` alone may be 4 096 characters, three times that encoded
START_SECONDS = 60
STOP_SECONDS = 15  # granian gets 10 of them for requests that are under way

DOORS = {"connection": "/auth", "customer": "/oauth/authorize", "portal": "/oauth/authorise/"}

HELP = """\
environment variables, all optional:
  HOST, PORT      the address to listen on (127.0.0.1, 8000)
  VAR_DIR         where data, secrets and collected files are kept (var/)
  DATABASE_URL    postgresql://user:password@host:5432/name; unset: an embedded PostgreSQL in VAR_DIR
  SECRET_KEY      unset: made once and kept in VAR_DIR/secret-key
  DEMO_MODE       1 (default): demo data in an empty database, plain http on loopback, logins printed
                  0: none of that; ALLOWED_HOSTS then has to name your hosts, and https is expected
docs/operating.md tells more.
"""


class StartError(Exception):
    """Countersign cannot start or go on; the message is one line that tells the operator what to do."""


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM, or the terminal was closed."""


def main(arguments: Sequence[str]) -> int:
    """Run until asked to stop (exit status 0) or until something fails (1)."""
    parser = argparse.ArgumentParser(
        prog="script/server",
        description="Sets everything up and runs Countersign.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reload", action="store_true", help="for development: DEBUG=1, and start again when code changes")
    options = parser.parse_args(arguments)
    os.chdir(CHECKOUT)
    try:
        run(StopSignals(), reload=options.reload)
    except StopRequested:
        return 0
    except (StartError, PostgresError) as error:
        print(f"countersign: {error}", file=sys.stderr)
    except PermissionError as error:
        print(f"countersign: {error.filename} is not yours to write; set VAR_DIR to a folder that is", file=sys.stderr)
    return 1


def run(signals: "StopSignals", *, reload: bool) -> NoReturn:
    """Start everything in order, and stay until the first thing ends."""
    fill_environment(os.environ, reload=reload)
    host, port = address(os.environ)
    check_address_is_free(host, port)
    with contextlib.ExitStack() as stack:
        if not os.environ.get("DATABASE_URL"):
            database = stack.enter_context(EmbeddedPostgres(var_folder() / "postgres"))
            database.ensure_database(DATABASE_NAME)
            os.environ["DATABASE_URL"] = database.url(DATABASE_NAME)
        else:
            check_database_answers(os.environ["DATABASE_URL"])
        processes = stack.enter_context(Processes(signals))
        demo = prepare(processes)
        stack.enter_context(published_environment())
        processes.start("web", web_command(host, port, reload=reload))
        # Without us the embedded database ends too, and a worker that was only asked to stop would wait for it.
        worker = [sys.executable, "manage.py", "procrastinate", "worker"]
        processes.start("worker", worker, orphan_signal=signal.SIGKILL)
        wait_until_answering(host, port, processes)
        print(summary(host, port, demo), flush=True)
        name = processes.wait()
        raise StartError(f"the {name} process ended by itself, see above; everything is stopped")


# --- The environment ---------------------------------------------------------------------------------------------------


FILLED_IN = ("DATABASE_URL", "SECRET_KEY", "DEMO_MODE", "DEBUG", "INSECURE_HTTP", "ALLOWED_HOSTS", "HOST", "PORT", "VAR_DIR")


def fill_environment(environment: MutableMapping[str, str], *, reload: bool = False) -> None:
    """Give every setting that the operator left out a value. What is set, is left alone."""
    environment.setdefault("HOST", "127.0.0.1")
    environment.setdefault("PORT", "8000")
    for name in ("DATABASE_URL", "SECRET_KEY"):  # as the settings read them: NAME_FILE names a file with the value
        if environment.get(f"{name}_FILE"):
            environment[name] = Path(environment[f"{name}_FILE"]).read_text().strip()
    environment["VAR_DIR"] = str(Path(environment.get("VAR_DIR") or CHECKOUT / "var").absolute())
    environment.setdefault("DEMO_MODE", "1")
    environment.setdefault("DEBUG", "1" if reload else "0")
    if is_true(environment["DEMO_MODE"]):
        environment.setdefault("INSECURE_HTTP", "1")
        hosts = ["localhost", "127.0.0.1", "[::1]", ".localhost", in_url(environment["HOST"])]
        environment.setdefault("ALLOWED_HOSTS", ",".join(dict.fromkeys(hosts)))
    if not environment.get("SECRET_KEY"):
        environment["SECRET_KEY"] = kept_secret(Path(environment["VAR_DIR"]) / "secret-key")


def kept_secret(path: Path) -> str:
    """The secret kept in this file, made on first use and readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(64))
    secret = path.read_text().strip()
    if not secret:
        raise StartError(f"{path} is empty; remove it, and a new secret is made")
    return secret


@contextlib.contextmanager
def published_environment() -> Iterator[None]:
    """Keep what was filled in in VAR_DIR/environment.json while we run, so that manage.py in another terminal finds it."""
    path = var_folder() / "environment.json"
    values = {name: os.environ[name] for name in FILLED_IN if name in os.environ}
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(values, file, indent=2)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def var_folder() -> Path:
    """Where this installation keeps what it makes."""
    return Path(os.environ["VAR_DIR"])


def is_true(value: str) -> bool:
    """Read a switch the way the settings do."""
    return value.strip().lower() in {"1", "true", "yes", "on", "y", "t", "ok"}


# --- Checks before anything slow ---------------------------------------------------------------------------------------


def address(environment: MutableMapping[str, str]) -> tuple[str, int]:
    """HOST and PORT; raises StartError when PORT is not one."""
    port = environment["PORT"]
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise StartError(f"PORT has to be a number from 1 to 65535, and is {port!r}")
    return environment["HOST"], int(port)


def check_address_is_free(host: str, port: int) -> None:
    """Raise StartError when nobody could listen on this address."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except socket.gaierror:
        raise StartError(f"HOST={host} is not an address of this machine; set HOST to one that is") from None
    except PermissionError:
        raise StartError(f"port {port} needs more rights than you have; set PORT to another one, e.g. PORT=8000") from None
    except OSError as error:
        if error.errno in (98, 48):  # EADDRINUSE on Linux, macOS
            raise StartError(f"port {port} on {host} is taken; stop what uses it, or set PORT to another one") from None
        raise StartError(f"{host}:{port} cannot be listened on ({error.strerror}); set HOST and PORT to another address") from None


def check_database_answers(url: str) -> None:
    """Raise StartError, without the password, when the operator's database cannot be used."""
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise StartError("DATABASE_URL has to look like postgresql://user:password@host:5432/name")
    try:
        with psycopg.connect(url, connect_timeout=DATABASE_CONNECT_SECONDS) as connection:
            version = connection.info.server_version
            where = f"{connection.info.host}:{connection.info.port}"
    except psycopg.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "FATAL" in line), lines[0] if lines else type(error).__name__)
        raise StartError(f"DATABASE_URL cannot be used: {reason}{advice(reason)}") from None
    if version < OLDEST_POSTGRES:
        raise StartError(f"the PostgreSQL at {where} is version {version // 10000}; Countersign needs 14 or newer")


def advice(reason: str) -> str:
    """What to do about libpq's reason."""
    for part, what in {
        "password": "check its user name and password",
        "no password supplied": "put a password into it",
        "does not exist": "create it first, or correct the name",
        "refused": "is PostgreSQL running there, and is the port right?",
        "resolve": "check its host name",
        "not known": "check its host name",
        "timeout": "nothing answers there; check host, port and firewall",
        "No such file": "is PostgreSQL running there?",
    }.items():
        if part in reason:
            return f" -- {what}"
    return ""


# --- Processes ---------------------------------------------------------------------------------------------------------


class Processes:
    """The processes we started, each in a group of its own, so that no grandchild outlives us."""

    def __init__(self, signals: "StopSignals") -> None:
        self._signals = signals
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._printers: list[threading.Thread] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, orphan_signal: signal.Signals = signal.SIGTERM) -> None:
        """Start a process whose output lines are printed behind its name.

        `orphan_signal` is what the kernel sends it (on Linux) if we are killed.
        """
        process = self._popen(
            name, command, orphan_signal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
        )
        assert process.stdout is not None
        printer = threading.Thread(target=print_lines, args=(f"{name:<6} | ", process.stdout), daemon=True)
        printer.start()
        self._printers.append(printer)

    def output_of(self, name: str, command: Sequence[str]) -> str:
        """Run a process to its end and return what it printed; raises StartError when it fails."""
        process = self._popen(name, command, signal.SIGTERM, stdout=subprocess.PIPE)
        output, _ = process.communicate()
        del self._running[name]
        if process.returncode:
            raise StartError(f"the {name} step failed, see above")
        return output

    def ended(self) -> str | None:
        """The name of a process that is not running any more."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def wait(self) -> str:
        """Wait until the first process ends, and return its name."""
        while (name := self.ended()) is None:
            time.sleep(0.2)
        return name

    def stop(self) -> None:
        """Ask all to stop, wait, and kill what is left of their groups; one more stop signal ends the waiting."""
        self._signals.raises = False
        received = self._signals.received
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and self._signals.received == received:
            if all(process.poll() is not None for process in self._running.values()):
                break
            time.sleep(0.05)
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for printer in self._printers:
            printer.join(timeout=1)
        self._running.clear()

    def _popen(
        self, name: str, command: Sequence[str], orphan_signal: signal.Signals, **options: Any
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we tell the others in order
            preexec_fn=die_with_parent(orphan_signal),
            **options,
        )
        self._running[name] = process
        return process


def print_lines(prefix: str, lines: IO[str]) -> None:
    """Copy lines to our output, and go on reading when that is gone: a full pipe would block the writer."""
    for line in lines:
        with contextlib.suppress(OSError, ValueError):
            print(prefix + line.rstrip("\n"), flush=True)


class StopSignals:
    """Turns the first stop signal into StopRequested; later ones are only counted, for whoever is busy stopping.

    SIGINT is taken even if it was ignored, as shells arrange it for what they start in the background. SIGHUP stays
    ignored if it was: that is what `nohup` asks for.
    """

    def __init__(self) -> None:
        self.received = 0
        self.raises = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.raises:
            self.raises = False
            raise StopRequested


# --- Steps -------------------------------------------------------------------------------------------------------------


def prepare(processes: Processes) -> dict[str, Any] | None:
    """Migrate, collect static files and fill an empty database with demo data, in one process; returns the demo data."""
    demo: dict[str, Any] | None = json.loads(processes.output_of("preparation", [sys.executable, "script/prepare.py"]))
    return demo


def web_command(host: str, port: int, *, reload: bool) -> list[str]:
    """How the web server is started. Its access log is on in development only; it leaves the query out."""
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port)),
        *("--workers", str(WEB_PROCESSES), "--blocking-threads", str(WEB_THREADS), "--no-ws", "--http", "1"),
        *("--http1-buffer-size", str(URL_BUFFER_BYTES), "--workers-kill-timeout", "10"),
        *("--respawn-failed-workers", "--log-level", "warning"),
    ]
    if reload:
        command += ["--reload", "--reload-ignore-worker-failure", "--access-log"]
        for folder in ("apps", "config", "templates", "static"):
            command += ["--reload-paths", folder]
    return [*command, "config.wsgi:application"]


def wait_until_answering(host: str, port: int, processes: Processes) -> None:
    """Wait for the first answer of the web server; raises StartError when a process ends or time runs out."""
    deadline = time.monotonic() + START_SECONDS
    status: int | None = None
    while time.monotonic() < deadline:
        if (name := processes.ended()) is not None:
            raise StartError(f"the {name} process ended while it started, see above")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(reachable(host), port, timeout=10)
            connection.request("GET", "/.well-known/oauth-authorization-server")
            status = connection.getresponse().status
            connection.close()
            if status < 500:
                return
        time.sleep(0.05)
    what = "does not answer" if status is None else f"answers with status {status}"
    raise StartError(f"the web server {what} after {START_SECONDS} s, see above")


def summary(host: str, port: int, demo: dict[str, Any] | None) -> str:
    """What a person needs to try it: the address, and in the demo its logins, applications and links."""
    base = f"http://{in_url(reachable(host))}:{port}"
    lines = ["", f"Countersign is running at {base}/  (Ctrl-C ends it)"]
    if demo is not None:
        lines += [f"Try it out at             {base}/demo/", ""]
        lines += ["Demo logins"]
        lines += table((user["email"], user["password"], user_note(user)) for user in demo["users"])
        lines += ["", "Demo applications"]
        lines += table(
            (app["name"], app["profile"], app["client_id"], app["client_secret"] or "(public)") for app in demo["applications"]
        )
        lines += ["", "Authorization requests to paste into a browser"]
        lines += table(authorization_urls(base, port, demo))
    return "\n".join([*lines, ""])


def user_note(user: dict[str, Any]) -> str:
    """Where the user belongs, and whether they review applications."""
    return ", ".join(filter(None, [user.get("organisation"), "reviewer" if user.get("reviewer") else ""]))


def authorization_urls(base: str, port: int, demo: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """For each programme a complete authorization request, for its first approved application."""
    domains = {organisation["slug"]: organisation["domain"] for organisation in demo["organisations"]}
    for profile, door in DOORS.items():
        for application in demo["applications"]:
            if application["profile"] == profile and application["approved"]:
                domain = domains.get(application["organisation"], "")
                server = f"http://{domain}:{port}" if domain.endswith(".localhost") else base
                query = {
                    "client_id": application["client_id"],
                    "redirect_uri": application["redirect_uris"][0],
                    "response_type": "code",
                    "state": "try-it-out",
                }
                yield profile, f"{server}{door}?{urlencode(query)}"
                break


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines with their columns below each other."""
    cells = [tuple(str(cell or "") for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(host)
        if parsed.is_unspecified:
            return "127.0.0.1" if parsed.version == 4 else "::1"
    return host


def in_url(host: str) -> str:
    """The host as URLs and ALLOWED_HOSTS spell it."""
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
