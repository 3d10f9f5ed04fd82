"""Telling the figures: as text that Prometheus reads, to whoever knows the token."""

import logging
import secrets
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from apps.telemetry import metrics, shared_folder

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: Seconds that a scraper gets to send its request.
TIMEOUT = 5

log = logging.getLogger(__name__)


def write_figures() -> bytes:
    """Return what this process has counted, or all processes that share its folder."""
    folder = shared_folder.find()
    if folder is None:
        return generate_latest(metrics.REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together, path=str(folder))
    with shared_folder.locked(folder):
        return generate_latest(together)


def is_allowed(authorization: str, token: str) -> bool:
    """Say whether the Authorization header has the token; takes as long whatever is wrong with it."""
    return bool(token) and secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def serve_figures(*, host: str, port: int, token: str) -> ThreadingHTTPServer:
    """Answer `/metrics` at a port of its own, for a process that serves nothing else; returns the server.

    Raises OSError when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT
        server_version, sys_version = "Countersign", ""

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self._answer(404, b"", {})
            elif not is_allowed(self.headers.get("Authorization", ""), token):
                self._answer(401, b"", {"WWW-Authenticate": "Bearer"})
            else:
                self._answer(200, write_figures(), {"Content-Type": CONTENT_TYPE})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log no scrape."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: object, client_address: object) -> None:
            log.info("A scrape of the worker's figures was broken off.")

    server = Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
