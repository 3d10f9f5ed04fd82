#!/usr/bin/env python3
"""Write docs/compliance.md: which test proves which section of which specification.

The tests say it themselves, by `@pytest.mark.spec("RFC 7009", "2.2")` on a test or `pytestmark` on a file; a mark
nearer to the test takes the place of the file's. `--check` writes nothing and exits with 1 when the file is out
of date.
"""

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compliance.md"

TITLES = {
    "CONTRACT": "The wire contract",
    "RFC 6749": "The OAuth 2.0 Authorization Framework",
    "RFC 6585": "Additional HTTP Status Codes",
    "RFC 6750": "Bearer Token Usage",
    "RFC 7009": "Token Revocation",
    "RFC 7517": "JSON Web Key",
    "RFC 7636": "Proof Key for Code Exchange",
    "RFC 7638": "JSON Web Key Thumbprint",
    "RFC 7662": "Token Introspection",
    "RFC 8252": "OAuth 2.0 for Native Apps",
    "RFC 8414": "Authorization Server Metadata",
    "RFC 8725": "JSON Web Token Best Current Practices",
    "RFC 9207": "Authorization Server Issuer Identification",
    "RFC 9700": "Best Current Practice for OAuth 2.0 Security",
}

HEAD = """# Compliance

Made by `script/compliance.py` from the marks of the tests; do not edit. Each line is a rule that a test proves.
"""

Mark = tuple[str, str]


@dataclass(frozen=True)
class Proof:
    """A test and what it proves."""

    specification: str
    section: str
    rule: str
    path: str
    name: str


def main() -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    is_check = parser.parse_args().check
    page = render(list(find_proofs(ROOT / "tests")))
    if is_check:
        if not PAGE.exists() or PAGE.read_text() != page:
            print("docs/compliance.md is out of date: run script/compliance.py", file=sys.stderr)
            return 1
        return 0
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    return 0


def find_proofs(folder: Path) -> Iterator[Proof]:
    """Find every marked test below `folder`."""
    for path in sorted(folder.rglob("test_*.py")):
        module = ast.parse(path.read_text(), filename=str(path))
        aliases = _aliases(module)
        file_marks = aliases.get("pytestmark", [])
        for test, class_marks in _tests(module.body, aliases):
            own = [mark for decorator in test.decorator_list for mark in _marks(decorator, aliases)]
            for specification, section in own or class_marks or file_marks:
                location = path.relative_to(ROOT).as_posix()
                yield Proof(specification, section, _rule(test.name), location, test.name)


def render(proofs: list[Proof]) -> str:
    """Return the page for `proofs`."""
    by_specification: dict[str, dict[str, list[Proof]]] = defaultdict(lambda: defaultdict(list))
    for proof in proofs:
        by_specification[proof.specification][proof.section].append(proof)
    parts = [HEAD, "| specification | sections | tests |\n|---|---|---|"]
    for name, sections in sorted(by_specification.items()):
        count = sum(len(tests) for tests in sections.values())
        parts[-1] += f"\n| [{_title(name)}](#{_anchor(_title(name))}) | {len(sections)} | {count} |"
    for name, sections in sorted(by_specification.items()):
        parts.append(f"\n## {_title(name)}\n\n| section | rule | test |\n|---|---|---|")
        for section in sorted(sections, key=_natural):
            for proof in sections[section]:
                link = f"[`{Path(proof.path).name}`](../{proof.path})"
                parts[-1] += f"\n| {section} | {proof.rule} | {link} |"
    return "\n".join(parts) + "\n"


def _tests(body: list[ast.stmt], aliases: dict[str, list[Mark]]) -> Iterator[tuple[ast.FunctionDef, list[Mark]]]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_"):
            yield statement, []
        elif isinstance(statement, ast.ClassDef):
            marks = [mark for decorator in statement.decorator_list for mark in _marks(decorator, aliases)]
            for test, inner in _tests(statement.body, aliases):
                yield test, inner or marks


def _aliases(module: ast.Module) -> dict[str, list[Mark]]:
    """Return the marks that the file's own names stand for, `pytestmark` among them."""
    aliases: dict[str, list[Mark]] = {}
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            aliases[statement.targets[0].id] = list(_marks(statement.value, aliases))
    return aliases


def _marks(expression: ast.expr, aliases: dict[str, list[Mark]]) -> Iterator[Mark]:
    """Yield what `pytest.mark.spec(…)` calls in an expression say, be it one, a list, or a name for them."""
    match expression:
        case ast.Name(id=name):
            yield from aliases.get(name, [])
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            for element in elements:
                yield from _marks(element, aliases)
        case ast.Call(func=ast.Attribute(attr="spec"), args=[ast.Constant(value=name), ast.Constant(value=section)]):
            yield str(name), str(section)


def _rule(name: str) -> str:
    words = name.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")
    words = re.sub(r"\b(jwt|pkce|hmac|json|uri|url|sql|csrf)\b", lambda match: match[0].upper(), words)
    return words[0].upper() + words[1:]


def _title(name: str) -> str:
    return f"{name}: {TITLES[name]}" if name in TITLES else name


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _natural(section: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", section) if part]


if __name__ == "__main__":
    sys.exit(main())
