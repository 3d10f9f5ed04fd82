"""Makes `.venv` hold what one requirements file pins. Standard library only: nothing is installed yet.

python3 script/virtual_environment.py requirements-local.txt
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
RECORD = VENV / "countersign.json"

# Who has installed a longer list has the shorter ones too: they are part of it.
INCLUDED = {
    "requirements-dev.txt": ["requirements-dev.txt", "requirements-local.txt", "requirements.txt"],
    "requirements-local.txt": ["requirements-local.txt", "requirements.txt"],
}


class InstallError(Exception):
    """The environment cannot be made; the message tells the operator what to do."""


def ensure(requirements: str) -> None:
    """Create `.venv` and install `requirements` into it, unless a finished install of it is recorded."""
    if _recorded(requirements):
        return
    with (CHECKOUT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _recorded(requirements):  # by whoever held the lock
            return
        record = _record()
        if record.get("python") != _python() or not (VENV / "bin" / "python").exists():
            _create()
        _install(requirements)


def _create() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        raise InstallError("Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv")
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True)
    if made.returncode:
        print(made.stdout, made.stderr, sep="", file=sys.stderr)
        raise InstallError("the virtual environment could not be made, see above")
    _write({"python": _python()})


def _install(requirements: str) -> None:
    """Install, and record it only when it is complete: an interrupted install is done again."""
    _write({"python": _python()})
    print(f"Installing the packages of {requirements} (about a minute, once) ...", flush=True)
    pip = [
        str(VENV / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    installed = subprocess.run(
        [*pip, "--require-hashes", "-r", CHECKOUT / requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if installed.returncode:
        print(installed.stdout, file=sys.stderr)
        raise InstallError(f"the packages of {requirements} could not be installed, see above; start again to retry")
    names = INCLUDED.get(requirements, [requirements])
    _write({"python": _python(), **{name: _digest(name) for name in names}})


def _recorded(requirements: str) -> bool:
    record = _record()
    return record.get("python") == _python() and record.get(requirements) == _digest(requirements)


def _record() -> dict[str, str]:
    try:
        return dict(json.loads(RECORD.read_text()))
    except (OSError, ValueError):
        return {}


def _write(record: dict[str, str]) -> None:
    new = RECORD.with_suffix(".new")
    new.write_text(json.dumps(record, indent=2))
    new.replace(RECORD)


def _python() -> str:
    """Which Python the environment is made from; another one needs another environment."""
    return f"{sys.version_info.major}.{sys.version_info.minor} {os.path.realpath(sys.executable)}"


def _digest(requirements: str) -> str:
    return hashlib.sha256((CHECKOUT / requirements).read_bytes()).hexdigest()


if __name__ == "__main__":
    os.umask(0o022)  # the embedded PostgreSQL runs from here, under an account of its own when the operator is root
    try:
        ensure(sys.argv[1])
    except InstallError as error:
        sys.exit(f"countersign: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
