"""How the web server is started: said here once, for `manage.py serve` and for script/server. Needs no Django."""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from apps.accounts.room_for_hashes import MEBIBYTE, is_enough, memory_limit, memory_needed
from apps.operations.production import refuse_unsafe_start
from apps.telemetry import shared_folder
from config.environment import CHECKOUT
from config.reading import Environment

#: Request line and headers together; `state` alone may be 4 096 characters, three times that when encoded.
HTTP_BUFFER_BYTES = 65536
#: How long a connection may be idle, or half a request's head be waited for. A reverse proxy in front has to give up
#: its own idle connections sooner, or now and then a request meets one that is just being closed.
IDLE_SECONDS = 25
#: What a request that is under way gets to end in when the server stops. Longer than half a head is waited for, so that
#: no such connection has the server killed.
STOP_SECONDS = 30


class CannotServeError(Exception):
    """The server cannot be started; the message says which variable to change."""


def serve() -> NoReturn:
    """Become the web server that the environment describes; raises CannotServeError.

    This process is replaced: nothing of it is kept in memory, and signals reach the server itself.
    """
    refuse_unsafe_start()
    environment = Environment()
    host, port = environment("HOST"), environment("PORT")
    try:
        ip = listening_address(host, port)
    except OSError as error:
        raise CannotServeError(f"HOST={host} is not an address of this machine: {error.strerror}.") from error
    if environment("METRICS_TOKEN"):
        folder = environment("METRICS_DIR")
        try:
            shared_folder.prepare(Path(folder) if folder else shared_folder.default_folder(host, port))
        except OSError as error:
            message = f"The folder for figures cannot be used: {error}. Set METRICS_DIR to one that can."
            raise CannotServeError(message) from error
    processes, memory = environment("WEB_PROCESSES"), memory_limit()
    if not is_enough(processes=processes, memory=memory):
        needed = memory_needed(processes) // MEBIBYTE
        sys.stderr.write(
            f"WEB_PROCESSES={processes} need {needed} MiB when many people log in at once,"
            f" and may take {memory // MEBIBYTE} MiB here.\n"
        )
    command = web_command(ip, port, processes=processes, threads=environment("WEB_THREADS"))
    # Two of glibc's arenas are enough for so few threads, and each costs memory.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(CHECKOUT)
    os.execv(command[0], command)  # noqa: S606 (no shell is what we want)


def web_command(ip: str, port: int, *, processes: int, threads: int, reload: bool = False) -> list[str]:
    """Return the command line; `threads` are those of each process.

    The access log is on in development (`reload`) only; it leaves the query out.
    """
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", ip, "--port", str(port)),
        *("--workers", str(processes), "--blocking-threads", str(threads), "--no-ws", "--http", "1"),
        *("--http1-buffer-size", str(HTTP_BUFFER_BYTES), "--workers-kill-timeout", str(STOP_SECONDS)),
        *("--http1-header-read-timeout", str(IDLE_SECONDS * 1000)),
        *("--respawn-failed-workers", "--log-level", "warning"),
    ]
    if reload:
        command += ["--reload", "--reload-ignore-worker-failure", "--access-log"]
        for folder in ("apps", "config", "templates", "static"):
            command += ["--reload-paths", folder]
    return [*command, "config.wsgi:application"]


def listening_address(host: str, port: int) -> str:
    """Return the IP address that `host` names, an IPv4 one if there is one; raises OSError when it names none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    _, _, _, _, where = min(found, key=lambda entry: entry[0])
    return str(where[0])
