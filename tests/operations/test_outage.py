"""PostgreSQL going away: 503 for everybody, at once, and service again by itself (decision 0017)."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from django.db import connection

from tests.operations.deployment import Cluster, Deployment, Person, code_of, form_token, running_cluster

pytestmark = pytest.mark.timeout(300)

#: Seconds that an answer takes where each waits for a connection (the pool's timeout).
WAITING = 2.0

FOR_PROGRAMS = [
    ("POST", "/oauth/token"),
    ("POST", "/api/oauth/token"),
    ("POST", "/open_auth/token/"),
    ("POST", "/oauth/revoke"),
    ("POST", "/open_auth/revoke_token/"),
    ("POST", "/oauth/introspect"),
    ("POST", "/api/notifications"),
    ("DELETE", "/api/oauth/revoke"),
    ("GET", "/oauth/user"),
    ("GET", "/open_auth/get_user_data/"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/jwks.json"),
]
FOR_PEOPLE = [
    ("GET", "/"),
    ("GET", "/auth?client_id=none"),
    ("GET", "/oauth/authorize?client_id=none"),
    ("GET", "/oauth/authorise/?client_id=none"),
    ("GET", "/account/login/"),
    ("GET", "/no-such-page"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def deployment(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), cluster.url())
    deployment.prepare()
    deployment.web = deployment.start_web()
    try:
        yield deployment
    finally:
        deployment.end()


@pytest.fixture
def person(deployment: Deployment) -> Iterator[Person]:
    person = Person(deployment, deployment.demo["users"][0])
    yield person
    person.close()


@contextlib.contextmanager
def killed(cluster: Cluster) -> Iterator[None]:
    """Kill the database, and start it again afterwards."""
    cluster.kill()
    try:
        yield
    finally:
        cluster.start()


def send(client: httpx.Client, method: str, path: str) -> httpx.Response:
    headers = {"Authorization": "Bearer unknown"} if path.startswith(("/api/", "/oauth/user", "/open_auth/get")) else {}
    options: dict[str, Any] = {}
    if method == "POST":
        options["data"] = {
            "grant_type": "refresh_token",
            "refresh_token": "unknown",
            "token": "unknown",
            "client_id": "nobody",
            "client_secret": "nothing",
        }
    if path == "/api/notifications":
        options = {"json": {}}
    return client.request(method, path, headers=headers, **options)


def test_killed_database_is_told_to_programs_and_to_people_at_once(cluster: Cluster, deployment: Deployment) -> None:
    with deployment.client() as client:
        for method, path in [*FOR_PROGRAMS, *FOR_PEOPLE]:
            assert send(client, method, path).status_code < 500, path
        with killed(cluster):
            began = time.monotonic()
            for method, path in FOR_PROGRAMS:
                answer = send(client, method, path)
                assert answer.status_code == 503, path
                assert answer.json()["error"] == "temporarily_unavailable"
                assert answer.json()["error_description"]
                assert answer.headers["Cache-Control"] == "no-store"
                assert int(answer.headers["Retry-After"]) > 0
            for method, path in FOR_PEOPLE:
                answer = send(client, method, path)
                assert (answer.status_code, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8"), path
                assert answer.text.count("<h1>") == 1
                assert "Location" not in answer.headers
                assert answer.headers["Cache-Control"] == "no-store"
                assert int(answer.headers["Retry-After"]) > 0
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            # All together, as this machine may be busy for a moment.
            assert time.monotonic() - began < WAITING * len([*FOR_PROGRAMS, *FOR_PEOPLE]) / 2
        deployment.wait_until_served()
        for method, path in [*FOR_PROGRAMS, *FOR_PEOPLE]:
            assert send(client, method, path).status_code < 500, path
    assert deployment.web.is_running


def test_many_requests_at_once_do_not_queue_behind_the_lost_database(cluster: Cluster, deployment: Deployment) -> None:
    def ask(_number: int) -> tuple[int, float]:
        began = time.monotonic()
        return deployment.status("/.well-known/jwks.json"), time.monotonic() - began

    with killed(cluster), ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(200)))
        assert {status for status, _ in answers} == {503}
        # With a timeout of the pool's for each, 200 requests over 10 threads would take forty seconds.
        assert max(seconds for _, seconds in answers) < 200 / 10 * WAITING / 2
    deployment.wait_until_served()


def test_restart_between_two_requests_costs_nobody_an_error(cluster: Cluster, deployment: Deployment) -> None:
    """Every pooled connection is dead then; none is given to a request."""
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(deployment.status, ["/.well-known/jwks.json"] * 60)) == {200}
        cluster.stop()
        cluster.start()
        assert set(pool.map(deployment.status, ["/.well-known/jwks.json"] * 60)) == {200}


def test_sessions_ended_by_an_administrator_cost_at_most_a_503(cluster: Cluster, deployment: Deployment) -> None:
    """57P01, in the middle of requests."""
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(deployment.status, "/oauth/authorize?client_id=none") for _ in range(200)]
        for _ in range(5):
            cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ''"
                " AND pid <> pg_backend_pid() AND datname = current_database()"
            )
        assert {answer.result() for answer in answers} <= {400, 503}
    assert deployment.status("/oauth/authorize?client_id=none") == 400


def test_read_only_server_is_an_outage_until_it_takes_writes(cluster: Cluster, deployment: Deployment) -> None:
    """25006: what a failover leaves behind where one address leads to whatever server is there."""
    cluster.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    cluster.execute("SELECT pg_reload_conf()")
    try:
        deployment.wait_for(lambda: deployment.status("/oauth/token") == 405)
        deployment.wait_for(lambda: deployment.status("/.well-known/jwks.json") == 503)
    finally:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")
    deployment.wait_until_served()


def test_person_is_told_what_to_do_next(cluster: Cluster, deployment: Deployment, person: Person) -> None:
    token = form_token(person.client.get("/developer/add").text)
    with killed(cluster):
        for path in ("/account/", "/account/connections/", "/membership", "/developer/", "/review/", "/admin/"):
            assert "load this page again" in person.client.get(path).text
        fields = {"confirm": "yes", "csrfmiddlewaretoken": token}
        answer = person.client.post("/developer/add", data=fields, headers={"Referer": str(person.client.base_url)})
        assert answer.status_code == 503
        assert "go back" in answer.text
        assert "send it again" in answer.text
    deployment.wait_until_served()


def test_exchange_that_was_refused_works_when_it_is_tried_again(
    cluster: Cluster, deployment: Deployment, person: Person
) -> None:
    client = deployment.application("customer")
    code = code_of(person.authorize(client, "/oauth/authorize"))
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
    }
    with deployment.client() as partner:
        with killed(cluster):
            assert partner.post("/oauth/token", data=body).status_code == 503
        deployment.wait_until_served()
        assert partner.post("/oauth/token", data=body).status_code == 200


def test_outage_is_told_once_to_the_log_and_names_no_secret(cluster: Cluster, deployment: Deployment) -> None:
    before = deployment.web.output
    with killed(cluster):
        for _ in range(20):
            assert deployment.status("/.well-known/jwks.json") == 503
    deployment.wait_until_served()
    for _ in range(20):
        deployment.status("/.well-known/jwks.json")
    told = deployment.web.output.removeprefix(before)
    assert 1 <= told.count("The database is away") <= 2, told
    assert "The database is there again" in told
    assert "Traceback" not in told
    assert "Service Unavailable" not in told


@pytest.mark.django_db(transaction=True)
def test_connection_that_came_back_out_of_a_transaction_is_handed_out_again() -> None:
    """Closing a connection inside an atomic block leaves it as the block had it."""
    connection.close()
    pool = connection.pool
    pool.wait()
    kept = [pool.getconn() for _ in range(pool.get_stats()["pool_size"])]
    for one in kept:
        one.autocommit = False
        pool.putconn(one)

    for _ in kept:
        assert connection.get_autocommit()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
        connection.close()
