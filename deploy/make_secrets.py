"""Makes the secrets of a deployment, each in a file of its own. What is there already is never changed.

python3 deploy/make_secrets.py FOLDER [--database-host HOST]

Standard library only: it runs before anything is set up, on the host or in the image.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path

DATABASE = "countersign"
ROLE = "countersign"


def main(arguments: list[str]) -> int:
    """Make what is missing; prints the names of what was made, and no secret."""
    parser = argparse.ArgumentParser(description="Make the secrets of a deployment, each in a file of its own.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database-host", default="database", help="where DATABASE_URL points to (database)")
    parser.add_argument("--pooler-host", default="pooler", help="where the URL through a pooler points to (pooler)")
    # In a container's volume the readers are several accounts, and nobody else gets there.
    parser.add_argument("--mode", default="0400", help="of the files, octal (0400: for their owner only)")
    options = parser.parse_args(arguments)
    make_secrets(options.folder, options.database_host, options.pooler_host, int(options.mode, 8))
    return 0


def make_secrets(folder: Path, database_host: str, pooler_host: str, mode: int) -> None:
    """Make each file that is missing, in an order in which a file's parts exist before it."""
    folder.mkdir(parents=True, exist_ok=True)
    keep(folder / "secret_key", secrets.token_urlsafe(64), mode)
    keep(folder / "database_superuser_password", secrets.token_urlsafe(32), mode)
    password = keep(folder / "database_password", secrets.token_urlsafe(32), mode)
    keep(folder / "database_url", f"postgresql://{ROLE}:{password}@{database_host}:5432/{DATABASE}", mode)
    keep(folder / "pooled_database_url", f"postgresql://{ROLE}:{password}@{pooler_host}:6432/{DATABASE}", mode)
    keep(folder / "pooler_users", f'"{ROLE}" "{password}"\n', mode)
    keep(folder / "metrics_token", secrets.token_urlsafe(32), mode)


def keep(path: Path, value: str, mode: int) -> str:
    """Write the value unless the file exists; returns what it holds. It is complete from the moment it has its name."""
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(value)
        new.chmod(mode)
        new.rename(path)
        print(f"made {path.name}")
    return path.read_text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
