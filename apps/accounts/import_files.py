"""Reads a table of people from CSV or JSON, row by row, knowing where each row stands in the file."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: Characters. Longer cells and entries are taken for a missing quotation mark or bracket.
MAX_ENTRY_LENGTH = 1024 * 1024
_CHUNK = 256 * 1024


class UnreadableFileError(Exception):
    """The file cannot be read on: what comes after the place in the message is unknown."""


@dataclass(frozen=True)
class Row:
    """One person of the file. `problem` says what is wrong with the row as a whole."""

    #: For the operator, e.g. "line 12".
    place: str
    #: By column; from a CSV file always text, from JSON any value. What is not given is not in it.
    values: dict[str, Any]
    problem: str = ""


class PeopleFile:
    """A file that is read once, from start to end; `columns` are what its rows may have."""

    def __init__(self, path: Path, columns: frozenset[str]) -> None:
        self.path = path
        self.columns = columns
        self._stream: IO[str] | None = None

    @property
    def bytes_read(self) -> int:
        """How far reading has come, for a progress bar."""
        if self._stream is None:
            return 0
        return self.path.stat().st_size if self._stream.closed else self._stream.buffer.tell()  # type: ignore[attr-defined]

    def rows(self) -> Iterator[Row]:
        """Yield the rows. Raises UnreadableFileError."""
        readers = {".csv": self._csv_rows, ".json": self._json_rows}
        reader = readers.get(self.path.suffix.lower())
        if reader is None:
            raise UnreadableFileError(f"{self.path.name} must end in .csv or .json.")
        try:
            # Bytes that are not UTF-8 become lone surrogates, which the check of each value finds.
            with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as self._stream:
                yield from reader(self._stream)
        except OSError as error:
            raise UnreadableFileError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _csv_rows(self, stream: IO[str]) -> Iterator[Row]:
        # Strict: a quotation mark that is never closed would swallow the rest of the file.
        csv.field_size_limit(MAX_ENTRY_LENGTH)
        header_line = stream.readline()
        header = next(csv.reader([header_line], delimiter=_delimiter(header_line)), [])
        self._check_header([name.strip() for name in header])
        names = [name.strip() for name in header]
        reader = csv.reader(stream, delimiter=_delimiter(header_line), strict=True)
        line = 2
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UnreadableFileError(f"line {line}: {error}.") from error
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield _csv_row(f"line {line}", names, cells)
            # The reader counts the lines it has read; a cell may contain several.
            line = reader.line_num + 2

    def _check_header(self, names: list[str]) -> None:
        if not any(names):
            raise UnreadableFileError("line 1: the file is empty; its first line must name the columns.")
        if unknown := sorted(set(names) - self.columns):
            shown = ", ".join(repr(name) for name in unknown)
            raise UnreadableFileError(f"line 1: unknown columns: {shown}. See --help for those there are.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UnreadableFileError(f"line 1: columns named twice: {', '.join(twice)}.")
        if "email" not in names:
            raise UnreadableFileError("line 1: there must be a column email.")

    def _json_rows(self, stream: IO[str]) -> Iterator[Row]:
        for index, (line, entry) in enumerate(_json_entries(stream), start=1):
            place = f"entry {index} (line {line})"
            if not isinstance(entry, dict):
                yield Row(place, {}, "must be an object")
                continue
            values = {name: value for name, value in _flatten(entry).items() if value is not None and value != ""}
            unknown = ", ".join(repr(name) for name in sorted(set(values) - self.columns))
            yield Row(place, values, f"unknown columns: {unknown}" if unknown else "")


def _csv_row(place: str, names: list[str], cells: list[str]) -> Row:
    if len(cells) != len(names):
        return Row(place, {}, f"has {len(cells)} cells where the first line has {len(names)}")
    return Row(place, {name: cell.strip() for name, cell in zip(names, cells, strict=True) if cell.strip()})


def _delimiter(header: str) -> str:
    """Return what separates the columns: spreadsheets of many countries write semicolons."""
    return max(",;\t", key=header.count)


def _flatten(entry: dict[str, Any]) -> dict[str, Any]:
    """Return `{"membership": {"points": 1}}` as `{"membership.points": 1}`."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{key}": inner_value for key, inner_value in inner} if inner else {name: value}
    return flat


def _json_entries(stream: IO[str]) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) for the entries of a JSON array, holding no more than one of them in memory."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    text = _Buffer(stream)
    if text.next_character() != "[":
        raise UnreadableFileError(f"line {text.line}: the file must be a JSON array of objects.")
    text.skip(1)
    if text.next_character() == "]":
        return
    while True:
        text.next_character()
        line = text.line
        yield line, text.decode(decoder)
        separator = text.next_character()
        text.skip(1)
        if separator == "]":
            return
        if separator != ",":
            raise UnreadableFileError(f"line {text.line}: not JSON: a comma or ] is missing.")


class _Buffer:
    """The part of a stream that is being looked at."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self.line = 1

    def next_character(self) -> str:
        """Skip white space and return the character that follows, "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self.skip(1)
            if not self._read_on():
                return ""

    def skip(self, length: int) -> None:
        """Go on by `length` characters, counting the lines."""
        self.line += self._text.count("\n", self._at, self._at + length)
        self._at += length

    def decode(self, decoder: json.JSONDecoder) -> Any:
        """Return the value that starts here and go on behind it. Raises UnreadableFileError."""
        while True:
            problem: Exception | None = None
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                problem = error
            # A number at the very end of what has been read may go on.
            if problem is None and (end < len(self._text) or not self._read_on()):
                self.skip(end - self._at)
                return value
            if problem is not None and (len(self._text) - self._at > MAX_ENTRY_LENGTH or not self._read_on()):
                raise UnreadableFileError(f"line {self._line_of(problem)}: not JSON: {_words(problem)}.") from problem

    def _read_on(self) -> bool:
        chunk = self._stream.read(_CHUNK)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def _line_of(self, problem: Exception) -> int:
        position = getattr(problem, "pos", self._at)
        return self.line + self._text.count("\n", self._at, position)


def _words(problem: Exception) -> str:
    return str(getattr(problem, "msg", problem) or "too deep").rstrip(".")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
