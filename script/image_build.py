"""Does in a folder what the Dockerfile says, with the same commands, and tells how large the image would be.

python script/image_build.py           make it in a temporary folder, print the table
python script/image_build.py FOLDER    and keep it

There need be no Docker. What only makes sense inside of a container is left out, and `SKIPPED` says what and why.
Each stage is a folder; the paths that the image has for itself (`OWN_PATHS`) are looked for in there.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
#: Where the image keeps what is ours. All else in it is the base image's or Debian's.
OWN_PATHS = ("/opt/countersign", "/var/lib/countersign", "/run/countersign")
#: Steps that are not done, by a word in them.
SKIPPED = {
    "apt-get": "Debian's packages: counted by DEBIAN_BYTES",
    "groupadd": "an account in the image: whoever runs the result is another one here",
    "pg_dump --version": "whether they find their libraries shows in the image only",
    "/usr/lib/postgresql/": "programs out of Debian's packages: counted by DEBIAN_BYTES",
}
#: Variables of the build that would make it slow here: each time everything would be downloaded again.
WITHOUT = ("PIP_NO_CACHE_DIR",)
#: Instructions that only describe the image; the test reads them.
DESCRIPTION = ("ARG", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD")

MEGABYTE = 1_000_000
#: python:3.13-slim-trixie for amd64, unpacked: Debian 78.6 MB, certificates and time zones 3.8 MB, Python 36.8 MB.
BASE_BYTES = 120 * MEGABYTE
#: libpq5 with what it needs (LDAP, SASL, Kerberos), as their packages' Installed-Size has it, pg_dump and pg_restore.
DEBIAN_BYTES = 5 * MEGABYTE
#: The bytecode of the modules of Python's own library that are loaded, which the base image has not.
STANDARD_LIBRARY_BYTES = 6 * MEGABYTE
#: The three above are estimates, good to some 5 MB together; docker image inspect knows better.
LIMIT_BYTES = 250 * MEGABYTE


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, continuation lines joined."""

    word: str
    arguments: str


@dataclass
class Stage:
    """One stage: its folder, and what the next command of it finds."""

    name: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    instructions: list[Instruction] = field(default_factory=list)

    def here(self, text: str) -> str:
        """Return the text with our paths in the image replaced by where they are."""
        for path in OWN_PATHS:
            text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w-])", str(self.root) + path, text)
        return text

    def path(self, name: str) -> Path:
        """Return where a path of the image is; a relative one is beside the working folder."""
        return Path(str(self.root) + os.path.normpath(os.path.join(self.folder, name)))

    def last(self, word: str) -> str:
        """Return the arguments of the last such instruction."""
        return next(each.arguments for each in reversed(self.instructions) if each.word == word)

    def command(self) -> list[str]:
        """Return what the image runs."""
        command: list[str] = json.loads(self.last("CMD"))
        return command


def instructions(dockerfile: str) -> Iterator[Instruction]:
    """Read a Dockerfile; comments are dropped."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for statement in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, arguments = statement.partition(" ")
        yield Instruction(word.upper(), arguments.strip())


class Build:
    """Does the instructions one after the other; `stages` has what came of them, the image last."""

    def __init__(self, context: Path, target: Path) -> None:
        self.context = context
        self.target = target
        self.stages: list[Stage] = []
        self.skipped: list[str] = []
        self._programs = target / "base"

    def run(self) -> Stage:
        """Return the last stage; raises CalledProcessError when a step fails, KeyError for an unknown instruction."""
        self._make_base()
        do = {"FROM": self._from, "ENV": self._env, "WORKDIR": self._workdir, "COPY": self._copy, "RUN": self._run}
        for instruction in instructions((self.context / "Dockerfile").read_text()):
            if instruction.word != "FROM":
                self.stages[-1].instructions.append(instruction)
            if instruction.word in DESCRIPTION:
                continue
            reason = next((why for word, why in SKIPPED.items() if word in instruction.arguments), None)
            if reason is None:
                do[instruction.word](instruction.arguments)
            else:
                self.skipped.append(f"{instruction.word} {instruction.arguments[:60]}…: {reason}")
        return self.stages[-1]

    def _make_base(self) -> None:
        """Stand in for the base image: `python` is the one that runs us, and has nothing but pip."""
        # Debian's own Python has no pip; that of the base image has.
        base = self.target / "python"
        subprocess.run([os.path.realpath(sys.executable), "-m", "venv", base], check=True)
        self._programs.mkdir(parents=True)
        python = self._programs / "python"
        python.write_text(f'#!/bin/sh\nexec {base}/bin/python "$@"\n')
        python.chmod(0o755)

    def _from(self, arguments: str) -> None:
        _, _, name = arguments.partition(" AS ")
        stage = Stage(name or "image", self.target / (name or "image"), {"PATH": f"{self._programs}:/usr/bin:/bin"})
        for path in OWN_PATHS:
            stage.path(path).mkdir(parents=True)
        self.stages.append(stage)

    def _env(self, arguments: str) -> None:
        stage = self.stages[-1]
        for pair in arguments.split():
            name, _, value = pair.partition("=")
            if name not in WITHOUT:
                value = stage.here(value).replace("$PATH", stage.environment["PATH"])
                stage.environment[name] = value

    def _workdir(self, arguments: str) -> None:
        self.stages[-1].folder = arguments
        self.stages[-1].path(".").mkdir(parents=True, exist_ok=True)

    def _copy(self, arguments: str) -> None:
        stage = self.stages[-1]
        *sources, destination = arguments.split()
        source_stage = None
        if sources[0].startswith("--from="):
            name = sources.pop(0).removeprefix("--from=")
            source_stage = next(each for each in self.stages if each.name == name)
        for source in sources:
            found = source_stage.path(source) if source_stage else self.context / source
            to = stage.path(destination)
            if not found.is_dir():
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, to / found.name)
            elif source_stage:  # a stage that was copied from is not looked at again, and moving is quicker
                to.rmdir()
                found.rename(to)
            else:
                shutil.copytree(found, to, dirs_exist_ok=True, ignore=self._ignored)

    def _run(self, arguments: str) -> None:
        stage = self.stages[-1]
        subprocess.run(
            ["/bin/sh", "-c", stage.here(arguments)],
            cwd=stage.path("."),
            env={"HOME": "/nonexistent", **_pip_settings(), **stage.environment},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )

    def _ignored(self, _folder: str, names: list[str]) -> list[str]:
        """Say what .dockerignore keeps out of a folder: its patterns for names anywhere."""
        lines = (self.context / ".dockerignore").read_text().splitlines()
        patterns = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
        return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def _pip_settings() -> dict[str, str]:
    """Return what this machine's own settings tell pip: where packages come from, and where it keeps them."""
    names = [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]
    names += [name for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if name in os.environ]
    folder = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True)
    return {name: os.environ[name] for name in names} | {"PIP_CACHE_DIR": folder.stdout.strip()}


def sizes(image: Stage) -> dict[str, int]:
    """Return the bytes of each part of the image."""
    code = image.path("/opt/countersign")
    return {
        "base image": BASE_BYTES,
        "Debian's packages": DEBIAN_BYTES,
        "bytecode of Python's library": STANDARD_LIBRARY_BYTES,
        "Python packages": size(code / "venv"),
        "static files": size(code / "collected"),
        "Countersign": size(code) - size(code / "venv") - size(code / "collected"),
    }


def size(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def main(arguments: list[str]) -> int:
    """Build, and print the table; the status is 1 if the image would be too large."""
    with tempfile.TemporaryDirectory(prefix="countersign-image-") as temporary:
        build = Build(CHECKOUT, Path(arguments[0] if arguments else temporary).absolute())
        parts = sizes(build.run())
    for step in build.skipped:
        print(f"not done: {step}")
    for name, part in parts.items():
        print(f"{name:<30} {part / MEGABYTE:>6.1f} MB")
    total = sum(parts.values())
    print(f"{'image, unpacked (±5)':<30} {total / MEGABYTE:>6.1f} MB of {LIMIT_BYTES // MEGABYTE}")
    return 0 if total <= LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
