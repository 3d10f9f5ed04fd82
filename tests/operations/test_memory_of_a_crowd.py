"""A crowd at the log-in page, as a web server of a machine with many processors gets it, takes no more than allowed."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.operations.deployment import CHECKOUT, Deployment, form_token, running_cluster

pytestmark = pytest.mark.timeout(300)

LIMIT = 512
PEOPLE = 24
#: Each process of the web server believes that it is in a control group and on a machine like this one.
_MACHINE = """
import os
from pathlib import Path
from apps.accounts import room_for_hashes

os.cpu_count = lambda: 8
room_for_hashes._GROUPS = Path({groups!r})
room_for_hashes._MEMBERSHIPS = Path({memberships!r})
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A web server with the default number of processes, which sees eight processors and our containers' limit."""
    (tmp_path / "memory.max").write_text(str(LIMIT << 20))
    (tmp_path / "memberships").write_text("0::/\n")
    machine = _MACHINE.format(groups=str(tmp_path), memberships=str(tmp_path / "memberships"))
    (tmp_path / "sitecustomize.py").write_text(machine)
    with running_cluster() as cluster:
        deployment = Deployment(
            tmp_path, cluster.url(), RATE_LIMITS="1", DEMO_MODE="1", PYTHONPATH=f"{tmp_path}:{CHECKOUT}"
        )
        try:
            deployment.prepare()
            yield deployment
        finally:
            deployment.end()


def test_crowd_at_the_log_in_page_leaves_the_web_server_within_its_limit(deployment: Deployment) -> None:
    server = psutil.Process(deployment.start_web().process.pid)
    peak, is_over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.01):
            peak = max(peak, mebibytes(server))

    with ThreadPoolExecutor(PEOPLE + 1) as pool:
        watching = pool.submit(watch)
        statuses = Counter(pool.map(lambda number: try_password(deployment, number), range(PEOPLE)))
        is_over.set()
        watching.result()

    assert statuses == {200: PEOPLE}
    assert 0 < peak < LIMIT * 0.9
    assert deployment.status("/readyz") == 200


def test_processes_that_do_not_fit_are_told_of(deployment: Deployment) -> None:
    assert "MiB" not in deployment.start_web().output
    deployment.end()

    deployment.environment["WEB_PROCESSES"] = "3"
    assert "WEB_PROCESSES=3 need 672 MiB" in deployment.start_web().output


def try_password(deployment: Deployment, number: int) -> int:
    with deployment.client() as client:
        page = client.get("/account/login/")
        fields = {"login": f"n{number}@example.com", "password": "wrong", "csrfmiddlewaretoken": form_token(page.text)}
        answer: httpx.Response = client.post("/account/login/", data=fields, headers={"Referer": str(page.url)})
        return answer.status_code


def mebibytes(server: psutil.Process) -> int:
    """What the server and its processes take of the machine's memory; what they share counts once."""
    total = 0
    for process in [server, *server.children(recursive=True)]:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.MULTILINE)
        assert found
        total += int(found[1])
    return total // 1024
