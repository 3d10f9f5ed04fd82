"""The image's health check: where it asks."""

import http.server
import os
import subprocess
import sys
import threading

import pytest
from django.conf import settings


class Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()


@pytest.mark.parametrize(("listens_at", "host"), [("127.0.0.2", "127.0.0.2"), ("127.0.0.1", "0.0.0.0")])
def test_health_check_asks_where_the_server_listens(listens_at: str, host: str) -> None:
    """A server at one address of the machine is not at its loopback."""
    with http.server.ThreadingHTTPServer((listens_at, 0), Alive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {**os.environ, "HOST": host, "PORT": str(server.server_port)}
        command = [sys.executable, "-m", "apps.operations.probe", "web"]
        done = subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True, text=True)
        server.shutdown()
    assert (done.returncode, done.stdout) == (0, "")
