"""Delete two million dead tokens while token requests go on, and measure for how long any of them waits for a lock.

How to run it: bench/README.md.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg

from bench.run import ROOT, Side, databases, serve

NAME = "bench_housekeeping"
#: Every connection of the web server gives up on a lock after so long, so that a longer wait is a failed request.
LOCK_TIMEOUT_MS = 100

# Half are services' tokens. The others are families that were refreshed once: half of them expired, with an access
# token that came of the rotated refresh token, half revoked, where revoking has deleted the access token.
FILL = [
    """
    INSERT INTO oauth2_provider_accesstoken (token, token_checksum, expires, scope, resource, created, updated)
    SELECT '', 'service-' || n, now() - n %% 1000 * interval '1 minute' - interval '2 hours', '', '[]', now(), now()
    FROM generate_series(1, %(half)s) n
    """,
    """
    CREATE TABLE dead_family AS
    SELECT gen_random_uuid() AS id, n, n %% 2 = 0 AS is_revoked, c.id AS connection_id, c.user_id, c.application_id
    FROM generate_series(1, %(half)s * 2 / 5) n, connections_connection c
    JOIN developers_application a ON a.id = c.application_id AND a.profile = 'portal'
    """,
    """
    INSERT INTO oauth2_provider_refreshtoken
        (user_id, application_id, token, token_checksum, token_family, resource, created, updated, revoked)
    SELECT user_id, application_id, '', encode(sha256(('csr_dead-' || n || '-1')::bytea), 'hex'), id, '[]',
           now() - interval '401 days', now(), now() - interval '400 days'
    FROM dead_family
    """,
    """
    INSERT INTO oauth2_provider_accesstoken
        (user_id, application_id, token, token_checksum, source_refresh_token_id, expires, scope, resource, created,
         updated)
    SELECT d.user_id, d.application_id, '', 'user-' || n, r.id, now() - interval '400 days', '', '[]', now(), now()
    FROM dead_family d JOIN oauth2_provider_refreshtoken r
        ON r.token_checksum = encode(sha256(('csr_dead-' || n || '-1')::bytea), 'hex')
    WHERE NOT is_revoked
    """,
    """
    INSERT INTO tokens_tokenfamily (id, connection_id, access_token_id, scope, created_at, revoked_at)
    SELECT f.id, f.connection_id, a.id, '', now(), CASE WHEN is_revoked THEN now() - interval '31 days' END
    FROM dead_family f LEFT JOIN oauth2_provider_accesstoken a ON a.token_checksum = 'user-' || f.n
    """,
    """
    INSERT INTO oauth2_provider_refreshtoken
        (user_id, application_id, token, token_checksum, access_token_id, token_family, resource, created, updated,
         revoked)
    SELECT d.user_id, d.application_id, '', encode(sha256(('csr_dead-' || d.n || '-2')::bytea), 'hex'),
           f.access_token_id, d.id, '[]', now() - interval '400 days', now(),
           CASE WHEN d.is_revoked THEN now() - interval '31 days' END
    FROM dead_family d JOIN tokens_tokenfamily f ON f.id = d.id
    """,
    "ANALYZE",
]

DEAD = """
SELECT (SELECT count(*) FROM oauth2_provider_accesstoken WHERE expires < now()),
       (SELECT count(*) FROM oauth2_provider_refreshtoken WHERE created < now() - interval '399 days')
"""

LONGEST_WAIT = """
SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - l.waitstart) * 1000), 0)
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE NOT l.granted AND a.datname = current_database() AND a.application_name <> 'housekeeping'
"""

# What the worker does, one task after the other until nothing is left.
SWEEP = """
import django
django.setup()
from apps.housekeeping import chores
from apps.tokens import tasks
chores.RUN_SECONDS = 3600.0
gone = sum(task(timestamp=0) for task in (tasks.delete_dead_service_tokens, tasks.delete_dead_families))
print(gone)
"""


@dataclass
class Load:
    """Token requests of one kind, one after the other, and how long each took."""

    name: str
    call: Callable[[], object]
    milliseconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            start = time.perf_counter()
            try:
                self.call()
            except IndexError:
                return  # no code is left
            except RuntimeError as error:
                self.errors[str(error)[:120]] += 1
            self.milliseconds.append((time.perf_counter() - start) * 1000)


def revoke_dead(side: Side, families: int) -> Callable[[], object]:
    """Return a call that revokes one dead refresh token after the other: it locks a family that is about to go."""
    numbers = iter(range(families, 0, -1))

    def call() -> object:
        return side.send(
            "POST", "/oauth/revoke", {"token": f"csr_dead-{next(numbers, 1)}-1", **side.credentials("portal")}
        )

    return call


def watch(database: str, stop: threading.Event, waits: list[float]) -> None:
    """Look every few milliseconds for the longest wait for a lock outside housekeeping itself."""
    with psycopg.connect(database, autocommit=True) as connection:
        while not stop.is_set():
            waits.append(float(connection.execute(LONGEST_WAIT).fetchone()[0]))
            time.sleep(0.004)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dead", type=int, default=2_000_000, help="dead tokens")
    parser.add_argument("--codes", type=int, default=20_000, help="codes to exchange meanwhile")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(databases(os.environ["DATABASE_URL"], [NAME]))[NAME]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {NAME} SET lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
        paths = {"token": "/oauth/token", "introspect": "/oauth/introspect"}
        sides = [
            stack.enter_context(serve("countersign", "config.wsgi:application", 8204, url, options.codes, {}, paths))
        ]
        measure(url, sides[0], dead=options.dead)


def measure(url: str, side: Side, *, dead: int) -> None:
    """Fill the tables, sweep while requests go on, and print what came of it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = 0")
        for statement in FILL:
            connection.execute(statement, {"half": dead // 2})
        before = connection.execute(DEAD).fetchone()
    # Each thread has its own tokens, of another application: requests of one user and application wait for each other.
    refreshing = Side(side.name, side.port, side.paths, side.clients)
    exchanging = Side(side.name, side.port, side.paths, side.clients)
    revoking = Side(side.name, side.port, side.paths, side.clients)
    refreshing.exchange("portal")
    loads = [
        Load("refresh", lambda: refreshing.refresh("portal")),
        Load("code exchange, RS256", lambda: exchanging.exchange("customer")),
        Load("revoking a dead token", revoke_dead(revoking, dead // 5)),
    ]
    stop, waits = threading.Event(), []
    threads = [threading.Thread(target=load.run, args=(stop,)) for load in loads]
    threads.append(threading.Thread(target=watch, args=(url, stop, waits)))
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    try:
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
            "SECRET_KEY": "x" * 50,
            "ENVIRONMENT": "development",
            "INSECURE_HTTP": "1",
            "PGAPPNAME": "housekeeping",
        }
        swept = subprocess.run([sys.executable, "-c", SWEEP], env=environment, cwd=ROOT, capture_output=True, text=True)
    finally:
        took = time.perf_counter() - began
        stop.set()
        for thread in threads:
            thread.join()
    if swept.returncode:
        raise RuntimeError(swept.stderr)
    with psycopg.connect(url, autocommit=True) as connection:
        after = connection.execute(DEAD).fetchone()
        longest = connection.execute(
            "SELECT max(extract(epoch FROM ended_at - started_at)) FROM housekeeping_housekeepingrun"
        ).fetchone()
    print(f"dead access and refresh tokens before {before}, after {after}", end="; ")
    print(f"{swept.stdout.strip()} rows went in {took:.0f} s")
    print(f"longest run {float(longest[0]):.0f} s; longest wait for a lock that was seen: {max(waits):.1f} ms", end=" ")
    print(f"({len(waits)} looks, {sum(wait > 0 for wait in waits)} with somebody waiting)")
    for load in loads:
        times = sorted(load.milliseconds)
        median, worst = times[len(times) // 2], times[-1]
        failed = dict(load.errors) or "none"
        print(f"{load.name}: {len(times)} requests, median {median:.1f} ms, longest {worst:.0f} ms, failed: {failed}")


if __name__ == "__main__":
    main()
