"""Text that people wrote, in blocks."""

import re
from dataclasses import dataclass

from django import template

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
