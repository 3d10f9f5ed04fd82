"""A health check for containers: exit status 0 if the process beside it is well. It loads no Django, for it runs often.

python -m apps.operations.probe web       the web server answers at PORT
python -m apps.operations.probe worker    the worker's event loop has turned lately
"""

import hashlib
import http.client
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from config.reading import Environment


def sign_of_life(var_dir: str) -> Path:
    """Return the file that the worker of the deployment with that VAR_DIR touches each `SIGN_SECONDS`.

    Among the temporary files, which each container has for itself; there in a folder of its own, for elsewhere others
    could have laid a link of that name. No other deployment, or older version, on the same machine has its name.
    """
    deployment = hashlib.sha256(os.path.abspath(var_dir).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"countersign-alive-{os.getuid()}-{deployment}", "alive")


SIGN_OF_LIFE = sign_of_life(Environment(is_complete=False)("VAR_DIR"))
SIGN_SECONDS = 5
#: So old a sign is none.
STALE_SECONDS = 60
TIMEOUT_SECONDS = 4
#: Of each wildcard, which is no address to call.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (nothing listens here)


def web_is_well() -> bool:
    """Ask `/livez`, where the server listens; over loopback if that is everywhere."""
    environment = Environment(is_complete=False)
    host = LOOPBACK.get(environment("HOST"), environment("HOST"))
    with closing(http.client.HTTPConnection(host, environment("PORT"), timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200


def worker_is_well() -> bool:
    """Look at the age of the worker's sign of life."""
    sign = SIGN_OF_LIFE.lstat()
    return sign.st_uid == os.getuid() and time.time() - sign.st_mtime < STALE_SECONDS


PROBES = {"web": web_is_well, "worker": worker_is_well}


def main(arguments: list[str]) -> int:
    """Return the exit status; what is wrong is printed."""
    if len(arguments) != 1 or arguments[0] not in PROBES:
        print(__doc__, file=sys.stderr)  # noqa: T201 (a program of its own)
        return 2
    try:
        return 0 if PROBES[arguments[0]]() else 1
    except (OSError, http.client.HTTPException) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
