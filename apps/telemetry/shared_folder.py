"""The folder in which the processes of one web server keep their figures, so that any of them can tell all.

Needs no Django: whoever starts the server makes the folder, and its processes find it in their environment.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Where prometheus_client looks for it, when it is imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: The process number under which the figures of processes that have ended are kept; no process has it.
_ENDED = 0


def default_folder(host: str, port: int) -> Path:
    """Return a folder that no other server of this machine uses: no other one listens there."""
    return Path(tempfile.gettempdir(), f"countersign-metrics-{os.getuid()}-{host}-{port}")


def prepare(folder: Path) -> None:
    """Make the folder, or empty it, for the processes that are started from here.

    Raises OSError when it cannot be written; among temporary files it may be somebody else's, who could read or
    change the figures: then that is a PermissionError.
    """
    make_private(folder)
    for file in folder.glob("*.db"):
        file.unlink()
    os.environ[VARIABLE] = str(folder)


def make_private(folder: Path) -> None:
    """Make the folder unless it is there. Raises OSError; PermissionError if others can write to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} has to be a folder that only its owner can write, and its owner this account")


def find() -> Path | None:
    """Return the folder of this process; None if it keeps its figures to itself."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


@contextlib.contextmanager
def locked(folder: Path, *, for_changes: bool = False) -> Iterator[None]:
    """Keep the folder's files as they are; `for_changes` keeps everybody else out."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if for_changes else fcntl.LOCK_SH)
        yield


def fold_ended_processes() -> None:
    """Add up the figures of processes that have ended into one file: each that crashes would leave two.

    Called by each process when it begins, so that there are never many.
    """
    folder = find()
    if folder is None:
        return
    from prometheus_client.mmap_dict import MmapedDict

    with locked(folder, for_changes=True):
        for kind in ("counter", "histogram"):
            kept = folder / f"{kind}_{_ENDED}.db"
            ended = [file for file in folder.glob(f"{kind}_*.db") if file != kept and not _is_running(file)]
            if not ended:
                continue
            sums: dict[str, float] = {}
            for file in [kept, *ended] if kept.exists() else ended:
                for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):
                    sums[key] = sums.get(key, 0.0) + value
            fresh = folder / "folding"
            fresh.unlink(missing_ok=True)
            written = MmapedDict(str(fresh))
            for key, value in sums.items():
                written.write_value(key, value, 0.0)
            written.close()
            fresh.replace(kept)
            for file in ended:
                file.unlink()


def _is_running(file: Path) -> bool:
    try:
        os.kill(int(file.stem.rpartition("_")[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
