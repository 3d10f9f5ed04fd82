"""Lines of plain-text mail as people expect them (RFC 3676 4.2, 4.5)."""

import textwrap

from django import template

register = template.Library()

_WIDTH = 72
_QUOTE = "> "


@register.filter
def quoted(text: str) -> str:
    """Return `text` as somebody's words are quoted: short lines, each behind "> "; long addresses stay whole."""
    return "\n".join(f"{_QUOTE}{line}".rstrip() for line in _wrap(text, _WIDTH - len(_QUOTE)))


@register.filter
def wrapped(text: str) -> str:
    """Return `text` in short lines; what is quoted already, and long addresses, stay as they are."""
    return "\n".join(
        line for given in text.splitlines() for line in ([given] if given.startswith(">") else _wrap(given, _WIDTH))
    )


def _wrap(text: str, width: int) -> list[str]:
    return [
        line
        for given in text.splitlines() or [""]
        for line in textwrap.wrap(given, width, break_long_words=False, break_on_hyphens=False) or [""]
    ]
