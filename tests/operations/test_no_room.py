"""A PostgreSQL that takes no more connections, and a pool that is busy: neither is an outage (decision 0017)."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.operations.deployment import Cluster, Deployment, running_cluster

pytestmark = pytest.mark.timeout(300)

PATH = "/.well-known/jwks.json"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(max_connections="20") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def prepared(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    deployment = Deployment(tmp_path_factory.mktemp("prepared"), cluster.url())
    deployment.prepare()
    return deployment


@pytest.fixture
def serve(cluster: Cluster, prepared: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Start a web server of one process with so many threads and connections."""
    with contextlib.ExitStack() as stack:

        def call(*, threads: int, pool: int) -> Deployment:
            sizes = {"WEB_PROCESSES": "1", "WEB_THREADS": str(threads), "DATABASE_POOL_SIZE": str(pool)}
            deployment = Deployment(tmp_path_factory.mktemp("deployment"), cluster.url(), **sizes)
            stack.callback(deployment.end)
            deployment.web = deployment.start_web()
            return deployment

        yield call


@contextlib.contextmanager
def no_room(cluster: Cluster) -> Iterator[list["psycopg.Connection"]]:
    """Take every connection that is left."""
    with contextlib.ExitStack() as stack:
        taken = []
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(stack.enter_context(contextlib.closing(psycopg.connect(cluster.url(), autocommit=True))))
        yield taken


def ask_together(deployment: Deployment, *, clients: int, times: int) -> list[int | None]:
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(deployment.status, [PATH] * times))


def test_server_that_has_no_room_for_more_is_no_outage_for_those_who_have_connections(cluster, serve):
    deployment = serve(threads=6, pool=10)
    ask_together(deployment, clients=2, times=20)
    with no_room(cluster) as taken:
        assert len(taken) > 5
        answers = ask_together(deployment, clients=6, times=300)
        assert "too many clients" in deployment.web.output, "nobody has tried to get one more"
    assert set(answers) == {200}
    assert "The database is away" not in deployment.web.output


def test_lost_connections_that_cannot_be_replaced_are_an_outage_until_there_is_room(cluster, serve):
    deployment = serve(threads=6, pool=10)
    ask_together(deployment, clients=6, times=20)
    with no_room(cluster) as taken:
        ours = {each.info.backend_pid for each in taken}
        killer = taken[0]
        for (pid,) in killer.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database()"
        ).fetchall():
            if pid not in ours:
                killer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        with no_room(cluster):
            began = time.monotonic()
            assert deployment.status(PATH) == 503
            deployment.wait_for(lambda: "The database is away" in deployment.web.output)
            assert time.monotonic() - began < 15
            # Whoever waited for the pool would be told after two seconds; this machine may be busy for a moment.
            times = []
            for _ in range(5):
                began = time.monotonic()
                assert deployment.status(PATH) == 503
                times.append(time.monotonic() - began)
            assert min(times) < 1
        deployment.wait_until_served()
    assert "The database is there again" in deployment.web.output


def test_busy_pool_refuses_those_who_waited_and_nobody_else(cluster, serve):
    deployment = serve(threads=4, pool=1)
    with psycopg.connect(cluster.url()) as connection, ThreadPoolExecutor(3) as pool:
        # Whoever looks for the application keeps the only connection; the others get none in time.
        connection.execute("LOCK TABLE developers_application IN ACCESS EXCLUSIVE MODE")
        answers = [pool.submit(deployment.status, "/oauth/authorize?client_id=none") for _ in range(3)]
        deployment.wait_for(lambda: sum(answer.done() for answer in answers) == 2)
        connection.rollback()
        assert sorted(answer.result() or 0 for answer in answers) == [400, 503, 503]
        assert deployment.status(PATH) == 200
    assert deployment.web.output.count("No connection to the database came free") == 1
    assert "The database is away" not in deployment.web.output
