"""The environment of a start: what the operator set, and a value for all that was left out."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TextIO

from address import in_url
from errors import StartError

CHECKOUT = Path(__file__).resolve().parent.parent

FILLED_IN = (
    "DATABASE_URL",
    "SECRET_KEY",
    "ENVIRONMENT",
    "DEMO_MODE",
    "DEBUG",
    "INSECURE_HTTP",
    "ALLOWED_HOSTS",
    "HOST",
    "PORT",
    "VAR_DIR",
)


def fill_environment(environment: MutableMapping[str, str], *, reload: bool = False) -> None:
    """Give every setting that the operator left out a value. What is set, is left alone."""
    environment.setdefault("HOST", "127.0.0.1")
    environment.setdefault("PORT", "8000")
    for name in (
        "DATABASE_URL",
        "SECRET_KEY",
    ):  # as the settings read them: NAME_FILE names a file with the value
        if path := environment.get(f"{name}_FILE"):
            try:
                environment[name] = Path(path).read_text().strip("\r\n")
            except OSError as error:
                raise StartError(f"{name}_FILE={path} cannot be read: {error.strerror}") from None
    environment["VAR_DIR"] = str(Path(environment.get("VAR_DIR") or CHECKOUT / "var").absolute())
    environment.setdefault("DEMO_MODE", "1")
    environment.setdefault("DEBUG", "1" if reload else "0")
    if is_true(environment["DEMO_MODE"]):
        environment.setdefault("ENVIRONMENT", "development")
        environment.setdefault("INSECURE_HTTP", "1")
        hosts = ["localhost", "127.0.0.1", "[::1]", ".localhost", in_url(environment["HOST"])]
        environment.setdefault("ALLOWED_HOSTS", ",".join(dict.fromkeys(hosts)))
    if not environment.get("SECRET_KEY"):
        environment["SECRET_KEY"] = kept_secret(Path(environment["VAR_DIR"]) / "secret-key")


def kept_secret(path: Path) -> str:
    """The secret kept in this file, made on first use and readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), private_file(path) as file:
        file.write(secrets.token_urlsafe(64))
    secret = path.read_text().strip()
    if not secret:
        raise StartError(f"{path} is empty; remove it, and a new secret is made")
    return secret


def private_file(path: Path) -> TextIO:
    """A new file that only its owner can read, from its first byte on."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")


@contextlib.contextmanager
def published_environment() -> Iterator[None]:
    """Show manage.py in another terminal what was filled in: VAR_DIR/environment.json, while we run."""
    path = var_folder() / "environment.json"
    values = {name: os.environ[name] for name in FILLED_IN if name in os.environ}
    path.unlink(missing_ok=True)
    with private_file(path) as file:
        json.dump(values, file, indent=2)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def var_folder() -> Path:
    """Where this installation keeps what it makes."""
    return Path(os.environ["VAR_DIR"])


def is_true(value: str) -> bool:
    """Read a switch the way the settings do."""
    return value.strip().lower() in {"1", "true", "yes", "on", "y", "t", "ok"}
