"""How the web server is started: said here once, for `manage.py serve` and for script/server. Needs no Django."""

import socket
import sys

#: Request line and headers together; `state` alone may be 4 096 characters, three times that when encoded.
HTTP_BUFFER_BYTES = 65536
#: What a request that is under way gets to end in when the server stops.
STOP_SECONDS = 10


def web_command(ip: str, port: int, *, processes: int, threads: int, reload: bool = False) -> list[str]:
    """Return the command line; `threads` are those of each process.

    The access log is on in development (`reload`) only; it leaves the query out.
    """
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", ip, "--port", str(port)),
        *("--workers", str(processes), "--blocking-threads", str(threads), "--no-ws", "--http", "1"),
        *("--http1-buffer-size", str(HTTP_BUFFER_BYTES), "--workers-kill-timeout", str(STOP_SECONDS)),
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
