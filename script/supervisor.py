"""Runs Countersign: database, migrations, demo data, web server, background worker. Ends all of it together.

script/server calls this inside the virtual environment. Nothing needs to be set: what is not in the
environment gets a value that fits a first look on this machine (`script/server --help` lists them).
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from address import address, check_address_is_free, reachable
from database import check_database_answers
from embedded_postgres import EmbeddedPostgres
from environment import CHECKOUT, fill_environment, published_environment, var_folder
from errors import StartError
from processes import Processes, StopRequested, StopSignals
from summary import summary

sys.path.insert(0, str(CHECKOUT))
from apps.operations.web_server import web_command
from apps.telemetry import shared_folder
from config.reading import Environment

DATABASE_NAME = "countersign"
START_SECONDS = 120  # a busy machine needs long

HELP = """\
environment variables, all optional:
  HOST, PORT      the address to listen on (127.0.0.1, 8000)
  VAR_DIR         where data, secrets and collected files are kept (var/)
  DATABASE_URL    postgresql://user:password@host:5432/name; unset: an embedded PostgreSQL in VAR_DIR
  SECRET_KEY      unset: made once and kept in VAR_DIR/secret-key
  DEMO_MODE       1 (default): demo data in an empty database, plain http on loopback, logins printed
                  0: a production, behind a proxy with TLS; ALLOWED_HOSTS, EMAIL_URL and DEFAULT_FROM_EMAIL
                  have to be set, and what is missing is told
README.md tells more.
"""


def main(arguments: Sequence[str]) -> int:
    """Run until asked to stop (exit status 0) or until something fails (1)."""
    parser = argparse.ArgumentParser(
        prog="script/server",
        description="Sets everything up and runs Countersign.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--reload", action="store_true", help="for development: DEBUG=1, and start again when code changes"
    )
    options = parser.parse_args(arguments)
    os.chdir(CHECKOUT)
    try:
        run(StopSignals(), reload=options.reload)
    except StopRequested:
        return 0
    except StartError as error:
        print(f"countersign: {error}", file=sys.stderr)
    except PermissionError as error:
        print(
            f"countersign: {error.filename} is not yours to write; set VAR_DIR to a folder that is",
            file=sys.stderr,
        )
    return 1


def run(signals: StopSignals, *, reload: bool) -> NoReturn:
    """Start everything in order, and stay until the first thing ends."""
    fill_environment(os.environ, reload=reload)
    host, port = address(os.environ)
    ip = check_address_is_free(host, port)
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
        settings = Environment()
        web = web_command(ip, port, processes=settings("WEB_PROCESSES"), threads=settings("WEB_THREADS"), reload=reload)
        if settings("METRICS_TOKEN"):
            shared_folder.prepare(Path(settings("METRICS_DIR") or shared_folder.default_folder(host, port)))
        processes.start("web", web)
        os.environ.pop(shared_folder.VARIABLE, None)  # the worker tells its own figures
        wait_until_answering(host, port, processes)
        # After the web server, which somebody waits for. Without us the embedded database ends too, and a worker that
        # was only asked to stop would wait for it.
        processes.start("worker", [sys.executable, "manage.py", "work"], orphan_signal=signal.SIGKILL)
        print(summary(host, port, demo), flush=True)
        name = processes.wait()
        raise StartError(f"the {name} process ended by itself, see above; everything is stopped")


def prepare(processes: Processes) -> dict[str, Any] | None:
    """Migrate, collect static files, fill an empty database with demo data; returns the demo data."""
    demo: dict[str, Any] | None = json.loads(processes.output_of("preparation", [sys.executable, "script/prepare.py"]))
    return demo


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
