"""`manage.py backup` and `restore`, run for real: from a running server into an empty cluster, and what is refused."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg
import pyrage
import pytest
import requests

from apps.operations.backups import age
from apps.operations.backups.errors import BackupError, WrongKeyError
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "script"))
from embedded_postgres import THROWAWAY_SETTINGS, EmbeddedPostgres  # noqa: E402

CALLBACK = "https://torilla.example/callback"

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Deployment:
    """A database, a folder for pictures, and a secret."""

    url: str
    var: Path
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        others = ("BACKUP_", "DATABASE_", "SECRET_", "VAR_DIR", "STATIC_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        own = {"DATABASE_URL": self.url, "VAR_DIR": str(self.var), "SECRET_KEY": self.secret_key}
        static = {"STATIC_ROOT": os.environ.get("STATIC_ROOT") or f"{os.environ['VAR_DIR']}/static"}
        return clean | static | own | {"ENVIRONMENT": "development", "PYTHONWARNINGS": "ignore"}

    def manage(self, *arguments: str | Path, status: int = 0, typed: str = "", **settings: str) -> Any:
        """Run a command with `--json`; returns its answer, or its message when it has to fail."""
        done = self.run(*arguments, typed=typed, **settings)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr.strip() if status else json.loads(done.stdout)

    def run(self, *arguments: str | Path, typed: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *map(str, arguments), "--json"],
            cwd=CHECKOUT,
            env=self.environment | settings,
            input=typed,
            capture_output=True,
            text=True,
        )

    def run_code(self, code: str) -> None:
        """Run some Python in the deployment, as the worker would."""
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", code],
            cwd=CHECKOUT,
            env=self.environment,
            check=True,
        )

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)

    @property
    def is_untouched(self) -> bool:
        """Whether there is no table and no picture here."""
        with self.connect() as connection:
            [(tables,)] = connection.execute(
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            )
        return tables == 0 and not list((self.var / "media").glob("**/*.*"))

    def schema(self) -> list[tuple[Any, ...]]:
        """Everything that the schema is made of, apart from whom it belongs to."""
        with self.connect() as connection:
            return connection.execute(SCHEMA).fetchall()


#: Of checks and of conditions only the names: PostgreSQL writes them in other words after each reading.
SCHEMA = """
SELECT 'column', table_name::text, column_name::text, concat_ws(' ', udt_name, character_maximum_length, is_nullable,
       column_default, is_identity) FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, concat_ws(' ', contype, convalidated, condeferrable)
       FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', tablename, indexname, split_part(indexdef, ' WHERE ', 1)
       FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname,
       tgenabled::text || split_part(pg_get_triggerdef(oid), ' WHEN ', 1) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', '', oid::regprocedure::text, pg_get_functiondef(oid)
       FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'type', '', enumtypid::regtype::text, enumlabel FROM pg_enum
UNION ALL SELECT 'kind', '', relname, relkind::text || relpersistence::text || coalesce(reloptions::text, '')
       FROM pg_class WHERE relnamespace = 'public'::regnamespace
ORDER BY 1, 2, 3, 4
"""


@contextlib.contextmanager
def served(deployment: Deployment) -> Iterator[str]:
    """Run the deployment's web server; gives its address."""
    port = free_port()
    output = deployment.var / "server.log"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=CHECKOUT,
            env=deployment.environment | {"HOST": "127.0.0.1", "PORT": str(port), "WEB_PROCESSES": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            with contextlib.suppress(OSError):
                probe = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                with contextlib.closing(probe):
                    probe.request("GET", "/.well-known/oauth-authorization-server")
                    if probe.getresponse().status == 200:
                        break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with the demo's data, on a database of its own beside the tests' one."""
    server = os.environ["DATABASE_URL"]
    url = urlsplit(server)._replace(path="/to_be_backed_up").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS to_be_backed_up WITH (FORCE)")
        connection.execute("CREATE DATABASE to_be_backed_up")
    deployment = Deployment(url, tmp_path_factory.mktemp("here"), os.environ["SECRET_KEY"])
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=CHECKOUT,
        env=deployment.environment,
        check=True,
    )
    deployment.manage("seed_demo")
    yield deployment
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE to_be_backed_up WITH (FORCE)")


@pytest.fixture(scope="module")
def identity() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture(scope="module")
def tokens(here: Deployment) -> dict[str, str]:
    """What an application got on the wire before the backup, with `client_id` and `client_secret`."""
    demo = here.manage("seed_demo")
    user = next(user for user in demo["users"] if user["organisation"] == "receipts" and not user["reviewer"])
    application = next(each for each in demo["applications"] if each["client_id"] == "demo-loyalty")
    credentials = {name: application[name] for name in ("client_id", "client_secret")}
    with served(here) as address, requests.Session() as browser:
        link = f"{address}/oauth/authorize?" + urlencode(
            {"client_id": credentials["client_id"], "redirect_uri": CALLBACK}
        )
        page = browser.get(link)
        page = browser.post(
            page.url, {"login": user["email"], "password": user["password"], "csrfmiddlewaretoken": csrf_token(page)}
        )
        back = browser.post(
            page.url, {"decision": "allow", "csrfmiddlewaretoken": csrf_token(page)}, allow_redirects=False
        )
        assert back.status_code == 302, back.text
        [code] = parse_qs(urlsplit(back.headers["Location"]).query)["code"]
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, **credentials}
        answer = requests.post(f"{address}/oauth/token", body, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.json() | credentials


def csrf_token(page: requests.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]


@pytest.fixture(scope="module")
def archive(
    here: Deployment,
    identity: pyrage.x25519.Identity,
    tokens: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An archive of it, made while its server runs."""
    folder = tmp_path_factory.mktemp("archives")
    with served(here):
        made = here.manage("backup", folder, BACKUP_RECIPIENTS=str(identity.to_public()))
    [file] = folder.iterdir()
    assert made["file"] == str(file)
    assert made["verified"]
    return file


@pytest.fixture(scope="module")
def other_cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that has never seen any of it, with a role that may do nothing but own its database."""
    with tempfile.TemporaryDirectory(prefix="countersign-restore-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder) / "postgres", THROWAWAY_SETTINGS) as cluster:
            with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
                connection.execute("CREATE ROLE tenant LOGIN")
            yield cluster


@pytest.fixture
def there(other_cluster: EmbeddedPostgres, here: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """An empty database in the other cluster, an empty folder, and the same secret."""
    with psycopg.connect(other_cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored OWNER tenant")
    url = other_cluster.url("restored").replace("//postgres@", "//tenant@")
    yield Deployment(url, tmp_path, here.secret_key)
    with psycopg.connect(other_cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE restored WITH (FORCE)")


def test_restore_into_an_empty_cluster_goes_on_where_the_backup_was_made(
    here: Deployment,
    there: Deployment,
    archive: Path,
    identity: pyrage.x25519.Identity,
    tokens: dict[str, str],
) -> None:
    """Another cluster, another role, another folder: a token is refreshed, the trail is intact, the logo is there."""
    restored = there.manage("restore", archive, BACKUP_IDENTITY=str(identity))
    assert restored["restored"]
    assert restored["pending_migrations"] == 0

    with served(there) as address:
        body = {name: tokens[name] for name in ("refresh_token", "client_id", "client_secret")}
        answer = requests.post(f"{address}/oauth/token", {"grant_type": "refresh_token", **body}, timeout=20)
        assert answer.status_code == 200, answer.text
        assert answer.json()["refresh_token"] != tokens["refresh_token"]

    assert there.manage("verify_audit")["intact"]
    pictures = sorted(file.relative_to(here.var) for file in (here.var / "media").rglob("*.*"))
    assert len(pictures) == restored["pictures"] > 0
    assert all((there.var / picture).read_bytes() == (here.var / picture).read_bytes() for picture in pictures)
    assert there.schema() == here.schema()


def test_restored_trail_is_append_only_and_the_queue_works(
    there: Deployment, archive: Path, identity: pyrage.x25519.Identity
) -> None:
    """Privileges belong to the role that has restored, whatever its name; functions and triggers are there."""
    there.manage("restore", archive, BACKUP_IDENTITY=str(identity))
    with there.connect() as connection:
        for statement in (
            "UPDATE audit_auditevent SET tag = 'a:b:c'",
            "DELETE FROM audit_auditseal",
            "DELETE FROM audit_auditperson",
            "DELETE FROM audit_anonymisedperson",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("GRANT TRUNCATE ON audit_auditevent TO CURRENT_USER")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute("TRUNCATE audit_auditevent")
        grants = connection.execute(
            "SELECT proname, proacl::text FROM pg_proc WHERE proname IN ('audit_anonymise', 'audit_prune') ORDER BY 1"
        ).fetchall()
        assert grants == [("audit_anonymise", "{tenant=X/tenant}"), ("audit_prune", "{tenant=X/tenant}")]
        connection.execute(
            "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW('mail', 'some.task', 0, NULL, NULL, '{}'::jsonb,"
            " NULL)]::procrastinate_job_to_defer_v1[])"
        )
        [(kind,)] = connection.execute("SELECT type FROM procrastinate_events ORDER BY id DESC LIMIT 1")
        assert kind == "deferred"


def test_restored_trail_forgets_a_closed_account_and_misses_whoever_else_goes(
    there: Deployment, archive: Path, identity: pyrage.x25519.Identity
) -> None:
    """The role that has restored, whatever its name, lends itself the privilege for the one alone."""
    there.manage("restore", archive, BACKUP_IDENTITY=str(identity))
    there.run_code(
        "from apps.accounts.models import User; from apps.organisations.models import Organisation;"
        "from apps.consent.services import close_account; from apps.audit.models import Anonymisation;"
        "from apps.audit.retention import anonymise_due; from django.utils import timezone;"
        "user = User.objects.filter(connections__isnull=False).first();"
        "close_account(user=user, organisation=Organisation.objects.first());"
        "Anonymisation.objects.update(due_at=timezone.now());"
        "assert anonymise_due() == 1"
    )
    with there.connect() as connection:
        [(notes,)] = connection.execute("SELECT count(*) FROM audit_anonymisedperson")
        assert notes > 0
        assert there.manage("verify_audit")["intact"]

        # Who owns the tables can take the guards away; that shows.
        connection.execute("ALTER TABLE audit_auditperson DISABLE TRIGGER USER")
        connection.execute("GRANT DELETE ON audit_auditperson TO CURRENT_USER")
        gone = connection.execute("DELETE FROM audit_auditperson").rowcount
    # With its status for findings, the command has answered on standard output.
    told = json.loads(there.run("verify_audit").stdout)
    assert len(told["findings"]) > 0 < gone
    assert {finding["problem"] for finding in told["findings"]} == {
        "its person was deleted, and not because an account was closed"
    }


def test_trail_that_comes_back_to_the_server_where_it_began_is_intact(
    here: Deployment, there: Deployment, identity: pyrage.x25519.Identity, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What happened elsewhere, where transactions have other numbers, is sealed after the way back."""
    write = "from apps.audit import trail; trail.record('server:thing:done')"
    seal = "from apps.audit.sealing import seal_events; seal_events(batches=100)"
    here.run_code(f"{write}; {seal}")
    go(here, there, identity, tmp_path_factory.mktemp("away"))
    there.run_code(write)
    server = os.environ["DATABASE_URL"]
    url = urlsplit(server)._replace(path="/come_back").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE come_back")
    back = Deployment(url, tmp_path_factory.mktemp("back"), here.secret_key)
    try:
        go(there, back, identity, tmp_path_factory.mktemp("home"))

        found_before = back.manage("verify_audit")
        back.run_code(f"{write}; {seal}")
        found = back.manage("verify_audit")
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("DROP DATABASE come_back WITH (FORCE)")

    assert found_before["intact"], found_before["findings"]
    assert found_before["unsealed_events"] >= 1
    assert found["intact"], found["findings"]
    assert found["unsealed_events"] == 0


def go(source: Deployment, target: Deployment, identity: pyrage.x25519.Identity, folder: Path) -> None:
    """Back the one up into an empty folder, and restore that as the other."""
    source.manage("backup", folder, BACKUP_RECIPIENTS=str(identity.to_public()))
    [archive] = folder.iterdir()
    target.manage("restore", archive, BACKUP_IDENTITY=str(identity))


def test_archive_is_private_and_what_it_says_it_is(archive: Path, identity: pyrage.x25519.Identity) -> None:
    """Nothing of it can be read without the key, and nobody but its owner can read the file."""
    assert archive.stat().st_mode & 0o777 == 0o600
    assert archive.read_bytes().startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert b"manifest.json" not in archive.read_bytes()
    assert b"manifest.json" in pyrage.decrypt(archive.read_bytes(), [identity])


def test_check_reads_an_archive_and_changes_nothing(
    there: Deployment, archive: Path, identity: pyrage.x25519.Identity, tmp_path: Path
) -> None:
    """The identity may come from a file as age-keygen writes it."""
    file = tmp_path / "identity"
    file.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    checked = there.manage("restore", archive, "--check", "--identity-file", file)
    assert checked["tables"] > 50
    assert checked["restored"] is False
    assert there.is_untouched


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "damaged or cut off"),
        (lambda data: data[: len(data) // 2], "damaged or cut off"),
        (lambda data: flipped(data, len(data) // 2), "damaged or cut off"),
        (lambda data: b"something else altogether", "not an archive"),
    ],
    ids=["last byte missing", "half", "bit in the middle", "another file"],
)
def test_damaged_archive_leaves_nothing_behind(
    there: Deployment,
    archive: Path,
    identity: pyrage.x25519.Identity,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    damaged = tmp_path / "damaged.age"
    damaged.write_bytes(damage(archive.read_bytes()))
    told = there.manage("restore", damaged, status=1, BACKUP_IDENTITY=str(identity))
    assert "Nothing was changed" in told
    assert message in told
    assert there.is_untouched


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_other_identity_is_refused(there: Deployment, archive: Path) -> None:
    other = pyrage.x25519.Identity.generate()
    assert "not encrypted for that identity" in there.manage("restore", archive, status=1, BACKUP_IDENTITY=str(other))
    assert "Say what opens the archive" in there.manage("restore", archive, status=1)
    assert there.is_untouched


def test_key_of_our_own_making_opens_what_is_written_for_it(
    here: Deployment, there: Deployment, tmp_path: Path
) -> None:
    """Nobody needs the `age` tool. The secret key comes from a file, or from standard input, as `age -d` writes it."""
    file = tmp_path / "backup-key.txt"
    recipient = here.manage("backup_key", file)["public_key"]
    assert recipient.startswith("age1")
    assert file.stat().st_mode & 0o777 == 0o600
    made = here.manage("backup", tmp_path / "one.age", BACKUP_RECIPIENTS=recipient)
    assert there.manage("restore", made["file"], "--check", "--identity-file", file)["rows"] == made["rows"]
    assert there.manage("restore", made["file"], "--identity-file", "-", typed=file.read_text())["restored"]


def test_key_is_never_overwritten_and_never_printed(here: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "backup-key.txt"
    done = here.run("backup_key", file)
    secret = next(line for line in file.read_text().splitlines() if not line.startswith("#"))
    assert secret.startswith("AGE-SECRET-KEY-1")
    assert secret not in done.stdout + done.stderr
    assert "exists already" in here.manage("backup_key", file, status=1)
    assert secret in file.read_text()
    assert "cannot be written" in here.manage("backup_key", tmp_path / "nowhere" / "key", status=1)


def test_check_reads_an_archive_where_it_could_not_be_restored(
    here: Deployment, there: Deployment, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """Another machine has neither this SECRET_KEY nor the same version, and is where archives are looked at."""
    file = tmp_path / "newer.age"
    with unknown_migration(here):
        made = here.manage("backup", file, BACKUP_RECIPIENTS=str(identity.to_public()))
    stranger = replace(there, secret_key="another-secret-of-another-deployment-" * 2)
    done = stranger.run("restore", file, "--check", BACKUP_IDENTITY=str(identity))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["secret_key_fingerprint"]) == (made["rows"], made["secret_key_fingerprint"])
    assert f"another SECRET_KEY (fingerprint {made['secret_key_fingerprint']}" in done.stderr
    assert "developers.9999_of_next_year" in done.stderr
    # And to its end all the same.
    file.write_bytes(file.read_bytes()[:-1])
    assert "damaged or cut off" in stranger.manage("restore", file, "--check", status=1, BACKUP_IDENTITY=str(identity))
    assert there.is_untouched


@contextlib.contextmanager
def unknown_migration(deployment: Deployment) -> Iterator[None]:
    """Have the database say that newer code has been there."""
    with deployment.connect() as connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('developers', '9999_of_next_year', now())"
        )
    try:
        yield
    finally:
        with deployment.connect() as connection:
            connection.execute("DELETE FROM django_migrations WHERE name = '9999_of_next_year'")


def test_other_secret_key_is_refused_and_the_right_one_can_be_had_from_the_archive(
    there: Deployment, archive: Path, identity: pyrage.x25519.Identity, tmp_path: Path
) -> None:
    stranger = replace(there, secret_key="another-secret-of-another-deployment-" * 2)
    told = stranger.manage("restore", archive, status=1, BACKUP_IDENTITY=str(identity))
    assert "belongs to another SECRET_KEY" in told
    assert "--secret-key-to" in told
    assert there.is_untouched
    file = tmp_path / "secret-key"
    stranger.manage("restore", archive, "--secret-key-to", file, BACKUP_IDENTITY=str(identity))
    assert file.read_text() == there.secret_key
    assert file.stat().st_mode & 0o777 == 0o600
    assert "exists already" in stranger.manage(
        "restore", archive, "--secret-key-to", file, status=1, BACKUP_IDENTITY=str(identity)
    )


def test_secret_key_can_be_left_out(here: Deployment, tmp_path: Path, identity: pyrage.x25519.Identity) -> None:
    file = tmp_path / "without.age"
    here.manage("backup", file, "--without-secret-key", BACKUP_RECIPIENTS=str(identity.to_public()))
    assert here.secret_key.encode() not in pyrage.decrypt(file.read_bytes(), [identity])
    told = here.manage("restore", file, "--secret-key-to", tmp_path / "key", status=1, BACKUP_IDENTITY=str(identity))
    assert "no SECRET_KEY in this archive" in told
    assert not (tmp_path / "key").exists()


def test_newer_schema_is_refused(
    here: Deployment, there: Deployment, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    file = tmp_path / "newer.age"
    with unknown_migration(here):
        here.manage("backup", file, BACKUP_RECIPIENTS=str(identity.to_public()))
    told = there.manage("restore", file, status=1, BACKUP_IDENTITY=str(identity))
    assert "made by a newer Countersign" in told
    assert "developers.9999_of_next_year" in told
    assert there.is_untouched


def test_what_is_there_is_given_up_only_when_told_and_only_for_a_whole_archive(
    there: Deployment, archive: Path, identity: pyrage.x25519.Identity, tmp_path: Path
) -> None:
    """--replace is one transaction: when it fails, what was there is there."""
    key = {"BACKUP_IDENTITY": str(identity)}
    there.manage("restore", archive, **key)
    picture = next((there.var / "media").rglob("*.png"))
    with there.connect() as connection:
        connection.execute("UPDATE organisations_organisation SET name = 'Since then'")
    assert "is not empty" in there.manage("restore", archive, status=1, **key)
    media = there.var / "media"
    elsewhere = there.var / "elsewhere"
    media.rename(elsewhere)
    told = there.manage("restore", archive, status=1, **key)
    assert re.search(r"The database is not empty: it has \d+ tables, with \d+ users", told)
    for entry in media.iterdir():
        entry.rmdir()
    media.rmdir()
    elsewhere.rename(media)

    cut = tmp_path / "cut.age"
    cut.write_bytes(archive.read_bytes()[:-1])
    there.manage("restore", cut, "--replace", status=1, **key)
    with there.connect() as connection:
        [(names,)] = connection.execute("SELECT array_agg(DISTINCT name) FROM organisations_organisation")
        assert names == ["Since then"]
        assert picture.exists()
        # Somebody is connected.
        assert "Stop the server" in there.manage("restore", archive, "--replace", status=1, **key)

    assert there.manage("restore", archive, "--replace", **key)["restored"]
    with there.connect() as connection:
        [(names,)] = connection.execute("SELECT array_agg(DISTINCT name) FROM organisations_organisation")
        assert "Since then" not in names
    assert picture.exists()
    assert len(list((there.var / "media").glob(".before-restore-*/**/*.png"))) > 0


def test_killed_backup_leaves_no_archive_and_the_next_one_tidies_up(
    here: Deployment, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """What has the name of an archive is a whole one."""
    target = tmp_path / "tonight.age"
    settings = here.environment | {"BACKUP_RECIPIENTS": str(identity.to_public())}
    with here.connect() as connection, connection.transaction():
        # pg_dump waits for this table, so it is in the middle.
        connection.execute("LOCK TABLE organisations_organisation IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen([sys.executable, "manage.py", "backup", target], cwd=CHECKOUT, env=settings)
        deadline = time.monotonic() + 60
        while not command_lines_of_children(process.pid):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.wait()
    assert not target.exists()
    assert len(list(tmp_path.glob(".*.unfinished"))) == 1
    assert here.manage("backup", target, BACKUP_RECIPIENTS=str(identity.to_public()))["file"] == str(target)
    assert list(tmp_path.iterdir()) == [target]
    assert "never overwritten" in here.manage("backup", target, status=1, BACKUP_RECIPIENTS=str(identity.to_public()))


def test_archive_that_the_trail_was_not_told_of_is_an_archive(
    here: Deployment, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """What counts is that there is one: the command succeeds, and says what is missing."""
    with here.connect() as connection:
        connection.execute(
            "ALTER TABLE audit_auditevent ADD CONSTRAINT no_backups CHECK (tag <> 'operator:backup:made') NOT VALID"
        )
    try:
        done = here.run("backup", tmp_path / "x.age", BACKUP_RECIPIENTS=str(identity.to_public()))
    finally:
        with here.connect() as connection:
            connection.execute("ALTER TABLE audit_auditevent DROP CONSTRAINT no_backups")
    assert done.returncode == 0, done.stderr
    assert "audit trail could not be told" in done.stderr
    assert json.loads(done.stdout)["file"] == str(tmp_path / "x.age")
    assert b"manifest.json" in pyrage.decrypt((tmp_path / "x.age").read_bytes(), [identity])


def test_backup_says_what_is_missing(here: Deployment, there: Deployment, tmp_path: Path) -> None:
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    assert "Say who may open it" in here.manage("backup", tmp_path, status=1)
    assert "no tables of Countersign" in there.manage("backup", tmp_path, status=1, BACKUP_RECIPIENTS=recipient)
    assert "not a public key" in here.manage("backup", tmp_path, status=1, BACKUP_RECIPIENTS="age1somebody")
    secret = str(pyrage.x25519.Identity.generate())
    told = here.manage("backup", tmp_path, status=1, BACKUP_RECIPIENTS=secret)
    assert "secret key" in told
    assert secret not in told
    assert "Nothing can be written" in here.manage(
        "backup", tmp_path / "nowhere" / "x.age", status=1, BACKUP_RECIPIENTS=recipient
    )
    assert not list(tmp_path.glob("*.age"))


def test_password_is_on_no_command_line(here: Deployment, tmp_path: Path, identity: pyrage.x25519.Identity) -> None:
    """Every process of the machine can read command lines; the environment of ours nobody else's."""
    with here.connect() as connection:
        connection.execute("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'word-of-the-keeper'")
    parts = urlsplit(here.url)
    url = parts._replace(netloc="keeper:word-of-the-keeper@" + parts.netloc.rpartition("@")[2]).geturl()
    settings = replace(here, url=url).environment | {"BACKUP_RECIPIENTS": str(identity.to_public())}
    try:
        with here.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE organisations_organisation IN ACCESS EXCLUSIVE MODE")
            process = subprocess.Popen(
                [sys.executable, "manage.py", "backup", tmp_path / "x.age"], cwd=CHECKOUT, env=settings
            )
            deadline = time.monotonic() + 60
            while not (lines := command_lines_of_children(process.pid)):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert process.wait(timeout=60) == 0
    finally:
        with here.connect() as connection:
            connection.execute("DROP ROLE keeper")
    assert any("pg_dump" in line for line in lines)
    assert all("word-of-the-keeper" not in line for line in lines)


def command_lines_of_children(pid: int) -> list[str]:
    import psutil

    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(child.cmdline())
                if "--format=custom" in line:
                    found.append(line)
    return found


# --- the encryption itself ----------------------------------------------------------------------------------------


def encrypted(content: bytes, recipients: list[str], folder: Path) -> tuple[Path, pyrage.x25519.Identity]:
    file = folder / "file.age"
    with file.open("wb") as target:
        own = age.encrypt(io.BytesIO(content), target, recipients)
    return file, own


def test_every_recipient_can_open_the_archive(tmp_path: Path) -> None:
    one, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    content = os.urandom(300_000)
    file, own = encrypted(content, [str(one.to_public()), str(other.to_public())], tmp_path)
    for identity in (one, other, own):
        with age.opened(file, [identity]) as stream:
            assert stream.read() == content
        assert pyrage.decrypt(file.read_bytes(), [identity]) == content


@pytest.mark.parametrize(
    "change", [lambda data: data.replace(b"\n--- ", b"\n--- A", 1), lambda data: flipped(data, 60)]
)
def test_header_that_was_changed_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    file, own = encrypted(b"content", [str(pyrage.x25519.Identity.generate().to_public())], tmp_path)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BackupError), age.opened(file, [own]) as stream:
        stream.read()


def test_file_for_a_passphrase_is_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "file.age"
    file.write_bytes(pyrage.passphrase.encrypt(b"content", "a few words"))
    with pytest.raises(WrongKeyError), age.opened(file, [pyrage.x25519.Identity.generate()]) as stream:
        stream.read()


def test_file_that_is_no_identity_is_refused_and_a_locked_one_is_for_the_age_tool() -> None:
    identity = pyrage.x25519.Identity.generate()
    assert [str(found) for found in age.read_identities(f"# mine\n{identity}\n".encode())] == [str(identity)]
    for content, advice in (
        (pyrage.passphrase.encrypt(f"{identity}\n".encode(), "a few words"), "age -d"),
        (b"not an identity", "AGE-SECRET-KEY-1"),
        (b"", "AGE-SECRET-KEY-1"),
    ):
        with pytest.raises(WrongKeyError, match=advice):
            age.read_identities(content)


def test_error_of_what_is_encrypted_is_the_one_that_is_told(tmp_path: Path) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise BackupError("The disk is gone.")

    recipient = str(pyrage.x25519.Identity.generate().to_public())
    with (tmp_path / "file.age").open("wb") as target, pytest.raises(BackupError, match="The disk is gone"):
        age.encrypt(Broken(), target, [recipient])
