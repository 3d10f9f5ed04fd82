"""Brings database and static files up to date before the server starts. Called by script/supervisor.py.

One process does all of it, because each further one would import Django again. Prints the demo data as
JSON, or `null`; what it has to say to the operator goes to stderr.
"""

import hashlib
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Do all steps, each only when it is needed."""
    sys.path.insert(0, str(CHECKOUT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from apps.operations.production import refuse_unsafe_start, told_plainly

    with told_plainly():
        refuse_unsafe_start()
        django.setup()
    migrate()
    collect_static_files()
    print(json.dumps(demo_data()))


def migrate() -> None:
    """Apply the migrations that are pending; asking is much quicker than the command."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        progress("Setting up the database ...")
        call_command("migrate", interactive=False, verbosity=0, stdout=sys.stderr)


def collect_static_files() -> None:
    """Collect (compressed, under hashed names) when a file has changed since the last time."""
    found = hashlib.sha256()
    for finder in get_finders():
        for path, storage in sorted(finder.list([]), key=lambda entry: entry[0]):
            status = os.stat(storage.path(path))
            found.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    record = Path(settings.STATIC_ROOT) / ".collected"
    if not record.exists() or record.read_text() != found.hexdigest():
        progress("Collecting static files ...")
        call_command("collectstatic", interactive=False, verbosity=0, clear=True, stdout=sys.stderr)
        record.write_text(found.hexdigest())


def demo_data() -> dict[str, Any] | None:
    """In demo mode: fill a database that nobody uses yet, and keep what it holds to print it at later starts.

    A database that already has an organisation is never touched: demo users have known passwords.
    """
    if not settings.DEMO_MODE:
        return None
    from apps.organisations.models import Organisation

    kept = Path(os.environ["VAR_DIR"]) / "demo.json"
    if not Organisation.objects.exists():
        progress("Making the demo data ...")
        # What the demo's people have done is in the audit trail; the window is for who starts the server.
        logging.getLogger("countersign.audit").setLevel(logging.WARNING)
        output = io.StringIO()
        call_command("seed_demo", json=True, stdout=output)
        demo = json.loads(output.getvalue())
        kept.touch(mode=0o600)
        kept.write_text(json.dumps({"database": database_identity(), "demo": demo}, indent=2))
    if kept.exists():
        record = json.loads(kept.read_text())
        if record["database"] == database_identity():
            return dict(record["demo"])
    return None


def database_identity() -> str:
    """Tells one database from another, also when it moved to another address."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT system_identifier || '/' || current_database() FROM pg_control_system()")
        return str(cursor.fetchone()[0])


def progress(message: str) -> None:
    """Tell the operator what takes time."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
