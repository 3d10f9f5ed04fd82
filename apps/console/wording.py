"""What is different between two versions of a text, in words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

#: A word, or the empty line between two paragraphs.
_TOKEN = re.compile(r"\S+|\n\s*\n")
_BREAK = "\n\n"


@dataclass(frozen=True)
class Piece:
    """Some words in a row, and what has become of them."""

    text: str
    change: Literal["", "added", "removed"] = ""


def split_paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which empty lines separate."""
    return [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def compare_words(before: str, after: str) -> list[list[Piece]]:
    """Return the paragraphs of `after`, with the words that are new in it and those of `before` that are gone.

    What was removed stands before what was put in its place. A change of spaces alone is none.
    """
    old, new = _tokens(before), _tokens(after)
    # In a long text frequent words are not matched by themselves: "the" alone is no likeness, and looking at each
    # with each takes long.
    matcher = SequenceMatcher(None, old, new, autojunk=True)
    paragraphs: list[list[Piece]] = [[]]
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            _append(paragraphs, new[new_start:new_end], "")
            continue
        removed = " ".join("¶" if token == _BREAK else token for token in old[old_start:old_end])
        if removed:
            paragraphs[-1].append(Piece(removed, "removed"))
        _append(paragraphs, new[new_start:new_end], "added")
    return [paragraph for paragraph in paragraphs if paragraph]


def _tokens(text: str) -> list[str]:
    return [_BREAK if token.isspace() else token for token in _TOKEN.findall(text.strip())]


def _append(paragraphs: list[list[Piece]], tokens: list[str], change: Literal["", "added"]) -> None:
    for is_first, words in _runs(tokens):
        if not is_first:
            paragraphs.append([])
        if words:
            paragraphs[-1].append(Piece(" ".join(words), change))


def _runs(tokens: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """Yield the words of each paragraph, and whether it is the first, which goes on where the last piece ended."""
    words: list[str] = []
    is_first = True
    for token in tokens:
        if token == _BREAK:
            yield is_first, words
            is_first, words = False, []
        else:
            words.append(token)
    yield is_first, words
