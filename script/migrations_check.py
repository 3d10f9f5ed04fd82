"""Refuses migrations that a server which goes on could not bear. `script/lint` runs it; the rules are in the app."""

import os
import sys
from pathlib import Path


def main() -> int:
    """Print what is against the rules; exit status 1 if something is."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    from apps.operations.migration_rules import check_migrations

    problems = check_migrations()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
