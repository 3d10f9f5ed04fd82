"""Encrypted files that the `age` tool opens (https://c2sp.org/age), as streams: nothing is held in memory.

For public keys only: that is what the library streams, and who writes archives need not be able to read them.
"""

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

import pyrage
from pyrage.x25519 import Identity, Recipient

from apps.operations.backups.errors import BackupError, DamagedArchiveError, WrongKeyError

VERSION_LINE = b"age-encryption.org/v1\n"
ARMOUR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_BUFFER_BYTES = 256 * 1024


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def make_identity(path: Path, *, now: datetime) -> str:
    """Write a new secret key to a new file that only its owner can read, as age-keygen does; return its public key."""
    identity = Identity.generate()
    recipient = str(identity.to_public())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupError(f"{path} exists already, and is left as it is.") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"# created: {now.isoformat(timespec='seconds')}\n# public key: {recipient}\n{identity}\n")
        file.flush()
        os.fsync(file.fileno())
    return recipient


def encrypt(source: Readable, target: IO[bytes], recipients: Sequence[str]) -> Identity:
    """Encrypt `source` to its end into `target` for these public keys; return what opens it, to read it back.

    Who encrypts for a public key cannot decrypt. So there is one more key, which lives as long as this process.
    What `source` raises is raised. Raises BackupError for a public key that is none.
    """
    own = Identity.generate()
    kept = _KeepsItsError(source)
    try:
        pyrage.encrypt_io(kept, target, [*read_recipients(recipients), own.to_public()])
    except pyrage.EncryptError as error:
        if kept.error is not None:
            raise kept.error from None
        raise BackupError(f"The archive could not be written: {error}") from error
    return own


@contextlib.contextmanager
def opened(path: Path, identities: Sequence[Identity]) -> Iterator[IO[bytes]]:
    """Give the content of an encrypted file as a stream.

    Raises WrongKeyError, or DamagedArchiveError at the latest where the stream ends: each piece of 64 kB is
    authenticated before it is given, and so is the end.
    """
    with path.open("rb") as file:
        if file.read(len(VERSION_LINE)) != VERSION_LINE:
            raise DamagedArchiveError(f"{path} is not an archive of manage.py backup, or its beginning is damaged.")
        file.seek(0)
        read_end, write_end = os.pipe()
        decryption = _Decryption(file, write_end, identities)
        decryption.start()
        try:
            with os.fdopen(read_end, "rb", buffering=0) as pipe:
                yield io.BufferedReader(_UntilItsEnd(pipe, decryption), _BUFFER_BYTES)
        finally:
            # The pipe is closed, so whoever still writes into it comes to an end.
            decryption.join()


def read_recipients(texts: Sequence[str]) -> list[Recipient]:
    """Read public keys. Raises BackupError for one that is none."""
    recipients = []
    for text in texts:
        try:
            recipients.append(Recipient.from_str(text.strip()))
        except pyrage.RecipientError:
            if text.strip().upper().startswith("AGE-SECRET-KEY-"):
                # Not quoted: it is the secret one.
                raise BackupError(
                    "That is a secret key, and whoever reads it can open your backups. The public one begins with age1."
                ) from None
            raise BackupError(f"{text.strip()!r} is not a public key of age: it begins with age1.") from None
    return recipients


def read_identities(content: bytes) -> list[Identity]:
    """Read a file of secret keys as age-keygen writes it. Raises WrongKeyError for one that is none, or is locked."""
    if content.startswith((VERSION_LINE, ARMOUR)):
        raise WrongKeyError(
            "The file of the identity is encrypted itself. Let age unlock it: age -d FILE | manage.py restore …"
            " --identity-file -"
        )
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    try:
        identities = [Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        identities = []
    if not identities:
        raise WrongKeyError("That is not an identity of age: a line that begins with AGE-SECRET-KEY-1 is expected.")
    return identities


class _KeepsItsError:
    """A source whose error is not lost in the library, which has only words for it."""

    def __init__(self, source: Readable) -> None:
        self.source = source
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            return self.source.read(size)
        except BaseException as error:
            self.error = error
            raise


class _Decryption(threading.Thread):
    """Writes what it decrypts into a pipe, and keeps why it could not."""

    def __init__(self, source: Readable, write_end: int, identities: Sequence[Identity]) -> None:
        super().__init__(name="decryption", daemon=True)
        self.source = source
        self.target = os.fdopen(write_end, "wb", buffering=0)
        self.identities = identities
        self.error: str | None = None

    def run(self) -> None:
        try:
            pyrage.decrypt_io(self.source, _WritesAll(self.target), self.identities)
        except Exception as error:
            self.error = str(error)
        finally:
            self.target.close()


class _WritesAll:
    """A pipe may take less than it is given."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target = target

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[self.target.write(view) :]
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""


class _UntilItsEnd(io.RawIOBase):
    """The end of a stream counts only if decryption came to its end as well."""

    def __init__(self, pipe: IO[bytes], decryption: _Decryption) -> None:
        self.pipe = pipe
        self.decryption = decryption
        self.is_empty = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.pipe.read(len(buffer))
        if not data:
            self.decryption.join()
            if self.decryption.error is not None:
                raise _explained(self.decryption.error, is_beginning=self.is_empty)
            return 0
        self.is_empty = False
        buffer[: len(data)] = data
        return len(data)


def _explained(error: str, *, is_beginning: bool) -> BackupError:
    if is_beginning and "No matching keys" in error:
        return WrongKeyError("The archive is not encrypted for that identity.")
    return DamagedArchiveError(f"The archive is damaged or cut off: {error}.")
