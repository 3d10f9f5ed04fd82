"""Values as string literals of a language. Whatever stands in one, it does not get out of its quotes."""

import json
import shlex
import unicodedata
from collections.abc import Callable

Quote = Callable[[str], str]


def quote_shell(value: str) -> str:
    """Return a word for a POSIX shell."""
    return shlex.quote(value)


def quote_python(value: str) -> str:
    """Return a string literal of Python. JSON in ASCII is one, but for characters that take two units of UTF-16."""
    return ascii(value) if any(char > "\uffff" for char in value) else json.dumps(value)


def quote_javascript(value: str) -> str:
    """Return a string literal of JavaScript. JSON in ASCII is one, line separators included."""
    return json.dumps(value)


def quote_php(value: str) -> str:
    """Return a string literal of PHP in single quotes, where only quote and backslash mean something."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def comment(value: str) -> str:
    """Return `value` for a comment of one line: no line break of any kind, and nothing that ends PHP."""
    line = "".join(" " if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} else char for char in value)
    return " ".join(line.replace("?>", "?").split())
