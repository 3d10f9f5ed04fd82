"""Stopping and limits in time: what is under way ends well, and nothing takes for ever (decision 0017)."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from apps.operations.web_server import STOP_SECONDS, web_command
from tests.operations.deployment import Cluster, Deployment, Program, form_token, running_cluster

pytestmark = pytest.mark.timeout(300)

STATEMENT_SECONDS = 6
REFRESH = {"grant_type": "refresh_token", "refresh_token": "unknown"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def deployment(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    deployment = Deployment(folder, cluster.url(), DATABASE_STATEMENT_SECONDS=str(STATEMENT_SECONDS))
    deployment.prepare()
    try:
        yield deployment
    finally:
        deployment.end()


@pytest.fixture
def web(deployment: Deployment) -> Iterator[Program]:
    web = deployment.start_web()
    yield web
    web.end()


@contextlib.contextmanager
def locked_tokens(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """Hold up every refresh, as somebody with a long transaction would."""
    with psycopg.connect(cluster.url()) as connection:
        connection.execute("LOCK TABLE oauth2_provider_refreshtoken IN ACCESS EXCLUSIVE MODE")
        yield connection


def refresh(deployment: Deployment) -> httpx.Response:
    client = {name: deployment.application("customer")[name] for name in ("client_id", "client_secret")}
    with deployment.client() as partner:
        return partner.post("/oauth/token", data={**REFRESH, **client})


def waits_for_lock(cluster: Cluster) -> bool:
    return cluster.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != [(0,)]


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_request_under_way_is_answered_after_the_signal_to_stop(
    cluster: Cluster, deployment: Deployment, web: Program
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with locked_tokens(cluster):
            answer = pool.submit(refresh, deployment)
            deployment.wait_for(lambda: waits_for_lock(cluster))
            web.ask_to_stop()
            deployment.wait_for(lambda: is_refused(deployment.port))
            assert web.is_running
            assert not answer.done()
        complete = answer.result()
    assert complete.status_code == 400
    assert complete.json()["error"] == "invalid_grant"
    assert web.process.wait(timeout=STOP_SECONDS - 5) == 0


def test_connections_without_a_request_do_not_hold_up_the_stop(deployment: Deployment, web: Program) -> None:
    with contextlib.ExitStack() as stack:
        for is_kept_alive in (False, True) * 5:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", deployment.port)))
            if is_kept_alive:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
        # A signal in the very moment in which a process of the server begins to wait for one can be lost (CPython
        # looks for signals, then goes to sleep). Granian kills the process for that after STOP_SECONDS.
        time.sleep(1)
        web.ask_to_stop()
        # Granian may say then that a worker refused to stop: without cause, when it has not yet noticed its end.
        assert web.process.wait(timeout=STOP_SECONDS - 5) == 0


def test_half_a_request_head_is_given_up_before_the_server_is_killed_for_it() -> None:
    command = web_command("127.0.0.1", 8000, processes=1, threads=1)
    head_milliseconds = int(command[command.index("--http1-header-read-timeout") + 1])
    stop_seconds = int(command[command.index("--workers-kill-timeout") + 1])
    # A reverse proxy keeps an idle connection for less than that, or it meets one that is being closed.
    assert 20 < head_milliseconds / 1000 < stop_seconds


def test_statement_that_takes_too_long_ends_with_503(cluster: Cluster, deployment: Deployment, web: Program) -> None:
    with locked_tokens(cluster):
        began = time.monotonic()
        answer = refresh(deployment)
        assert STATEMENT_SECONDS - 0.5 < time.monotonic() - began < STATEMENT_SECONDS + 20
        assert answer.status_code == 503
        assert answer.json()["error"] == "temporarily_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
        # The database is not away: everybody else is served.
        assert deployment.status("/.well-known/jwks.json") == 200
    assert refresh(deployment).status_code == 400
    assert "The database is away" not in web.output
    # Somebody should know which statement was slow.
    assert "QueryCanceled" in web.output


def test_commands_and_workers_are_not_limited(cluster: Cluster, deployment: Deployment) -> None:
    code = "from django.db import connection as c; k = c.cursor(); k.execute('SHOW statement_timeout');"
    deployment.run_code(f"{code} assert k.fetchone() == ('0',)")


def test_form_that_is_too_large_is_413(deployment: Deployment, web: Program) -> None:
    with deployment.client() as browser:
        token = form_token(browser.get("/account/login/").text)
        referer = {"Referer": str(browser.base_url)}
        fields = {"csrfmiddlewaretoken": token, "login": "a" * 3_000_000, "password": "b"}
        answer = browser.post("/account/login/", data=fields, headers=referer)
        assert answer.status_code == 413
        assert "too large" in answer.text
        cookies = browser.cookies
    # A damaged request that is not too large stays what it was. By another connection: with the rest of a body that was
    # refused before its end, the server may close the first one.
    with deployment.client(cookies=cookies) as browser:
        many = "&".join(f"f{number}=1" for number in range(1100))
        form = {**referer, "Content-Type": "application/x-www-form-urlencoded"}
        assert browser.post("/account/login/", content=many, headers=form).status_code == 400


@pytest.mark.parametrize("door", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
def test_body_that_is_too_large_is_413_in_the_words_of_programs(
    deployment: Deployment, web: Program, door: str
) -> None:
    with deployment.client() as partner:
        answer = partner.post(door, data={**REFRESH, "client_id": "a" * 3_000_000})
    assert answer.status_code == 413
    assert json.loads(answer.text)["error"] == "invalid_request"


def test_worker_survives_the_database_and_ends_in_order_even_without_it(
    cluster: Cluster, deployment: Deployment
) -> None:
    worker = deployment.start_worker()
    beats = "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - interval '15 seconds'"
    deployment.wait_for(lambda: cluster.execute(beats)[0][0] >= 1, seconds=120)
    cluster.kill()
    time.sleep(5)
    assert worker.is_running
    cluster.start()
    cluster.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
    deployment.wait_for(lambda: cluster.execute(beats)[0][0] >= 1, seconds=120)
    cluster.kill()
    try:
        time.sleep(1)
        worker.ask_to_stop()
        assert worker.process.wait(timeout=120) == 0, worker.output
    finally:
        cluster.start()
    assert "password" not in worker.output
