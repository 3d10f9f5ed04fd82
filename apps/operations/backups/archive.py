"""What is in an archive: a tar file, encrypted as a whole, whose parts standard tools can put to use.

manifest.json           what it is, and what it takes to restore it; read first
secret-key              the deployment secret, unless it was left out
media/…                 uploaded pictures
database/00000000       pg_dump's custom format in pieces, because tar wants to know sizes beforehand:
database/00000001 …         age -d … | tar -xO --wildcards 'database/*' | pg_restore …
summary.json            checksums, rows of each table, privileges; an archive without it is not complete
"""

import dataclasses
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, Self

from apps.operations.backups.errors import BackupError, DamagedArchiveError

FORMAT = "countersign-backup"
#: Counted up when older code could not read it any more.
FORMAT_VERSION = 1
PIECE_BYTES = 4 * 1024 * 1024
_LONGEST_DOCUMENT = 64 * 1024 * 1024

MANIFEST = "manifest.json"
SECRET_KEY = "secret-key"
SUMMARY = "summary.json"
MEDIA = "media/"
DATABASE = "database/"


@dataclass(frozen=True)
class Manifest:
    """What has to be known before anything is restored."""

    made_at: str
    #: Tells which SECRET_KEY it belongs to, and says nothing about it.
    secret_key_fingerprint: str
    has_secret_key: bool
    #: Major versions.
    postgresql: int
    pg_dump: int
    #: The names of those that were applied, by app.
    migrations: dict[str, list[str]]
    format: str = FORMAT
    version: int = FORMAT_VERSION

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        if document.get("format") != FORMAT:
            raise DamagedArchiveError("That is not an archive of manage.py backup.")
        if document.get("version", 0) > FORMAT_VERSION:
            raise BackupError("The archive was made by a newer Countersign: install that version, or a newer one.")
        return cls(**document)


@dataclass
class Summary:
    """What was written, to be compared with what is read."""

    database_bytes: int = 0
    database_sha256: str = ""
    #: Rows by the name of the table, schema included.
    tables: dict[str, int] = field(default_factory=dict)
    #: SHA-256 by path.
    media: dict[str, str] = field(default_factory=dict)
    #: See database.Privileges.
    privileges: list[dict[str, Any]] = field(default_factory=list)


class Receiver(Protocol):
    """Whom an archive is read to, in its order."""

    def take_manifest(self, manifest: Manifest, /) -> None: ...

    def take_secret_key(self, secret_key: str, /) -> None: ...

    def take_media(self, path: PurePosixPath, pieces: Iterator[bytes], /) -> None: ...

    def take_database(self, piece: bytes, /) -> None: ...

    def take_end_of_database(self) -> None: ...


class Stream:
    """A stream to read from, made of pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            self.rest = memoryview(piece)
        data, self.rest = self.rest[:size], self.rest[size:]
        return bytes(data)


# --- writing ---------------------------------------------------------------------------------------------------


def document(name: str, content: Any) -> Iterator[bytes]:
    """Give a member that is JSON."""
    data = dataclasses.asdict(content) if dataclasses.is_dataclass(content) else content  # type: ignore[arg-type]
    yield from member(name, json.dumps(data, indent=1, ensure_ascii=False).encode())


def member(name: str, content: bytes) -> Iterator[bytes]:
    """Give a member of the tar file."""
    yield _head(name, len(content))
    yield content
    yield _padding(len(content))


def media_file(root: Path, path: str, summary: Summary) -> Iterator[bytes]:
    """Give a picture as a member, and note it; nothing if it was deleted meanwhile. Pictures never change in place."""
    try:
        file = (root / path).open("rb")
    except FileNotFoundError:
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256()
        left = size
        yield _head(MEDIA + path, size)
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            digest.update(piece)
            yield piece
        if left:
            raise BackupError(f"The picture {path} became shorter while it was read; try again.")
        yield _padding(size)
    summary.media[path] = digest.hexdigest()


def database_pieces(dump: IO[bytes], summary: Summary) -> Iterator[bytes]:
    """Give a dump as members of `PIECE_BYTES` each, and note it."""
    digest = hashlib.sha256()
    number = 0
    while piece := dump.read(PIECE_BYTES):
        digest.update(piece)
        summary.database_bytes += len(piece)
        yield from member(f"{DATABASE}{number:08}", piece)
        number += 1
    summary.database_sha256 = digest.hexdigest()


def end() -> bytes:
    """Return the end of the tar file (POSIX: two blocks of zeros)."""
    return bytes(2 * tarfile.BLOCKSIZE)


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


# --- reading ---------------------------------------------------------------------------------------------------


def read(stream: IO[bytes], receiver: Receiver) -> Summary:
    """Read an archive to `receiver`, and to its end; return what it says of itself.

    What was received is as it was written only when this returns: until then, keep it apart. Raises
    DamagedArchiveError, and what the receiver raises.
    """
    found = Summary()
    digest = hashlib.sha256()
    stated: dict[str, Any] | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE_BYTES // 8) as tar:
            for index, info in enumerate(tar):
                file = tar.extractfile(info)
                if not info.isreg() or file is None or stated is not None or (index == 0) != (info.name == MANIFEST):
                    raise DamagedArchiveError(f"The archive is not in order at {info.name!r}.")
                if found.database_bytes and not info.name.startswith(DATABASE) and not found.database_sha256:
                    found.database_sha256 = digest.hexdigest()
                    receiver.take_end_of_database()
                if info.name == MANIFEST:
                    receiver.take_manifest(Manifest.read(_json(info, file)))
                elif info.name == SECRET_KEY:
                    receiver.take_secret_key(_text(info, file))
                elif info.name.startswith(MEDIA):
                    path = _safe_path(info.name)
                    pieces = _Digesting(file)
                    receiver.take_media(path, pieces)
                    found.media[str(path)] = pieces.hexdigest()
                elif info.name.startswith(DATABASE) and not found.database_sha256:
                    for piece in _pieces(file):
                        digest.update(piece)
                        found.database_bytes += len(piece)
                        receiver.take_database(piece)
                elif info.name == SUMMARY:
                    stated = _json(info, file)
                else:
                    raise DamagedArchiveError(f"The archive has a part that is not known: {info.name!r}.")
        # To the end of the encryption, which shows whether something was cut off.
        while stream.read(PIECE_BYTES):
            pass
    except (tarfile.TarError, ValueError, TypeError, KeyError) as error:
        raise DamagedArchiveError(f"The archive is damaged: {error}.") from error
    if stated is None:
        raise DamagedArchiveError("The archive is not complete: its end is missing.")
    summary = Summary(**stated)
    for what, one, other in (
        ("database", (found.database_bytes, found.database_sha256), (summary.database_bytes, summary.database_sha256)),
        ("pictures", found.media, summary.media),
    ):
        if one != other:
            raise DamagedArchiveError(f"The archive is damaged: the {what} are not what was written.")
    return summary


class _Digesting:
    """The pieces of a file, with their checksum."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self.file.read(PIECE_BYTES)
        if not piece:
            raise StopIteration
        self.digest.update(piece)
        return piece

    def hexdigest(self) -> str:
        for _ in self:  # whatever the receiver had no use for
            pass
        return self.digest.hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _text(info: tarfile.TarInfo, file: IO[bytes]) -> str:
    if info.size > _LONGEST_DOCUMENT:
        raise DamagedArchiveError(f"The archive is damaged: {info.name} is too long.")
    return file.read().decode()


def _json(info: tarfile.TarInfo, file: IO[bytes]) -> dict[str, Any]:
    content = json.loads(_text(info, file))
    if not isinstance(content, dict):
        raise DamagedArchiveError(f"The archive is damaged: {info.name} is not an object.")
    return content


def _safe_path(name: str) -> PurePosixPath:
    """Return the path below the folder of the media; nothing may be written anywhere else."""
    path = PurePosixPath(name.removeprefix(MEDIA))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DamagedArchiveError(f"The archive has a picture at an impossible place: {name!r}.")
    return path
