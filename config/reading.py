"""Reads the variables that `config/environment.py` declares, and says in plain words what cannot be read.

No message quotes a secret's value.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from config.environment import REQUIRED, VARIABLES, Variable
from config.hosts import is_of_this_machine

_TRUE = ("1", "true", "yes", "on", "y", "t", "ok")
_FALSE = ("0", "false", "no", "off", "n", "f")
_POSTGRESQL = ("postgres", "postgresql", "psql", "pgsql")
_NO_DATABASE_URL = "It has to look like postgresql://user:password@host:5432/name"
_NO_MAIL_URL = "It has to look like smtp+tls://user:password@mail.example.com:587"
_ESCAPES = ", with / : @ # ? % in user and password written as %2F %3A %40 %23 %3F %25"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one variable, and what to set it to. Whole sentences; the first one follows the name."""

    variable: str
    what: str
    advice: str


class SettingsError(Exception):
    """Variables that cannot be read; the message says all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{each.variable} {each.what} {each.advice}" for each in problems))


class Environment:
    """Reads declared variables, from the process's environment unless another one is given.

    An empty value counts as none, as compose files and units leave it behind. Raises SettingsError with everything that
    is missing or cannot be read, at once and at the beginning; KeyError for a name that is not declared.
    """

    def __init__(self, values: Mapping[str, str] | None = None, *, is_complete: bool = True) -> None:
        self._given = os.environ if values is None else values
        self._read: dict[str, str] = {}
        self._problems: dict[str, Problem] = {}
        for name in VARIABLES:
            try:
                self._take(name)
                self._try(name)
            except SettingsError as error:
                self._problems[name] = error.problems[0]
        if is_complete and self._problems:
            raise SettingsError(list(self._problems.values()))

    def __call__(self, name: str) -> Any:
        """Return the variable's value in the type of its kind, or its default; lists are new each time."""
        variable = VARIABLES[name]
        if name in self._problems:
            raise SettingsError([self._problems[name]])
        if name in self._read:
            return _value(variable, self._read[name])
        if variable.default is REQUIRED:
            raise SettingsError([_missing(variable)])
        return list(variable.default) if isinstance(variable.default, list) else variable.default

    def is_set(self, name: str) -> bool:
        """Say whether the variable has a value, and not only its default."""
        VARIABLES[name]  # declared, or KeyError
        if name in self._problems:
            raise SettingsError([self._problems[name]])
        return name in self._read

    def is_for_this_machine_only(self) -> bool:
        """Say whether nobody elsewhere can call: every name in ALLOWED_HOSTS means the machine itself."""
        hosts: list[str] = self("ALLOWED_HOSTS")
        return bool(hosts) and all(map(is_of_this_machine, hosts))

    def database(self, name: str) -> dict[str, Any]:
        """Return Django's settings of the PostgreSQL that the URL names."""
        try:
            parts = urlsplit(self(name))
            settings: dict[str, Any] = environ.Env.db_url_config(self(name), engine="django.db.backends.postgresql")
        except (ValueError, ImproperlyConfigured):
            raise SettingsError([Problem(name, "cannot be read.", _NO_DATABASE_URL + _ESCAPES)]) from None
        if parts.scheme not in _POSTGRESQL or not settings["NAME"]:
            raise SettingsError([Problem(name, "names no PostgreSQL database.", _NO_DATABASE_URL)])
        if parts.fragment or "@" in settings["HOST"]:
            raise SettingsError([Problem(name, "cannot be read.", _NO_DATABASE_URL + _ESCAPES)])
        return settings

    def mail(self, name: str) -> dict[str, Any]:
        """Return Django's settings of the mail server that the URL names."""
        try:
            parts = urlsplit(self(name))
            settings: dict[str, Any] = environ.Env.email_url_config(self(name))
        except (ValueError, ImproperlyConfigured):
            raise SettingsError([Problem(name, "cannot be read.", _NO_MAIL_URL + _ESCAPES)]) from None
        if parts.fragment or (parts.scheme.startswith("smtp") and not parts.hostname):
            raise SettingsError([Problem(name, "names no mail server.", _NO_MAIL_URL + _ESCAPES)])
        return settings

    def _take(self, name: str) -> None:
        """Note the value of NAME, or of the file that NAME_FILE names, without the line's end."""
        value, path = self._given.get(name, ""), self._given.get(f"{name}_FILE", "")
        if path:
            content = _content(name, path)
            if value and value != content:
                what = f"is set, and so is {name}_FILE, to something else."
                raise SettingsError([Problem(name, what, "Keep one of them.")])
            value = content
        if value:
            self._read[name] = value

    def _try(self, name: str) -> None:
        """Read the variable for its problems alone."""
        if VARIABLES[name].kind != "URL":
            self(name)
        elif name == "DATABASE_URL":
            self.database(name)
        elif name == "EMAIL_URL":
            self.mail(name)
        else:
            self(name)


def _content(name: str, path: str) -> str:
    try:
        content = Path(path).read_text().strip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError(
            [Problem(f"{name}_FILE", f"names {path}, which is not text.", "Correct the file.")]
        ) from None
    except OSError as error:
        what = f"names {path}, which cannot be read: {error.strerror}."
        advice = f"Correct the path, or let user {os.geteuid()} read the file."
        raise SettingsError([Problem(f"{name}_FILE", what, advice)]) from None
    if not content.strip():
        what = f"names {path}, which is empty."
        raise SettingsError([Problem(f"{name}_FILE", what, f"Write the value into it, or remove {name}_FILE.")])
    return content


def _value(variable: Variable, text: str) -> Any:
    """Return the text as its kind says."""
    if variable.kind in ("text", "URL"):
        return _text(variable, text)
    if variable.kind == "list":
        return [entry.strip() for entry in text.split(",") if entry.strip()]
    if variable.kind == "switch":
        folded = text.strip().lower()
        if folded not in _TRUE + _FALSE:
            raise SettingsError([_unreadable(variable, text, "neither on nor off", f"Write {variable.name}=1 or 0.")])
        return folded in _TRUE
    try:
        number = int(text) if variable.kind == "whole number" else float(text)
    except ValueError:
        advice = f"Write a {variable.kind}, e.g. {variable.name}={variable.example or variable.default}"
        raise SettingsError([_unreadable(variable, text, f"not a {variable.kind}", advice)]) from None
    if not variable.least <= number <= variable.most:
        bounds = (
            f"{variable.least} or more" if variable.most == float("inf") else f"{variable.least} to {variable.most:g}"
        )
        raise SettingsError([_unreadable(variable, text, "out of its bounds", f"Write a number, {bounds}.")])
    return number


def _text(variable: Variable, text: str) -> str:
    """Return the text, or the choice that it is."""
    if variable.kind == "URL" and "://" not in text:
        example = f"It has to look like {variable.example}"
        raise SettingsError([Problem(variable.name, "is no URL.", example)])
    if not variable.choices:
        return text
    for choice in variable.choices:
        if text.strip().casefold() == choice.casefold():
            return choice
    advice = f"Write {variable.name}={' or '.join(variable.choices)}."
    raise SettingsError([_unreadable(variable, text, "no choice that there is", advice)])


def _unreadable(variable: Variable, text: str, reason: str, advice: str) -> Problem:
    shown = "has a value that is" if variable.is_secret else f"is {text!r}, which is"
    return Problem(variable.name, f"{shown} {reason}.", advice)


def _missing(variable: Variable) -> Problem:
    if variable.name == "DATABASE_URL":
        return Problem(variable.name, "is not set.", _NO_DATABASE_URL)
    if variable.name == "SECRET_KEY":
        advice = "Set it to 64 random characters, from: openssl rand -base64 48"
        return Problem(variable.name, "is not set.", advice)
    return Problem(variable.name, "is not set.", f"Set {variable.name}={variable.example}")
