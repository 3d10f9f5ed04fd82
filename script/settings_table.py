"""Writes docs/settings.md: every environment variable, from the declarations in config/environment.py.

script/settings_table.py           write it
script/settings_table.py --check   exit with 1 if what is there is not what would be written
"""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = CHECKOUT / "docs" / "settings.md"
sys.path.insert(0, str(CHECKOUT))

from config.environment import REQUIRED, SECTIONS, Variable  # noqa: E402 (the path comes first)

INTRODUCTION = """\
# Settings

Every setting is an environment variable. Where a value is a secret, `NAME_FILE` may name a file that holds it; that
works for every variable. Switches are `1` or `0`, lists have commas. What is not set has the default.

Made by `script/settings_table.py` from `config/environment.py`.
"""


def main() -> int:
    """Write the page, or compare it."""
    page = made()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == page:
            return 0
        print("docs/settings.md is not what config/environment.py says: run .venv/bin/python script/settings_table.py")
        return 1
    PAGE.write_text(page)
    return 0


def made() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        rows = "\n".join(row(variable) for variable in section.variables)
        parts.append(f"\n## {section.heading}\n\n| name | meaning | default | example |\n|---|---|---|---|\n{rows}\n")
    return "".join(parts)


def row(variable: Variable) -> str:
    """Return one variable's row."""
    kind = f"{variable.kind}; a secret" if variable.is_secret else variable.kind
    example = f"`{variable.example}`" if variable.example else ""
    cells = (f"`{variable.name}`", f"{variable.meaning} ({kind})", default(variable), example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default(variable: Variable) -> str:
    """Return what the variable is when nobody sets it, as one would type it."""
    if variable.default_shown:
        return variable.default_shown
    if variable.default is REQUIRED:
        return "none: it has to be set"
    if variable.kind == "switch":
        return "1" if variable.default else "0"
    if variable.kind == "list":
        return f"`{','.join(variable.default)}`" if variable.default else "empty"
    if variable.default in ("", None):
        return "empty"
    return f"`{variable.default:g}`" if variable.kind == "number" else f"`{variable.default}`"


if __name__ == "__main__":
    sys.exit(main())
