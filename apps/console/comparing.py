"""What a version says, and what is different in it from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.utils.functional import Promise

from apps.console.wording import Piece, compare_words, split_paragraphs
from apps.developers.models.review import SubmittedScope
from apps.developers.scopes import ALL, in_catalogue_order


@dataclass(frozen=True)
class Version:
    """What a reviewer decides on: a description, and scopes with their reasons."""

    description: str
    scopes: Sequence[SubmittedScope]


@dataclass(frozen=True)
class ComparedScope:
    """A scope of a version, and what has become of it."""

    name: str
    label: str | Promise
    category: str | Promise
    reason: str
    is_optional: bool
    change: Literal["", "added", "removed", "changed"]
    #: As it was before, if that is something else.
    previous_reason: str
    was_optional: bool
    #: How many comparable applications ask for it.
    alike: int


def compare(after: Version, before: Version | None, *, alike: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return the context of a page that shows `after` beside `before`; with None nothing of it is marked.

    `alike` gives by scope how many comparable applications ask for it.
    """
    scopes = _compare_scopes(after.scopes, before.scopes if before else after.scopes, alike or {})
    return {
        "is_compared": before is not None,
        "description_is_changed": before is not None and before.description.split() != after.description.split(),
        "paragraphs": _compare_descriptions(before.description if before else None, after.description),
        "plain_paragraphs": split_paragraphs(after.description),
        "scopes": scopes,
        "scopes_are_changed": any(scope.change for scope in scopes),
    }


def _compare_descriptions(before: str | None, after: str) -> list[list[Piece]]:
    if before is None:
        return [[Piece(paragraph)] for paragraph in split_paragraphs(after)]
    return compare_words(before, after)


def _compare_scopes(
    after: Sequence[SubmittedScope], before: Sequence[SubmittedScope], alike: Mapping[str, int]
) -> list[ComparedScope]:
    new = {entry["scope"]: entry for entry in after}
    old = {entry["scope"]: entry for entry in before}
    rows = []
    for name in in_catalogue_order([*new, *old]):
        entry = new.get(name) or old[name]
        previous = old.get(name)
        known = ALL.get(name)
        rows.append(
            ComparedScope(
                name=name,
                label=known.label if known else name,
                category=known.category if known else "",
                reason=entry["reason"],
                is_optional=entry["is_optional"],
                change=_change(new.get(name), previous),
                previous_reason=previous["reason"] if previous and previous["reason"] != entry["reason"] else "",
                was_optional=previous["is_optional"] if previous else entry["is_optional"],
                alike=alike.get(name, 0),
            )
        )
    return rows


def _change(
    entry: SubmittedScope | None, previous: SubmittedScope | None
) -> Literal["", "added", "removed", "changed"]:
    if entry is None:
        return "removed"
    if previous is None:
        return "added"
    return "" if entry == previous else "changed"
