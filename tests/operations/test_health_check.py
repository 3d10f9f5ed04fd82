"""The health checks: where they ask, and whom."""

import http.server
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from django.conf import settings

from apps.operations.probe import sign_of_life
from apps.telemetry.shared_folder import make_private


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


def ask_for_worker(folder: Path, var_dir: Path) -> int:
    environment = {**os.environ, "TMPDIR": str(folder), "VAR_DIR": str(var_dir)}
    command = [sys.executable, "-m", "apps.operations.probe", "worker"]
    return subprocess.run(command, env=environment, cwd=settings.BASE_DIR, capture_output=True).returncode


def test_sign_of_life_is_of_one_deployment_and_of_no_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version left a file of a name that depended on the account alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"countersign-worker-{os.getuid()}").touch()
    one, other = tmp_path / "one", tmp_path / "other"

    make_private(sign_of_life(str(one)).parent)
    sign_of_life(str(one)).touch()

    assert ask_for_worker(tmp_path, one) == 0
    assert ask_for_worker(tmp_path, other) == 1
