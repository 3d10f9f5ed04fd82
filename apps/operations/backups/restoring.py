"""Restoring an archive: in one transaction, so that a restore that fails leaves what was there before."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import psycopg
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from pyrage.x25519 import Identity

from apps.operations.backups import age, archive, database
from apps.operations.backups.archive import Manifest
from apps.operations.backups.errors import BackupError, DamagedArchiveError
from apps.operations.backups.making import compare_rows, fingerprint_of_secret_key
from apps.operations.backups.programs import find_program


@dataclass(frozen=True)
class Restored:
    """What a restore has brought back, or a check has found."""

    made_at: str
    tables: int
    rows: int
    pictures: int
    secret_key_fingerprint: str
    has_secret_key: bool
    #: Roles that could do something there, and do not exist here.
    missing_roles: list[str] = field(default_factory=list)
    #: Where pictures are that were here before.
    set_aside: Path | None = None
    #: Why a restore with this code and these settings would refuse the archive.
    obstacles: list[str] = field(default_factory=list)


def check_archive(path: Path, identities: Sequence[Identity]) -> Restored:
    """Read all of an archive as a restore would; change nothing.

    That may be on a machine with another secret or other code: what would be in the way of a restore there is told
    in `obstacles`, and says nothing against the archive.
    """
    with contextlib.closing(_Checker()) as checker:
        with age.opened(path, identities) as stream:
            summary = archive.read(stream, checker)
        compare_rows(checker.counts, summary.tables)
        return _restored(checker, summary, obstacles=checker.obstacles)


def restore_backup(path: Path, identities: Sequence[Identity], *, replace: bool) -> Restored:
    """Restore database and pictures from an archive.

    Refuses a database or a folder of pictures that is not empty, unless `replace`. All of the database is one
    transaction, which is committed when everything was found to be as it was written. Raises BackupError; then
    nothing has changed.
    """
    with (
        database.connect() as connection,
        # Outside the transaction: what has been moved is moved back if the commit fails.
        _Pictures(Path(settings.MEDIA_ROOT), replace=replace) as pictures,
        connection.transaction(),
        contextlib.closing(_Restorer(connection, pictures)) as restorer,
    ):
        database.hold_alone(connection)
        _make_room(connection, replace=replace)
        with age.opened(path, identities) as stream:
            summary = archive.read(stream, restorer)
        compare_rows(restorer.counts, summary.tables)
        missing = database.grant_privileges(connection, summary.privileges)
        if set(database.find_tables(connection)) != summary.tables.keys():
            raise BackupError("The database has other tables than the archive; nothing was changed.")
        set_aside = pictures.put_in_place()
    with database.connect() as connection:
        # Without it the first queries are planned as if all tables were small.
        connection.execute("ANALYZE")
    return _restored(restorer, summary, missing_roles=missing, set_aside=set_aside)


def write_secret_key(path: Path, identities: Sequence[Identity], target: Path) -> str:
    """Write the archive's SECRET_KEY to a new file that only its owner can read; return its fingerprint."""
    receiver = _SecretKey()
    with contextlib.suppress(_EnoughError), age.opened(path, identities) as stream:
        archive.read(stream, receiver)
    if receiver.secret_key is None:
        raise BackupError("There is no SECRET_KEY in this archive: it was made with --without-secret-key.")
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupError(f"{target} exists already, and is left as it is.") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(receiver.secret_key)
    return receiver.fingerprint


def _make_room(connection: psycopg.Connection[Any], *, replace: bool) -> None:
    if database.is_empty(connection):
        return
    if not replace:
        raise BackupError(
            f"The database is not empty: it has {database.describe_contents(connection)}. Name an empty one in"
            " DATABASE_URL. --replace gives up everything in this one, and the pictures, for what is in the archive."
        )
    if others := database.other_sessions(connection):
        raise BackupError(f"{others} others are connected to the database. Stop the server and the worker first.")
    database.empty(connection)


def _find_obstacles(manifest: Manifest) -> Iterator[str]:
    """Say why this code, with these settings, cannot run what is in the archive."""
    if manifest.secret_key_fingerprint != fingerprint_of_secret_key():
        way_out = (
            "It is in the archive: write it to a file with --secret-key-to FILE, set SECRET_KEY_FILE to that file,"
            " and restore again."
            if manifest.has_secret_key
            else "It is not in the archive; set SECRET_KEY to the one that the archive's server had."
        )
        yield (
            f"The archive belongs to another SECRET_KEY (fingerprint {manifest.secret_key_fingerprint}, this one has"
            f" {fingerprint_of_secret_key()}), without which its signing keys cannot be read. {way_out}"
        )
    known = MigrationLoader(None).disk_migrations
    unknown = [
        f"{app}.{name}" for app, names in manifest.migrations.items() for name in names if (app, name) not in known
    ]
    if unknown:
        yield (
            f"The archive was made by a newer Countersign: this one does not know {', '.join(unknown[:3])}"
            f"{' and more' if len(unknown) > 3 else ''}. Install that version, or a newer one, and restore with it."
        )


class _Reader:
    """What checking and restoring have in common."""

    #: The archive's first part.
    manifest: Manifest

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.dump: database.DumpReader | None = None

    def take_manifest(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def take_secret_key(self, secret_key: str) -> None:
        if fingerprint_of_secret_key(secret_key) != self.manifest.secret_key_fingerprint:
            raise DamagedArchiveError("The SECRET_KEY in the archive is not the one that it was made with.")

    def take_database(self, piece: bytes) -> None:
        if self.dump is None:
            self.dump = self.start()
        try:
            self.dump.feed(piece)
        except psycopg.Error as error:
            raise _not_taken(error) from error

    def take_end_of_database(self) -> None:
        if self.dump is None:
            return
        try:
            self.counts = self.dump.finish()
        except psycopg.Error as error:
            raise _not_taken(error) from error

    def start(self) -> database.DumpReader:
        return database.DumpReader(find_program("pg_restore", at_least=self.manifest.pg_dump))

    def close(self) -> None:
        if self.dump is not None:
            self.dump.abandon()


class _Checker(_Reader):
    def __init__(self) -> None:
        super().__init__()
        self.obstacles: list[str] = []

    def take_manifest(self, manifest: Manifest) -> None:
        super().take_manifest(manifest)
        self.obstacles = list(_find_obstacles(manifest))

    def take_media(self, path: PurePosixPath, pieces: Iterator[bytes]) -> None:
        """Read to the end by whoever reads the archive."""


class _Restorer(_Reader):
    def __init__(self, connection: psycopg.Connection[Any], pictures: "_Pictures") -> None:
        super().__init__()
        self.connection = connection
        self.pictures = pictures

    def take_manifest(self, manifest: Manifest) -> None:
        super().take_manifest(manifest)
        for obstacle in _find_obstacles(manifest):
            raise BackupError(obstacle)
        here = database.major_version(self.connection)
        if here < manifest.postgresql:
            raise BackupError(
                f"The archive is from PostgreSQL {manifest.postgresql}, and this is {here}: restore into version"
                f" {manifest.postgresql} or newer."
            )

    def take_media(self, path: PurePosixPath, pieces: Iterator[bytes]) -> None:
        self.pictures.take(path, pieces)

    def start(self) -> database.DumpReader:
        return database.Player(find_program("pg_restore", at_least=self.manifest.pg_dump), self.connection)


class _EnoughError(Exception):
    """What was looked for is found."""


class _SecretKey(_Reader):
    """Receives an archive whatever this deployment's own secret is."""

    secret_key: str | None = None
    fingerprint = ""

    def take_manifest(self, manifest: Manifest) -> None:
        self.fingerprint = manifest.secret_key_fingerprint
        if not manifest.has_secret_key:
            raise _EnoughError

    def take_secret_key(self, secret_key: str) -> None:
        self.secret_key = secret_key
        raise _EnoughError

    def take_media(self, path: PurePosixPath, pieces: Iterator[bytes]) -> None:
        """Comes later."""


class _Pictures:
    """The folder of the pictures while it is being filled: beside what is in it, until all is there.

    The folder itself may be a mounted volume, so it is not exchanged; what is in it is.
    """

    def __init__(self, root: Path, *, replace: bool) -> None:
        self.root = root
        self.stamp = timezone.now().strftime("%Y%m%dT%H%M%SZ")
        self.staging = root / f".restoring-{self.stamp}"
        self.aside = root / f".before-restore-{self.stamp}"
        self.replace = replace
        self.moved: list[tuple[Path, Path]] = []

    def __enter__(self) -> Self:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if self._present() and not self.replace:
                raise BackupError(
                    f"The folder of the pictures, {self.root}, is not empty. Empty it, name another VAR_DIR, or give"
                    " --replace."
                )
            self.staging.mkdir()
        except OSError as error:
            raise BackupError(f"Nothing can be written to {self.root}: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.put_back()
        shutil.rmtree(self.staging, ignore_errors=True)

    def take(self, path: PurePosixPath, pieces: Iterator[bytes]) -> None:
        target = self.staging / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for piece in pieces:
                file.write(piece)

    def put_in_place(self) -> Path | None:
        """Move what was there aside and what has come in; return where what was there is now."""
        present = self._present()
        if present:
            self.aside.mkdir()
        for entry in present:
            self._move(entry, self.aside / entry.name)
        for entry in sorted(self.staging.iterdir()):
            self._move(entry, self.root / entry.name)
        return self.aside if present else None

    def put_back(self) -> None:
        """Undo `put_in_place`."""
        while self.moved:
            source, target = self.moved.pop()
            target.rename(source)
        with contextlib.suppress(OSError):
            self.aside.rmdir()

    def _move(self, source: Path, target: Path) -> None:
        source.rename(target)
        self.moved.append((source, target))

    def _present(self) -> list[Path]:
        return sorted(entry for entry in self.root.iterdir() if not entry.name.startswith("."))


def _not_taken(error: psycopg.Error) -> BackupError:
    first = str(error).strip().partition("\n")[0]
    return BackupError(f"PostgreSQL did not take what is in the archive: {first}")


def _restored(
    reader: _Reader,
    summary: archive.Summary,
    *,
    missing_roles: Sequence[str] = (),
    set_aside: Path | None = None,
    obstacles: Sequence[str] = (),
) -> Restored:
    return Restored(
        made_at=reader.manifest.made_at,
        tables=len(summary.tables),
        rows=sum(summary.tables.values()),
        pictures=len(summary.media),
        secret_key_fingerprint=reader.manifest.secret_key_fingerprint,
        has_secret_key=reader.manifest.has_secret_key,
        missing_roles=list(missing_roles),
        set_aside=set_aside,
        obstacles=list(obstacles),
    )
