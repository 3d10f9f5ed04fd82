"""Values as string literals of a language. Whatever stands in one, it does not get out of its quotes."""

import json
import shlex
import unicodedata
from collections.abc import Callable

Quote = Callable[[str], str]
#: Signs that a comment may have beside letters and digits.
_PLAIN_SIGNS = frozenset(".,'&()+!-–’")


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
    """Return `value` for a comment of one line: its letters, digits and a few signs, everything else as a space.

    A comment says more to some programs than to people: `?>` ends PHP in the middle of one, `coding:` tells Python how
    to read the whole file (PEP 263), editors take orders from `vim:` and `-*-`. Signs that only people read are known;
    those that some program reads are not.
    """
    return " ".join("".join(char if _is_plain(char) else " " for char in value).split())


def _is_plain(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in _PLAIN_SIGNS
