#!/usr/bin/env python
"""Countersign's command line: `python manage.py help` lists the commands."""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    adopt_running_server()
    from apps.operations.production import told_plainly

    with told_plainly():
        if sys.argv[1:] == ["serve"]:
            start_web_server()
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)


def start_web_server() -> NoReturn:
    """Leave Django to the server's own processes: to load it here as well would take a second of each start."""
    from apps.operations.web_server import CannotServeError, serve

    try:
        serve()
    except CannotServeError as error:
        sys.exit(f"countersign: {error}")


def adopt_running_server() -> None:
    """Without a database of one's own, work on the one of the `script/server` that runs in this checkout.

    It writes what it filled in to a file that only its owner can read, for as long as it runs.
    """
    if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"):
        return
    var = os.environ.get("VAR_DIR") or Path(__file__).resolve().parent / "var"
    filled_in = Path(var, "environment.json")
    if filled_in.exists():
        for name, value in json.loads(filled_in.read_text()).items():
            os.environ.setdefault(name, value)


if __name__ == "__main__":
    main()
