"""Is the operator's own database there?"""

from urllib.parse import urlsplit

import psycopg
from errors import StartError

CONNECT_SECONDS = 5
OLDEST_POSTGRES = 140000  # what Django 5.2 supports


def check_database_answers(url: str) -> None:
    """Raise StartError, without the password, when the operator's database cannot be used."""
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise StartError("DATABASE_URL has to look like postgresql://user:password@host:5432/name")
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            version = connection.info.server_version
            where = f"{connection.info.host}:{connection.info.port}"
    except psycopg.Error as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "FATAL" in line), lines[0] if lines else type(error).__name__)
        reason = reason.removeprefix("connection failed: ").removeprefix("connection is bad: ")
        raise StartError(f"DATABASE_URL cannot be used: {reason}{advice(reason)}") from None
    if version < OLDEST_POSTGRES:
        raise StartError(f"the PostgreSQL at {where} is version {version // 10000}; Countersign needs 14 or newer")


def advice(reason: str) -> str:
    """What to do about libpq's reason."""
    for part, what in {
        "password": "check its user name and password",
        "no password supplied": "put a password into it",
        "does not exist": "create it first, or correct the name",
        "refused": "is PostgreSQL running there, and is the port right?",
        "resolve": "check its host name",
        "not known": "check its host name",
        "timeout": "nothing answers there; check host, port and firewall",
        "No such file": "is PostgreSQL running there?",
    }.items():
        if part in reason:
            return f" -- {what}"
    return ""
