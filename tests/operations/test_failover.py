"""A failover rehearsed: the primary is killed under load, its standby is promoted, and nothing that was given is lost.

With synchronous replication, without which a standby lacks what was committed last (decision 0017).
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.operations.deployment import Cluster, Deployment, Person, code_of, folder_for_clusters
from tests.webhooks.receivers import Receiver, receiving, respond

pytestmark = pytest.mark.timeout(300)

#: Seconds after which a refresh token that was used before may not be tried again (CONTRACT section 4).
RETRY = 10.0

#: Lets an application be told of the end of a connection, and ends one.
END_A_CONNECTION = """
from apps.connections.models import Connection, EndReason
from apps.developers.models import Application
from apps.tokens.services import end_connection
from apps.webhooks.services import set_endpoint
application = Application.objects.get(client_id={client_id!r})
set_endpoint(application=application, actor=None, url={url!r})
end_connection(connection=Connection.objects.active().filter(application=application).first(), reason=EndReason.USER)
"""


@pytest.fixture
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary, and a standby that has everything before a commit is confirmed."""
    with folder_for_clusters() as folder, contextlib.ExitStack() as stack:
        primary = Cluster(folder / "a", fsync="off")
        primary.start()
        stack.callback(primary.stop)
        primary.create_database()
        standby = primary.make_standby(folder / "b", fsync="off")
        stack.callback(standby.stop)
        yield primary, standby


@pytest.fixture
def deployment(clusters: tuple[Cluster, Cluster], tmp_path: Any) -> Iterator[Deployment]:
    primary, standby = clusters
    url = f"postgresql://postgres@{primary.host},{standby.host}/countersign?target_session_attrs=read-write"
    deployment = Deployment(tmp_path, url)
    deployment.prepare()
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    deployment.wait_for(lambda: primary.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
    deployment.web = deployment.start_web()
    deployment.worker = deployment.start_worker()
    try:
        yield deployment
    finally:
        deployment.end()


@pytest.fixture
def load(deployment: Deployment) -> Iterator["Load"]:
    load = Load(deployment)
    yield load
    load.end()
    load.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A partner's server, which is not well at first."""
    with receiving(respond(500)) as receiver:
        yield receiver


class Load:
    """Partners that exchange codes and refresh tokens, each in a thread, and note what they were given."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.ended = threading.Event()
        self.refused: list[tuple[float, float, str]] = []
        self.served: list[float] = []
        self.surprises: list[str] = []
        self.threads: list[threading.Thread] = []
        self.chains: list[Chain] = []
        self.exchangers: list[Exchanger] = []

    def start(self) -> None:
        users = [user for user in self.deployment.demo["users"] if not user["reviewer"]]
        for number, user in zip(range(4), itertools.cycle(users)):
            partner = (Chain if number % 2 else Exchanger)(self, user)
            (self.chains if number % 2 else self.exchangers).append(partner)
            self.threads.append(threading.Thread(target=self._run, args=[partner.step]))
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.ended.set()
        for thread in filter(threading.Thread.is_alive, self.threads):
            thread.join(timeout=90)

    def close(self) -> None:
        for partner in (*self.chains, *self.exchangers):
            partner.close()

    def ask(self, call: Callable[[], httpx.Response]) -> httpx.Response | None:
        """The answer; None when the service was away: 503, or no connection. When it was asked is noted."""
        asked = time.monotonic()
        try:
            answer = call()
        except httpx.TransportError as error:
            self.refused.append((asked, time.monotonic(), type(error).__name__))
            return None
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
            self.refused.append((asked, time.monotonic(), "503"))
            return None
        self.served.append(time.monotonic())
        return answer

    def _run(self, step: Callable[[], None]) -> None:
        while not self.ended.is_set():
            try:
                step()
            except Exception as error:
                self.surprises.append(repr(error))
                raise


class Partner:
    """A user who is logged in, and an application of the loyalty programme."""

    def __init__(self, load: Load, user: dict[str, Any]) -> None:
        self.load = load
        self.user = Person(load.deployment, user)
        self.server = load.deployment.client()
        self.application = load.deployment.application("customer")

    def close(self) -> None:
        self.user.close()
        self.server.close()

    def post(self, **body: str) -> httpx.Response:
        client = {name: self.application[name] for name in ("client_id", "client_secret")}
        return self.server.post("/oauth/token", data={**client, **body})

    def read(self, access_token: str) -> int:
        return self.server.get("/oauth/user", headers={"Authorization": f"Bearer {access_token}"}).status_code

    def authorize(self) -> httpx.Response:
        return self.user.authorize(self.application, "/oauth/authorize")

    def exchange(self, code: str) -> httpx.Response:
        return self.post(grant_type="authorization_code", code=code)

    def refresh(self, token: str) -> httpx.Response:
        return self.post(grant_type="refresh_token", refresh_token=token)


class Exchanger(Partner):
    """Gets a code and exchanges it, again and again."""

    def __init__(self, load: Load, user: dict[str, Any]) -> None:
        super().__init__(load, user)
        self.given: list[dict[str, Any]] = []

    def step(self) -> None:
        asked = self.load.ask(self.authorize)
        if asked is None:
            time.sleep(0.1)
            return
        assert asked.status_code == 302, asked.text
        code = code_of(asked)
        answer = self.load.ask(lambda: self.exchange(code))
        if answer is not None:
            assert answer.status_code == 200, answer.text
            self.given.append(answer.json())
            return
        # Whether the code was spent nobody could say then. If it was, its tokens went to nobody.
        while not self.load.ended.is_set() and (answer := self.load.ask(lambda: self.exchange(code))) is None:
            time.sleep(0.1)
        if answer is not None and answer.status_code == 200:
            self.given.append(answer.json())
        elif answer is not None:
            assert answer.json()["error"] == "invalid_grant"


class Chain(Partner):
    """Refreshes the token that it was given last, again and again."""

    def __init__(self, load: Load, user: dict[str, Any]) -> None:
        super().__init__(load, user)
        self.tokens = self.exchange(code_of(self.authorize())).json()
        self.count = 0
        self.tried_at: float | None = None

    def step(self) -> None:
        self.tried_at = self.tried_at or time.monotonic()
        answer = self.load.ask(lambda: self.refresh(self.tokens["refresh_token"]))
        if answer is None:
            time.sleep(0.1)  # an honest retry: soon, whatever became of the first
            return
        if answer.status_code == 400 and time.monotonic() - self.tried_at > RETRY:
            # This machine was too busy to try again in time: a chain of its own begins.
            answer = self.exchange(code_of(self.authorize()))
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()
        self.tried_at = None
        self.count += 1


def test_no_token_is_lost_when_the_primary_dies(
    clusters: tuple[Cluster, Cluster],
    deployment: Deployment,
    load: Load,
    receiver: Receiver,
    record_property: Callable[[str, object], None],
) -> None:
    primary, standby = clusters
    load.start()
    before = Person(deployment, deployment.demo["users"][0])
    application = deployment.application("connection")
    assert before.authorize(application, "/auth").status_code == 302
    before.close()
    deployment.run_code(END_A_CONNECTION.format(client_id=application["client_id"], url=receiver.url))
    assert len(receiver.wait_for(1, seconds=90)) == 1
    assert load.refused == []

    died = time.monotonic()
    primary.kill()
    standby.promote()
    promoted = time.monotonic()
    receiver.answer = respond(200)
    resumed = promoted + deployment.wait_until_served()
    counts = {chain: chain.count for chain in load.chains}
    given = {exchanger: len(exchanger.given) for exchanger in load.exchangers}
    deployment.wait_for(
        lambda: (
            load.surprises
            or (
                all(chain.count > counts[chain] + 5 for chain in load.chains)
                and all(len(exchanger.given) > given[exchanger] + 5 for exchanger in load.exchangers)
            )
        )
    )
    load.end()

    assert load.surprises == []
    assert all(died <= told and asked <= resumed for asked, told, _ in load.refused)
    for chain in load.chains:
        assert chain.read(chain.tokens["access_token"]) == 200
        assert chain.refresh(chain.tokens["refresh_token"]).status_code == 200
    for exchanger in load.exchangers:
        assert {exchanger.read(tokens["access_token"]) for tokens in exchanger.given} == {200}
    webhook = receiver.wait_for(2, seconds=120)[1]
    assert webhook.headers["webhook-id"] == receiver.requests[0].headers["webhook-id"]
    assert deployment.web.is_running
    assert deployment.worker.is_running

    gap = min(when for when in load.served if when > promoted) - died
    summary = f"promotion took {promoted - died:.1f} s; nothing was served for {gap:.1f} s; {len(load.refused)} refused"
    record_property("failover", summary)
    print(summary)
