"""Writing an archive: under another name until it was read back, so that what has its name can be restored."""

import contextlib
import fcntl
import os
import secrets
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import psycopg
from django.conf import settings
from django.db import Error, transaction
from django.utils import timezone
from pyrage.x25519 import Identity

from apps.audit import trail
from apps.operations.backups import age, archive, database
from apps.operations.backups.archive import Manifest, Summary
from apps.operations.backups.errors import BackupError, DamagedArchiveError
from apps.operations.backups.history import MADE
from apps.operations.backups.programs import Program, find_program
from apps.sealing import derive_secret_of

#: Of a file that is being written, or whose writer was killed.
UNFINISHED = ".unfinished"
#: How long pg_dump waits for a table that somebody is changing, before it gives up.
LOCK_SECONDS = 60


@dataclass(frozen=True)
class Made:
    """An archive that was written and read back."""

    file: Path
    size: int
    made_at: str
    tables: int
    rows: int
    pictures: int
    secret_key_fingerprint: str
    has_secret_key: bool
    #: Why the audit trail does not tell of it; empty if it does.
    not_recorded: str = ""


def fingerprint_of_secret_key(secret_key: str = "") -> str:
    """Return what tells one deployment secret from another; of ours by default."""
    return derive_secret_of(secret_key or settings.SECRET_KEY, "backup-fingerprint")[:6].hex()


def default_name() -> str:
    return timezone.now().strftime("countersign-%Y%m%dT%H%M%SZ.age")


def make_backup(target: Path, recipients: Sequence[str], *, with_secret_key: bool) -> Made:
    """Write everything into an encrypted archive, read it back, and only then give it its name.

    Only `recipients` can open it (public keys). The database is taken as it was at one moment; the server goes on
    meanwhile. Raises BackupError; then nothing is left at `target`.
    """
    age.read_recipients(recipients)
    if target.exists():
        raise BackupError(f"{target} exists already; an archive is never overwritten.")
    with database.connect() as connection, _unfinished_file(target) as file:
        version = database.major_version(connection)
        pg_dump = find_program("pg_dump", at_least=version)
        pg_restore = find_program("pg_restore", at_least=pg_dump.version)
        manifest = Manifest(
            made_at=timezone.now().isoformat(timespec="seconds"),
            secret_key_fingerprint=fingerprint_of_secret_key(),
            has_secret_key=with_secret_key,
            postgresql=version,
            pg_dump=pg_dump.version,
            migrations=database.applied_migrations(connection),
        )
        summary = Summary()
        with contextlib.closing(_content(connection, pg_dump, manifest, summary)) as content:
            identity = age.encrypt(archive.Stream(content), file, recipients)
        file.flush()
        os.fsync(file.fileno())
        # So that what is read back comes from the disk, and not from memory.
        if hasattr(os, "posix_fadvise"):  # macOS has none
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        _read_back(Path(file.name), identity, pg_restore, summary)
        _give_name(Path(file.name), target)
        return Made(
            file=target,
            size=os.fstat(file.fileno()).st_size,
            made_at=manifest.made_at,
            tables=len(summary.tables),
            rows=sum(summary.tables.values()),
            pictures=len(summary.media),
            secret_key_fingerprint=manifest.secret_key_fingerprint,
            has_secret_key=with_secret_key,
            not_recorded=_record(with_secret_key=with_secret_key),
        )


def _record(*, with_secret_key: bool) -> str:
    """Tell the audit trail; return why not if that fails. The archive is there and good, whatever happens here."""
    try:
        with transaction.atomic():
            trail.record(MADE, secret_key=with_secret_key)
    except Error as error:
        return str(error).strip().partition("\n")[0]
    return ""


def _content(
    connection: psycopg.Connection[Any], pg_dump: Program, manifest: Manifest, summary: Summary
) -> Generator[bytes, None, None]:
    yield from archive.document(archive.MANIFEST, manifest)
    if manifest.has_secret_key:
        yield from archive.member(archive.SECRET_KEY, settings.SECRET_KEY.encode())
    root = Path(settings.MEDIA_ROOT)
    # A picture is stored before its row and deleted after it. So those of the database's moment are there before that
    # moment, or came until then.
    for path in _find_pictures(root):
        yield from archive.media_file(root, path, summary)
    with _moment(connection) as snapshot:
        if database.applied_migrations(connection) != manifest.migrations:
            raise BackupError("The database was migrated meanwhile; try again.")
        for path in _find_pictures(root):
            if path not in summary.media:
                yield from archive.media_file(root, path, summary)
        with _dump(connection, pg_dump, snapshot) as dump:
            yield from archive.database_pieces(dump, summary)
        summary.tables = database.count_rows(connection)
        summary.privileges = database.find_privileges(connection)
    yield from archive.document(archive.SUMMARY, summary)
    yield archive.end()


def _find_pictures(root: Path) -> list[str]:
    """Return the paths of all uploaded files below the folder; what begins with a dot is a restore's own."""
    return sorted(
        file.relative_to(root).as_posix()
        for file in root.rglob("*")
        if file.is_file() and not file.relative_to(root).parts[0].startswith(".")
    )


@contextlib.contextmanager
def _moment(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Hold on to the database as it is now; gives the snapshot's name for other sessions."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute("SELECT set_config(%s, '0', true)", [setting])
        [(snapshot,)] = connection.execute("SELECT pg_export_snapshot()")
        yield snapshot


@contextlib.contextmanager
def _dump(connection: psycopg.Connection[Any], pg_dump: Program, snapshot: str) -> Iterator[IO[bytes]]:
    """Run pg_dump at that moment. Raises BackupError when it fails."""
    command = [
        *(str(pg_dump.path), "--format=custom", "--encoding=UTF8", "--no-password", f"--snapshot={snapshot}"),
        *(f"--lock-wait-timeout={LOCK_SECONDS}s", "--no-publications", "--no-subscriptions"),
    ]
    environment = database.environment_for(connection, os.environ)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            yield cast(IO[bytes], process.stdout)
        except BaseException:
            process.kill()
            raise
        if process.wait():
            raise BackupError(f"The database could not be read: {database.said(errors)}")


class _ReadBack:
    """Receives an archive only to see that everything is in it."""

    def __init__(self, pg_restore: Program) -> None:
        self.pg_restore = pg_restore
        self.dump: database.DumpReader | None = None
        self.counts: dict[str, int] = {}

    def take_manifest(self, manifest: Manifest) -> None:
        """Nothing is compared: it comes from this process."""

    def take_secret_key(self, secret_key: str) -> None:
        if secret_key != settings.SECRET_KEY:
            raise DamagedArchiveError("The archive has another SECRET_KEY in it.")

    def take_media(self, path: PurePosixPath, pieces: Iterator[bytes]) -> None:
        for _ in pieces:
            pass

    def take_database(self, piece: bytes) -> None:
        if self.dump is None:
            self.dump = database.DumpReader(self.pg_restore)
        self.dump.feed(piece)

    def take_end_of_database(self) -> None:
        if self.dump is not None:
            self.counts = self.dump.finish()

    def close(self) -> None:
        if self.dump is not None:
            self.dump.abandon()


def _read_back(path: Path, identity: Identity, pg_restore: Program, written: Summary) -> None:
    """Decrypt, compare the checksums, have pg_restore read the dump, count the rows."""
    with contextlib.closing(_ReadBack(pg_restore)) as receiver, age.opened(path, [identity]) as stream:
        found = archive.read(stream, receiver)
    if found != written:
        raise DamagedArchiveError("What was read back is not what was written.")
    compare_rows(receiver.counts, written.tables)


def compare_rows(found: dict[str, int], expected: dict[str, int]) -> None:
    """Raise DamagedArchiveError for the first table whose rows are not all there."""
    for table in sorted(found.keys() | expected.keys()):
        if found.get(table) != expected.get(table):
            raise DamagedArchiveError(
                f"The archive has {found.get(table, 0)} rows of {table}, and the database {expected.get(table, 0)}."
            )


@contextlib.contextmanager
def _unfinished_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `target` that only its owner can read; it is gone afterwards, whatever happens.

    One that a killed process has left is removed: the kernel has released its lock.
    """
    try:
        for left in target.parent.glob(f".*{UNFINISHED}"):
            with left.open("rb") as file:
                if _is_locked_by_us(file):
                    left.unlink(missing_ok=True)
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}{UNFINISHED}")
        unfinished = open(path, "xb", opener=_private)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise BackupError(f"Nothing can be written to {target.parent}: {error.strerror}.") from error
    with unfinished as file:
        _is_locked_by_us(file)
        try:
            yield file
        finally:
            path.unlink(missing_ok=True)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _is_locked_by_us(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _give_name(unfinished: Path, target: Path) -> None:
    """Name the archive at once and for good; a file that has the name meanwhile is not overwritten."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        raise BackupError(f"{target} exists already; an archive is never overwritten.") from None
    except OSError:
        # A file system without links (some network ones). Nothing else is in between: `target` did not exist.
        unfinished.rename(target)
    try:
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        # Nobody may rely on a name that is perhaps gone after a power cut.
        target.unlink(missing_ok=True)
        raise
