"""PgBouncer with the configuration of deploy/pgbouncer, between a web server and a PostgreSQL that goes away."""

import contextlib
import os
import secrets
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tests.operations.deployment import Cluster, Deployment, folder_for_clusters, running_cluster
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)

CONFIGURATION = Path(settings.BASE_DIR, "deploy", "pgbouncer", "pgbouncer.ini")
PATH = "/.well-known/jwks.json"
#: Seconds. docs/operating.md promises two until a request of an outage is answered, and one until service resumes; as
#: PgBouncer comes, it would be 15 between two tries. A busy machine is slow, but not by so much.
ANSWERED, RESUMED = 2 + 4, 1 + 6
#: How long the outage takes, at least: were the next try 15 seconds after the first, it would be later than `RESUMED`.
OUTAGE = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pooled_url(cluster: Cluster) -> Iterator[str]:
    """The database through a PgBouncer with our configuration, but for where it finds and is found."""
    program = shutil.which("pgbouncer")
    assert program, "install PgBouncer (Debian: apt-get install pgbouncer)"
    password, port = secrets.token_urlsafe(24), free_port()
    cluster.execute(f"ALTER ROLE postgres PASSWORD '{password}'")
    configuration = ConfigParser(comment_prefixes=(";",), interpolation=None)
    configuration.read(CONFIGURATION)
    configuration["databases"]["countersign"] = f"host=127.0.0.1 port={cluster.port} dbname=countersign"
    configuration["pgbouncer"].update(listen_addr="127.0.0.1", listen_port=str(port))
    with folder_for_clusters() as folder:
        configuration["pgbouncer"]["auth_file"] = str(folder / "users")
        (folder / "users").write_text(f'"postgres" "{password}"\n')
        with (folder / "pgbouncer.ini").open("w") as file:
            configuration.write(file)
        with (folder / "log").open("w") as log:
            # It refuses to run as root.
            account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
            pooler = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, **account)
        url = f"postgresql://postgres:{password}@127.0.0.1:{port}/countersign"
        try:
            wait_for(url, lambda: (folder / "log").read_text())
            yield url
        finally:
            pooler.terminate()
            pooler.wait(timeout=30)


def wait_for(url: str, tell) -> None:
    for _ in range(300):
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
            return
        time.sleep(0.1)
    raise AssertionError(tell())


@pytest.fixture(scope="module")
def deployment(cluster: Cluster, pooled_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), cluster.url())
    # Straight to PostgreSQL, as the migrations of docker-compose.replicas.yml.
    deployment.prepare()
    deployment.environment |= {"DATABASE_URL": pooled_url, "DATABASE_PREPARE": "0"}
    deployment.start_web()
    try:
        yield deployment
    finally:
        deployment.end()


def test_outage_is_answered_at_once_and_over_within_seconds(cluster: Cluster, deployment: Deployment) -> None:
    deployment.wait_until_served()
    cluster.stop()
    try:
        spans = []
        until = time.monotonic() + OUTAGE
        while time.monotonic() < until:
            began = time.monotonic()
            assert deployment.status(PATH) == 503
            spans.append(time.monotonic() - began)
    finally:
        cluster.start()
    resumed = deployment.wait_for(lambda: deployment.status(PATH) == 200)

    # One that the machine was too busy for says nothing.
    assert statistics.median(spans) < ANSWERED, spans
    assert resumed < RESUMED
