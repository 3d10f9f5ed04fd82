"""What hosting costs: start to the first answer, idle memory, and what grows under half an hour of mixed load.

How to run it: bench/README.md. Runs the commands that an image or a unit runs (`manage.py serve`, `manage.py work`), in
production's settings; the load plays the reverse proxy, so that what comes in counts as https. Loopback only.
"""

import argparse
import base64
import http.client
import json
import os
import random
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import psutil
import psycopg

from bench.run import ROOT, databases

NAME = "bench_hosting"
HOST = "sign.bench.example"
CALLBACK = "https://partner.example/callback"
PORT = 8207
PASSWORD = secrets.token_urlsafe(18)
USERS = 8
MEBIBYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--starts", type=int, default=5, help="how often the start is measured")
    parser.add_argument("--per-second", type=float, default=12, help="requests in all, at most")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-hosting-"))
    try:
        with databases(os.environ["DATABASE_URL"], [NAME]) as urls:
            environment = production(urls[NAME], folder)
            for command in (["migrate", "--verbosity", "0"], ["collectstatic", "--no-input", "--verbosity", "0"]):
                manage(environment, *command)
            clients, emails = fill(environment)
            report_starts(environment, options.starts)
            with processes(environment) as running:
                report_memory("idle, 30 s after the start", running, wait=30)
                soak(running, clients, emails, urls[NAME], minutes=options.minutes, per_second=options.per_second)
                report_memory("idle, 30 s after the load", running, wait=30)
    finally:
        shutil.rmtree(folder)


def production(database: str, folder: Path) -> dict[str, str]:
    """Return the environment of a production deployment, with secrets made for this run."""
    return {
        **os.environ,
        "ENVIRONMENT": "production",
        "DATABASE_URL": database,
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": HOST,
        # Never called: this load makes no mail.
        "EMAIL_URL": "smtp://127.0.0.1:9",
        "DEFAULT_FROM_EMAIL": "Bench <no-reply@bench.example>",
        "TRUSTED_PROXIES": "1",
        "VAR_DIR": str(folder),
        "HOST": "127.0.0.1",
        "PORT": str(PORT),
    }


def manage(environment: dict[str, str], *arguments: str) -> str:
    """Run a command of manage.py to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode()


def fill(environment: dict[str, str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Make an organisation, users, and an application of each profile; returns credentials by profile, and e-mails."""
    manage(environment, "create_organisation", "--slug", "bench", "--name", "Bench", "--domain", HOST, "--json")
    emails = [f"user{number}@bench.example" for number in range(USERS)]
    for email in emails:
        manage(environment, "create_user", "--email", email, "--password", PASSWORD, "--json")
    clients = {}
    for profile, scope in {"connection": "receipt:read", "customer": "", "portal": "person.full_name"}.items():
        arguments = ["--name", f"Bench {profile}", "--profile", profile, "--redirect-uri", CALLBACK, "--approve"]
        arguments += ["--organisation", "bench", "--json"] + (["--scope", scope] if scope else [])
        made = json.loads(manage(environment, "create_application", *arguments))
        clients[profile] = {"client_id": made["client_id"], "client_secret": made["client_secret"]}
    return clients, emails


# --- processes ------------------------------------------------------------------------------------


@contextmanager
def started(environment: dict[str, str], command: str) -> Iterator[psutil.Process]:
    """Run one of the commands that run for ever, and end it the way a host ends it."""
    with open(os.devnull, "wb") as nothing:
        process = subprocess.Popen(
            [sys.executable, "manage.py", command], env=environment, cwd=ROOT, stdout=nothing, stderr=nothing
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=40)


@contextmanager
def processes(environment: dict[str, str]) -> Iterator[dict[str, psutil.Process]]:
    with started(environment, "serve") as web, started(environment, "work") as worker:
        wait_for_answer()
        yield {"web": web, "worker": worker}


def wait_for_answer() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if Browser(random.Random(0)).get("/.well-known/oauth-authorization-server").status == 200:
                return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("the web server does not answer")


def report_starts(environment: dict[str, str], count: int) -> None:
    """Print how long `manage.py serve` takes until the first answer, on a database that is complete."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        with started(environment, "serve"):
            wait_for_answer()
            times.append(time.perf_counter() - begin)
    print(f"start to first answer: {statistics.median(times):.2f} s, {count} starts, longest {max(times):.2f} s")


def memory(process: psutil.Process) -> tuple[float, float]:
    """Return the MiB of a process and its children: resident (shared pages count each time), and proportional."""
    family = [process, *process.children(recursive=True)]
    figures = [member.memory_full_info() for member in family]
    return sum(figure.rss for figure in figures) / MEBIBYTE, sum(figure.pss for figure in figures) / MEBIBYTE


def report_memory(when: str, running: dict[str, psutil.Process], *, wait: float) -> None:
    time.sleep(wait)
    found = {name: memory(process) for name, process in running.items()}
    parts = ", ".join(f"{name} {resident:.0f} (proportional {own:.0f})" for name, (resident, own) in found.items())
    total = [sum(figures) for figures in zip(*found.values(), strict=True)]
    print(f"memory, MiB, {when}: {parts}; together {total[0]:.0f} ({total[1]:.0f})", flush=True)


# --- load -----------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    location: str
    text: str


class Browser:
    """Cookies, one connection that is kept, and the headers of a reverse proxy in front of a person or a partner."""

    def __init__(self, chance: random.Random) -> None:
        self.cookies: dict[str, str] = {}
        self.address = f"198.51.100.{chance.randrange(1, 255)}"
        self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)

    def get(self, path: str, **headers: str) -> Answer:
        return self._send("GET", path, None, headers)

    def post(self, path: str, body: dict[str, str], **headers: str) -> Answer:
        return self._send("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})

    def _send(self, method: str, path: str, body: dict[str, str] | None, headers: dict[str, str]) -> Answer:
        headers = {
            "Host": HOST,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": self.address,
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **headers,
        }
        try:
            self.connection.request(method, path, urlencode(body) if body is not None else None, headers)
            response = self.connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Answer(response.status, response.headers.get("Location", ""), text)

    def form(self, path: str, values: dict[str, str]) -> Answer:
        """Open a page with a form and send it, with its hidden token."""
        page = self.get(path)
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        if found is None:
            raise RuntimeError(f"{path}: no form, status {page.status}")
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        body = {**hidden, "csrfmiddlewaretoken": found[1], **values}
        return self.post(path, body, Referer=f"https://{HOST}{path}", Origin=f"https://{HOST}")


@dataclass
class Load:
    """One person and the partners' servers they make busy, one call after the other."""

    email: str
    clients: dict[str, dict[str, str]]
    outcomes: Counter[str]
    chance: random.Random
    pause: float
    browser: Browser = field(init=False)
    partner: Browser = field(init=False)

    def __post_init__(self) -> None:
        self.browser, self.partner = Browser(self.chance), Browser(self.chance)

    def run(self, until: float) -> None:
        self.sign_in()
        turns = (self.connection, self.customer, self.portal, self.pages, self.refused)
        while time.monotonic() < until:
            turn = self.chance.choice(turns)
            try:
                turn()
            except (OSError, http.client.HTTPException, RuntimeError, AssertionError) as error:
                self.outcomes[f"failed: {turn.__name__}: {type(error).__name__} {error}"[:160]] += 1

    def expect(self, answer: Answer, status: int, what: str) -> Answer:
        """Count the answer, and pause, so that the load is bounded."""
        self.outcomes["as expected" if answer.status == status else f"unexpected: {what} {answer.status}"] += 1
        time.sleep(self.pause)
        return answer

    def sign_in(self) -> None:
        answer = self.browser.form("/account/login/", {"login": self.email, "password": PASSWORD})
        if answer.status != 302:
            raise RuntimeError(f"log-in: {answer.status}")
        for door, profile in DOORS.items():  # the first time a person is asked
            path = f"{door}?{self.query(profile)}"
            if self.browser.get(path).status == 200:
                self.browser.form(path, {"decision": "allow", "allow": "Allow"})

    def query(self, profile: str) -> str:
        return urlencode(
            {
                "client_id": self.clients[profile]["client_id"],
                "redirect_uri": CALLBACK,
                "state": "s" * 40,
                "response_type": "code",
            }
        )

    def code(self, door: str, profile: str) -> str:
        answer = self.expect(self.browser.get(f"{door}?{self.query(profile)}"), 302, door)
        return parse_qs(urlsplit(answer.location).query)["code"][0]

    def exchange(self, profile: str, code: str) -> dict[str, Any]:
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, **self.clients[profile]}
        tokens: dict[str, Any] = json.loads(self.expect(self.partner.post("/oauth/token", body), 200, "exchange").text)
        return tokens

    def refresh(self, profile: str, tokens: dict[str, Any]) -> dict[str, Any]:
        body = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], **self.clients[profile]}
        fresh: dict[str, Any] = json.loads(self.expect(self.partner.post("/oauth/token", body), 200, "refresh").text)
        return fresh

    def connection(self) -> None:
        self.exchange("connection", self.code("/auth", "connection"))

    def customer(self) -> None:
        tokens = self.refresh("customer", self.exchange("customer", self.code("/oauth/authorize", "customer")))
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        self.expect(self.partner.get("/oauth/user?include=memberships", **bearer), 200, "customer")
        self.expect(
            self.partner.post("/oauth/introspect", {"token": tokens["access_token"], **self.clients["customer"]}),
            200,
            "introspect",
        )

    def portal(self) -> None:
        tokens = self.refresh("portal", self.exchange("portal", self.code("/oauth/authorise/", "portal")))
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        self.expect(self.partner.get("/open_auth/get_user_data/", **bearer), 200, "data points")
        body = {"token": tokens["refresh_token"], **self.clients["portal"]}
        self.expect(self.partner.post("/oauth/revoke", body), 200, "revoke")

    def pages(self) -> None:
        for path in ("/", "/account/", "/account/connections/", "/developer/", "/developer/add"):
            self.expect(self.browser.get(path), 200, path)

    def refused(self) -> None:
        wrong = base64.b64encode(f"{self.clients['portal']['client_id']}:wrong".encode()).decode()
        body = {"grant_type": "authorization_code", "code": secrets.token_urlsafe(16)}
        self.expect(self.partner.post("/oauth/token", body, Authorization=f"Basic {wrong}"), 401, "wrong secret")
        self.expect(self.partner.get("/oauth/user", Authorization="Bearer nonsense"), 401, "wrong token")
        self.expect(self.browser.get("/auth?client_id=nobody"), 400, "unknown client")
        self.expect(self.browser.get(f"/no-such-page-{self.chance.randrange(10**9)}"), 404, "no page")


DOORS = {"/auth": "connection", "/oauth/authorize": "customer", "/oauth/authorise/": "portal"}


def soak(
    running: dict[str, psutil.Process],
    clients: dict[str, dict[str, str]],
    emails: list[str],
    database: str,
    *,
    minutes: float,
    per_second: float,
) -> None:
    """Load the server for so long, look at it twenty times meanwhile, and print what there was and what grew."""
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + minutes * 60
    threads = [
        threading.Thread(
            target=Load(email, clients, outcomes, random.Random(email), pause=len(emails) / per_second).run,
            args=(until,),
        )
        for email in emails
    ]
    for thread in threads:
        thread.start()
    print("| minute | web, MiB | worker, MiB | open files | database connections | answers | not as expected |")
    print("|---|---|---|---|---|---|---|")
    looks: list[tuple[float, float]] = []
    begin = time.monotonic()
    with psycopg.connect(database, autocommit=True, application_name="looking") as look:
        while time.monotonic() < until:
            time.sleep(min(minutes * 60 / 20, max(until - time.monotonic(), 0.1)))
            memories = {name: memory(process)[0] for name, process in running.items()}
            looks.append((time.monotonic() - begin, sum(memories.values())))
            family = [m for process in running.values() for m in (process, *process.children(recursive=True))]
            counted = look.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name <> 'looking'"
            ).fetchone()
            wrong = sum(number for what, number in outcomes.items() if what != "as expected")
            print(
                f"| {(time.monotonic() - begin) / 60:.1f} | {memories['web']:.0f} | {memories['worker']:.0f}"
                f" | {sum(m.num_fds() for m in family)} | {counted and counted[0]}"
                f" | {sum(outcomes.values())} | {wrong} |",
                flush=True,
            )
    for thread in threads:
        thread.join()
    late = looks[len(looks) // 2 :]
    slope = statistics.linear_regression([at for at, _ in late], [size for _, size in late]).slope * 60
    print(f"memory in the second half: {slope:+.2f} MiB a minute")
    for what, number in outcomes.most_common():
        print(f"{number:8d}  {what}")


if __name__ == "__main__":
    main()
