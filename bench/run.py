"""Measure this server and a stock django-oauth-toolkit project side by side. How to run it: bench/README.md."""

import argparse
import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ("code exchange", "code exchange, RS256", "refresh", "refresh, RS256", "introspection", "/oauth/user")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Side:
    """One server under measurement: where it listens, its clients, and the tokens it has issued so far."""

    name: str
    port: int
    paths: dict[str, str]
    clients: dict[str, Any]
    tokens: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"portal": [], "customer": []})
    connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: dict[str, str] | None = None, token: str = "") -> Any:
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {**FORM, "Authorization": f"Bearer {token}"} if token else FORM
        self.connection.request(method, path, urlencode(body) if body else None, headers)
        response = self.connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{self.name} {path}: {response.status} {answer!r}")
        return json.loads(answer) if answer else None

    def credentials(self, profile: str) -> dict[str, str]:
        client = self.clients[profile]
        return {"client_id": client["client_id"], "client_secret": client["client_secret"]}

    def exchange(self, profile: str) -> None:
        code = self.clients[profile]["codes"].pop()
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://partner.example/callback"}
        self.tokens[profile].append(self.send("POST", self.paths["token"], {**body, **self.credentials(profile)}))

    def refresh(self, profile: str) -> None:
        tokens = self.tokens[profile].pop(0)
        body = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        self.tokens[profile].append(self.send("POST", self.paths["token"], {**body, **self.credentials(profile)}))

    def introspect(self) -> None:
        token = self.tokens["portal"][-1]["access_token"]
        answer = self.send("POST", self.paths["introspect"], {"token": token, **self.credentials("portal")})
        if not answer["active"]:
            raise RuntimeError(f"{self.name}: the token is not active")

    def read_user(self) -> None:
        self.send("GET", "/oauth/user", token=self.tokens["customer"][-1]["access_token"])

    def operation(self, name: str) -> Callable[[], None]:
        return {
            "code exchange": lambda: self.exchange("portal"),
            "code exchange, RS256": lambda: self.exchange("customer"),
            "refresh": lambda: self.refresh("portal"),
            "refresh, RS256": lambda: self.refresh("customer"),
            "introspection": self.introspect,
            "/oauth/user": self.read_user,
        }[name]


def measure(call: Callable[[], None], count: int) -> float:
    """Return the median milliseconds of `count` calls, one after the other on one connection."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


@contextmanager
def serve(
    name: str, module: str, port: int, database: str, count: int, extra: dict[str, str], paths: dict[str, str]
) -> Iterator[Side]:
    """Prepare a database and start one server process on it, the same way for every side."""
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ENVIRONMENT": "development",
        "INSECURE_HTTP": "1",
        "ALLOWED_HOSTS": "127.0.0.1",
        "VAR_DIR": tempfile.mkdtemp(),
        "PYTHONPATH": str(ROOT),
        **extra,
    }
    Path(environment["VAR_DIR"], "static").mkdir()
    side = "stock" if "stock" in module else "countersign"
    prepare = [sys.executable, "-m", "bench.prepare", side, str(count)]
    clients = json.loads(subprocess.run(prepare, env=environment, cwd=ROOT, check=True, capture_output=True).stdout)
    command = ["granian", "--interface", "wsgi", "--workers", "1", "--blocking-threads", "4", "--no-access-log"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:], *address, module], env=environment, cwd=ROOT
    )
    try:
        wait_for(port)
        yield Side(name=name, port=port, paths=paths, clients=clients)
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(port: int) -> None:
    for _ in range(100):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/oauth/user")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")


@contextmanager
def databases(server: str, names: list[str]) -> Iterator[dict[str, str]]:
    """Create empty databases on the PostgreSQL at `server` and drop them afterwards."""
    with psycopg.connect(server, autocommit=True) as admin:
        for name in names:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            admin.execute(f'CREATE DATABASE "{name}"')
        try:
            # The name stands between the host and the query of the URL.
            head, _, query = server.partition("?")
            yield {name: f"{head.rpartition('/')[0]}/{name}?{query}" for name in names}
        finally:
            for name in names:
                admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=60, help="calls of each operation in a round")
    options = parser.parse_args()
    # The stock hasher makes each of its token requests slow; the second stock side shows the rest.
    stock_paths = {"token": "/o/token/", "introspect": "/o/introspect/"}
    our_paths = {"token": "/oauth/token", "introspect": "/oauth/introspect"}
    codes = (options.rounds + 1) * options.count * 2 + 10
    with ExitStack() as stack:
        names = ["bench_countersign", "bench_stock", "bench_stock_fast"]
        urls = stack.enter_context(databases(os.environ["DATABASE_URL"], names))
        sides = [
            stack.enter_context(
                serve("countersign", "config.wsgi:application", 8201, urls[names[0]], codes, {}, our_paths)
            ),
            stack.enter_context(
                serve("stock", "bench.stock.wsgi:application", 8202, urls[names[1]], codes, {}, stock_paths)
            ),
            stack.enter_context(
                serve(
                    "stock, fast secrets",
                    "bench.stock.wsgi:application",
                    8203,
                    urls[names[2]],
                    codes,
                    {"BENCH_FAST_SECRETS": "1"},
                    stock_paths,
                )
            ),
        ]
        report(sides, rounds=options.rounds, count=options.count)


def report(sides: list[Side], *, rounds: int, count: int) -> None:
    """Measure in rounds, the sides in turn within each, and print medians and ratios as a Markdown table."""
    ours, *others = sides
    print("| operation | countersign, ms | " + " | ".join(f"{side.name}, times as long" for side in others) + " |")
    print("|---|---|" + "---|" * len(others))
    for name in OPERATIONS:
        for side in sides:
            measure(side.operation(name), 5)  # warm up
        medians: dict[str, list[float]] = {side.name: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                slow = side.name == "stock" and name != "/oauth/user"
                medians[side.name].append(measure(side.operation(name), max(5, count // 6) if slow else count))
        own = medians[ours.name]
        cells = [f"{statistics.median(own):.2f}"]
        for side in others:
            ratios = [theirs / mine for theirs, mine in zip(medians[side.name], own, strict=True)]
            cells.append(f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
