"""What people wrote: text in blocks, and the scopes of a version."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template

from apps.developers.models.review import SubmittedScope
from apps.developers.scopes import ALL

register = template.Library()


@dataclass(frozen=True)
class Block:
    """A paragraph or a heading of the developer terms."""

    text: str
    is_heading: bool


@register.filter
def text_blocks(text: str) -> list[Block]:
    """Return the paragraphs, which an empty line separates; a line that begins with "## " is a heading."""
    blocks = []
    for part in re.split(r"\n\s*\n|^(?=## )|(?<=\n)(?=## )", text.replace("\r\n", "\n")):
        heading, _, rest = part.strip().partition("\n") if part.strip().startswith("## ") else ("", "", part.strip())
        if heading:
            blocks.append(Block(heading.removeprefix("## ").strip(), is_heading=True))
        if rest.strip():
            blocks.append(Block(rest.strip(), is_heading=False))
    return blocks


@register.filter
def in_words(scopes: Sequence[SubmittedScope]) -> list[dict[str, Any]]:
    """Return the scopes of a version with the words that the user sees, as `label`."""
    return [
        {**entry, "label": ALL[entry["scope"]].label if entry["scope"] in ALL else entry["scope"]} for entry in scopes
    ]
