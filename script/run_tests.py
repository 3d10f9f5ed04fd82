"""Runs pytest with all that the tests need: a throwaway PostgreSQL, a browser, secrets made on the spot.

script/test calls this inside the virtual environment. With `DATABASE_URL` set, that server is used (the tests
make their own database on it).
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import playwright
from embedded_postgres import THROWAWAY_SETTINGS, EmbeddedPostgres
from errors import StartError

CHECKOUT = Path(__file__).resolve().parent.parent
#: What tests run beside Python, and Debian's package of each: what partners' programs call, and what reads deploy/.
PROGRAMS = {"curl": "curl", "openssl": "openssl", "promtool": "prometheus", "pgbouncer": "pgbouncer"}
#: Where Debian has servers; not in everybody's path.
SERVERS = "/usr/sbin"
#: The whole suite is run by so many processes, each with a PostgreSQL of its own; what is asked for by name by one.
#: One more than there are cores: a fifth of the time tests wait for servers that they start or stop.
PROCESSES = (os.cpu_count() or 1) + 1
IN_PARALLEL = ["-p", "script.own_database", "--numprocesses", str(PROCESSES), "--dist", "worksteal"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(arguments: list[str]) -> int:
    """Return pytest's exit status, or 1 when what it needs cannot be had."""
    os.chdir(CHECKOUT)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        with contextlib.ExitStack() as stack:
            ensure_programs(is_whole=not arguments)
            os.environ.update(
                SECRET_KEY=secrets.token_urlsafe(48),
                ENVIRONMENT="development",
                DEBUG="0",
                DEMO_MODE="1",
                INSECURE_HTTP="1",
                ALLOWED_HOSTS="localhost,127.0.0.1,[::1],.localhost,testserver",
            )
            is_parallel = not arguments and not os.environ.get("DATABASE_URL")
            if is_parallel:
                urls = [throwaway_database(stack) for _ in range(PROCESSES)]
                os.environ.update(DATABASE_URL=urls[0], OWN_DATABASES=" ".join(urls))
            elif not os.environ.get("DATABASE_URL"):
                os.environ["DATABASE_URL"] = throwaway_database(stack)
            if "VAR_DIR" not in os.environ:  # what tests upload and collect must not end in the developer's var/
                os.environ["VAR_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-var-"))
            # Pages name static files by their hash, as they do in production: that takes collected files.
            collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
            if subprocess.run(collect).returncode:
                raise StartError("the static files could not be collected, see above")
            return subprocess.run(
                [sys.executable, "-m", "pytest", *(IN_PARALLEL if is_parallel else arguments)]
            ).returncode
    except StartError as error:
        print(f"countersign: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def throwaway_database(stack: contextlib.ExitStack) -> str:
    """Start a PostgreSQL that ends with `stack` and leaves nothing behind; return its URL."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="countersign-test-")))
    folder.chmod(0o711)  # as root, the server runs as another account
    database = stack.enter_context(EmbeddedPostgres(folder / "postgres", THROWAWAY_SETTINGS))
    return database.url("postgres")


def ensure_programs(*, is_whole: bool) -> None:
    """Make sure of what tests run beside Python. As root on Debian it is installed when it is missing.

    A run of the whole suite does not begin without; in one of some tests, those that need it fail.
    """
    os.environ["PATH"] += os.pathsep + SERVERS
    for ensure in (ensure_browser, ensure_others):
        try:
            ensure()
        except StartError as error:
            if is_whole:
                raise
            print(f"countersign: {error}; tests that need it fail", file=sys.stderr, flush=True)


def ensure_browser() -> None:
    """Set CHROMIUM to the path of one."""
    if os.environ.get("CHROMIUM"):
        if not os.access(os.environ["CHROMIUM"], os.X_OK):
            raise StartError(f"CHROMIUM={os.environ['CHROMIUM']} is not a program")
        return
    found = find_browser()
    if (found is None or not driver_runs()) and may_install():
        print("Installing Chromium for the browser tests (some minutes, once) ...", flush=True)
        install("chromium", "fonts-dejavu-core", "libatomic1")  # the last is for Playwright's driver
        found = find_browser()
    if found is None:
        raise StartError(
            "the browser tests need Chromium: install it (Debian: apt-get install chromium), or set CHROMIUM"
        )
    os.environ["CHROMIUM"] = found
    if not driver_runs():
        raise StartError("Playwright's driver does not start: install its library (Debian: apt-get install libatomic1)")


def ensure_others() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and may_install():
        with no_services():
            install(*(PROGRAMS[name] for name in missing))
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        packages = " ".join(PROGRAMS[name] for name in missing)
        raise StartError(f"the tests need {' and '.join(missing)}: install it (Debian: apt-get install {packages})")


@contextlib.contextmanager
def no_services(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Let what is installed meanwhile start no service, neither now nor when the machine starts.

    Debian's packages ask `policy` before they start anything, with systemd and without; 101 is "forbidden"
    (invoke-rc.d(8)). On a machine that has a policy, that one holds. Services that are there already stay as they are.
    """
    before = find_services()
    try:
        with policy.open("x") as file:
            file.write("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        is_ours = True
    except FileExistsError:
        is_ours = False
    try:
        yield
    finally:
        if is_ours:
            policy.unlink()
    new = sorted(find_services() - before)
    if new and shutil.which("systemctl") and subprocess.run(["systemctl", "disable", "--quiet", *new]).returncode:
        raise StartError(f"{', '.join(new)} would start with this machine: systemctl disable it")


def find_services() -> set[str]:
    """The services that are installed here, of the packages of PROGRAMS."""
    names = {f"{package}.service" for package in PROGRAMS.values()}
    return {name for name in names if Path("/lib/systemd/system", name).exists()}


def may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def driver_runs() -> bool:
    """Whether the program that Playwright drives the browser with finds its libraries."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    return subprocess.run([node, "--version"], capture_output=True).returncode == 0


def find_browser() -> str | None:
    """The first browser on the PATH."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def install(*packages: str) -> None:
    """Install packages of Debian; the package lists are fetched first only when they do not know them."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    for step in (command, ["apt-get", "update", "--quiet"], command):
        done = subprocess.run(
            step,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if step is command and done.returncode == 0:
            return
    print(done.stdout, file=sys.stderr)
    raise StartError(f"{', '.join(packages)} could not be installed, see above")


def stop(number: int, frame: FrameType | None) -> None:
    """Unwind as for Ctrl-C, so that the database is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
