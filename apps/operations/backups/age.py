"""Encrypted files that the `age` tool opens (https://c2sp.org/age), as streams: nothing is held in memory.

The library streams for public keys only. A passphrase differs from a public key in nothing but a line of the file's
header, which wraps the key that the content is encrypted with. So we let the library encrypt for a key of the
moment, and exchange that line; reading, we exchange it back.
"""

import base64
import contextlib
import hmac
import io
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import pyrage
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pyrage.x25519 import Identity, Recipient

from apps.operations.backups.errors import BackupError, DamagedArchiveError, WrongKeyError

VERSION_LINE = b"age-encryption.org/v1\n"
ARMOUR = b"-----BEGIN AGE ENCRYPTED FILE-----"
#: The exponent of scrypt's cost that `age` itself uses: a second, and 256 MB.
SCRYPT_COST = 18
#: A file that asks for more is not ours: it would take gigabytes.
MOST_SCRYPT_COST = 20
_LONGEST_HEADER = 64 * 1024
_BUFFER_BYTES = 256 * 1024
_SCRYPT_LABEL = b"age-encryption.org/v1/scrypt"
_X25519_LABEL = b"age-encryption.org/v1/X25519"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Lock:
    """For whom an archive is encrypted: public keys ("age1…"), or a passphrase."""

    recipients: Sequence[str] = ()
    passphrase: str = ""


@dataclass(frozen=True)
class Keys:
    """What opens an archive: secret keys, or a passphrase."""

    identities: Sequence[Identity] = ()
    passphrase: str = ""


def encrypt(source: Readable, target: IO[bytes], lock: Lock) -> Keys:
    """Encrypt `source` to its end into `target`; return what opens it, so that it can be read back.

    Who encrypts for a public key cannot decrypt. So there is one more key, which lives as long as this process.
    What `source` raises is raised. Raises BackupError for a public key that is none.
    """
    own = Identity.generate()
    kept = _KeepsItsError(source)
    sink: Any = target if lock.recipients else _ForPassphrase(target, own, lock.passphrase)
    try:
        pyrage.encrypt_io(kept, sink, [*read_recipients(lock.recipients), own.to_public()])
    except pyrage.EncryptError as error:
        if kept.error is not None:
            raise kept.error from None
        raise BackupError(f"The archive could not be written: {error}") from error
    return Keys(identities=[own]) if lock.recipients else Keys(passphrase=lock.passphrase)


@contextlib.contextmanager
def opened(path: Path, keys: Keys) -> Iterator[IO[bytes]]:
    """Give the content of an encrypted file as a stream.

    Raises WrongKeyError, or DamagedArchiveError at the latest where the stream ends: each piece of 64 kB is
    authenticated before it is given, and so is the end.
    """
    with path.open("rb") as file:
        source, identities = _unlocked(file, keys)
        read_end, write_end = os.pipe()
        decryption = _Decryption(source, write_end, identities)
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


def read_identities(content: bytes, passphrase: str) -> list[Identity]:
    """Read a file of secret keys as age-keygen writes it, also one that is itself encrypted with a passphrase."""
    if content.startswith((VERSION_LINE, ARMOUR)):
        if not passphrase:
            raise WrongKeyError("The file of the identity is encrypted itself; give its passphrase as well.")
        try:
            content = pyrage.passphrase.decrypt(content, passphrase)
        except pyrage.DecryptError:
            raise WrongKeyError("The passphrase does not open the file of the identity.") from None
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


# --- the header (https://c2sp.org/age: "Header", "X25519", "scrypt") ----------------------------------------------


def _unlocked(file: IO[bytes], keys: Keys) -> tuple[Readable, Sequence[Identity]]:
    """Return the file as one that identities open."""
    header = _read_header(file)
    stanza = _stanza(header, b"scrypt")
    if stanza is None:
        if not keys.identities:
            raise WrongKeyError("The archive is encrypted for a public key; give the identity (the secret key) to it.")
        file.seek(0)
        return file, keys.identities
    if not keys.passphrase:
        raise WrongKeyError("The archive is encrypted with a passphrase; give that.")
    try:
        [salt, cost] = stanza.arguments
        if int(cost) > MOST_SCRYPT_COST:
            raise DamagedArchiveError(f"The archive's passphrase is hashed 2^{int(cost)} times: not one of ours.")
        wrapping_key = _stretched(keys.passphrase, _decoded(salt), int(cost))
        file_key = ChaCha20Poly1305(wrapping_key).decrypt(bytes(12), stanza.body, None)
    except ValueError:
        raise DamagedArchiveError("The archive is damaged: its header cannot be read.") from None
    except InvalidTag:
        raise WrongKeyError("The passphrase does not open the archive.") from None
    unsigned, _, tag = header.rpartition(b"--- ")
    if not hmac.compare_digest(tag.strip(), _header_tag(file_key, unsigned)):
        raise DamagedArchiveError("The archive is damaged: its header was changed.")
    own = Identity.generate()
    return _Chained(_header(file_key, _x25519_stanza(file_key, own)), file), [own]


def _read_header(file: IO[bytes]) -> bytes:
    header = b""
    if file.read(len(VERSION_LINE)) == VERSION_LINE:
        header = VERSION_LINE
        while len(header) < _LONGEST_HEADER:
            line = file.readline(1024)
            header += line
            if line.startswith(b"---") and line.endswith(b"\n"):
                return header
            if not line:
                break
    raise DamagedArchiveError(f"{file.name} is not an archive of manage.py backup, or its beginning is damaged.")


@dataclass(frozen=True)
class _Stanza:
    arguments: list[bytes]
    body: bytes


def _stanza(header: bytes, kind: bytes) -> _Stanza | None:
    """Return the stanza of that kind: a line "-> kind arguments", and lines of Base64."""
    for text in header.split(b"\n-> ")[1:]:
        line, *body = text.partition(b"\n---")[0].split(b"\n")
        name, *arguments = line.split(b" ")
        if name == kind:
            return _Stanza(arguments, _decoded(b"".join(body)))
    return None


def _x25519_stanza(file_key: bytes, identity: Identity) -> bytes:
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    recipient = X25519PrivateKey.from_private_bytes(_secret_of(identity)).public_key()
    wrapping_key = _derived(ephemeral.exchange(recipient), share + recipient.public_bytes_raw(), _X25519_LABEL)
    body = ChaCha20Poly1305(wrapping_key).encrypt(bytes(12), file_key, None)
    return b"-> X25519 %s\n%s\n" % (_encoded(share), _encoded(body))


def _scrypt_stanza(file_key: bytes, passphrase: str) -> bytes:
    salt = secrets.token_bytes(16)
    body = ChaCha20Poly1305(_stretched(passphrase, salt, SCRYPT_COST)).encrypt(bytes(12), file_key, None)
    return b"-> scrypt %s %d\n%s\n" % (_encoded(salt), SCRYPT_COST, _encoded(body))


def _header(file_key: bytes, stanza: bytes) -> bytes:
    unsigned = VERSION_LINE + stanza
    return unsigned + b"--- " + _header_tag(file_key, unsigned) + b"\n"


def _header_tag(file_key: bytes, unsigned: bytes) -> bytes:
    return _encoded(hmac.digest(_derived(file_key, b"", b"header"), unsigned + b"---", "sha256"))


def _file_key(header: bytes, identity: Identity) -> bytes:
    """Return the key that the content is encrypted with; `identity` is the only one that the header is for."""
    stanza = cast(_Stanza, _stanza(header, b"X25519"))
    share = _decoded(stanza.arguments[0])
    own = X25519PrivateKey.from_private_bytes(_secret_of(identity))
    shared = own.exchange(X25519PublicKey.from_public_bytes(share))
    wrapping_key = _derived(shared, share + own.public_key().public_bytes_raw(), _X25519_LABEL)
    return ChaCha20Poly1305(wrapping_key).decrypt(bytes(12), stanza.body, None)


class _ForPassphrase:
    """Passes an encrypted file on, with a header for a passphrase in place of the one for `identity`."""

    def __init__(self, target: IO[bytes], identity: Identity, passphrase: str) -> None:
        self.target = target
        self.identity = identity
        self.passphrase = passphrase
        self.beginning: bytes | None = b""

    def write(self, data: bytes) -> int:
        if self.beginning is None:
            self.target.write(data)
            return len(data)
        self.beginning += data
        start = self.beginning.find(b"\n--- ")
        end = self.beginning.find(b"\n", start + 1) + 1
        if start >= 0 and end > 0:
            header, rest = self.beginning[:end], self.beginning[end:]
            self.beginning = None
            file_key = _file_key(header, self.identity)
            self.target.write(_header(file_key, _scrypt_stanza(file_key, self.passphrase)) + rest)
        return len(data)

    def flush(self) -> None:
        self.target.flush()


class _Chained:
    """Bytes, and then the rest of a file."""

    def __init__(self, beginning: bytes, rest: IO[bytes]) -> None:
        self.beginning = io.BytesIO(beginning)
        self.rest = rest

    def read(self, size: int) -> bytes:
        return self.beginning.read(size) or self.rest.read(size)


def _stretched(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=_SCRYPT_LABEL + salt, length=32, n=1 << cost, r=8, p=1).derive(passphrase.encode())


def _derived(secret: bytes, salt: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=label).derive(secret)


def _secret_of(identity: Identity) -> bytes:
    """Return the 32 bytes of a secret key. Its text is Bech32: 5 bits a letter, 4 bits of padding, a checksum of 6."""
    number = 0
    for letter in str(identity).lower().rpartition("1")[2][:-6]:
        number = number << 5 | _BECH32.index(letter)
    return (number >> 4).to_bytes(32, "big")


def _encoded(data: bytes) -> bytes:
    """Base64 without padding."""
    return base64.b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    """Raises ValueError (binascii.Error is one)."""
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
