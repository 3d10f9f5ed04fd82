"""Makes the secrets of a deployment, each in a file of its own. What is there already is never changed.

python3 deploy/make_secrets.py FOLDER [--from MINE] [--database-host HOST]

Standard library only: it runs before anything is set up, on the host or in a container.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import quote

DATABASE = "countersign"
ROLE = "countersign"
#: What PostgreSQL and PgBouncer read, and nobody else.
OF_THE_DATABASE = ("database_superuser_password", "database_password", "pooler_users")
#: What may be brought along. All else is made of these.
OWN = (
    "secret_key",
    "database_superuser_password",
    "database_password",
    "database_url",
    "pooled_database_url",
    "email_url",
    "metrics_token",
    # No secret, but it has to be where DATABASE_URL's `sslrootcert` finds it.
    "database_ca.pem",
)


class SecretsError(Exception):
    """The secrets cannot be made; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Make what is missing; prints the names of what was made, and no secret. The status is 1 if it cannot be done."""
    parser = argparse.ArgumentParser(description="Make the secrets of a deployment, each in a file of its own.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database-folder", type=Path, help="where the database's own secrets go (FOLDER)")
    parser.add_argument("--from", dest="mine", type=Path, metavar="MINE", help="take what is in this folder first")
    parser.add_argument("--database-host", default="database", help="where DATABASE_URL points to (database)")
    parser.add_argument("--pooler-host", default="pooler", help="where the URL through a pooler points to (pooler)")
    # In a container's volume the readers are several accounts, and nobody else gets there.
    parser.add_argument("--mode", default="0400", help="of the files, octal (0400: for their owner only)")
    options = parser.parse_args(arguments)
    files = Files(options.folder, options.database_folder or options.folder, int(options.mode, 8))
    try:
        if options.mine is not None:
            take(files, options.mine)
        make(files, options.database_host, options.pooler_host)
    except (SecretsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class Files:
    """Where each secret is."""

    def __init__(self, folder: Path, database_folder: Path, mode: int) -> None:
        self.folder, self.database_folder, self.mode = folder, database_folder, mode

    def path(self, name: str) -> Path:
        """Return the secret's file."""
        return (self.database_folder if name in OF_THE_DATABASE else self.folder) / name

    def keep(self, name: str, value: str) -> str:
        """Write the value unless there is one; returns what there is. A file is complete from when it has its name."""
        path = self.path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{name}.{os.getpid()}")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(value)
            new.chmod(self.mode)
            new.rename(path)
            print(f"made {name}")
        return path.read_text()


def make(files: Files, database_host: str, pooler_host: str) -> None:
    """Make each file that is missing, in an order in which a file's parts exist before it."""
    files.keep("secret_key", secrets.token_urlsafe(64))
    files.keep("database_superuser_password", secrets.token_urlsafe(32))
    password = files.keep("database_password", secrets.token_urlsafe(32))
    written = quote(password, safe="")
    files.keep("database_url", f"postgresql://{ROLE}:{written}@{database_host}:5432/{DATABASE}")
    files.keep("pooled_database_url", f"postgresql://{ROLE}:{written}@{pooler_host}:6432/{DATABASE}")
    quoted = password.replace('"', '""')
    files.keep("pooler_users", f'"{ROLE}" "{quoted}"\n')
    files.keep("metrics_token", secrets.token_urlsafe(32))


def take(files: Files, mine: Path) -> None:
    """Take over the files of a folder, without the line's end that an editor leaves behind.

    Raises SecretsError, before anything is written, for a name that is none of ours and for a secret that is there
    already and another one.
    """
    brought = {path.name: path.read_text().strip() for path in sorted(mine.iterdir()) if path.is_file()}
    for name, value in brought.items():
        if name not in OWN:
            raise SecretsError(f"{mine / name}: no secret has this name. The names are: {', '.join(OWN)}.")
        if not value:
            raise SecretsError(f"{mine / name} is empty.")
        if files.path(name).exists() and files.path(name).read_text() != value:
            raise SecretsError(f"{files.path(name)} is there already, and another one. Delete it first if you mean it.")
    for name, value in brought.items():
        files.keep(name, value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
