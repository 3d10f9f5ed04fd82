"""Starting, watching and stopping processes, and the signals that ask us to stop."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO, Any

from embedded_postgres import die_with_parent
from errors import StartError

STOP_SECONDS = 15  # less than a deployment's web server has: nobody waits so long for Ctrl-C


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM, or the terminal was closed."""


class Processes:
    """The processes we started, each in a group of its own, so that no grandchild outlives us."""

    def __init__(self, signals: "StopSignals") -> None:
        self._signals = signals
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._printers: list[threading.Thread] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, orphan_signal: signal.Signals = signal.SIGTERM) -> None:
        """Start a process whose output lines are printed behind its name.

        `orphan_signal` is what the kernel sends it (on Linux) if we are killed.
        """
        process = self._popen(
            name, command, orphan_signal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
        )
        assert process.stdout is not None
        printer = threading.Thread(target=print_lines, args=(f"{name:<8} | ", process.stdout), daemon=True)
        printer.start()
        self._printers.append(printer)

    def output_of(self, name: str, command: Sequence[str]) -> str:
        """Run a process to its end and return what it printed; raises StartError when it fails."""
        process = self._popen(name, command, signal.SIGTERM, stdout=subprocess.PIPE)
        output, _ = process.communicate()
        del self._running[name]
        if process.returncode:
            raise StartError(f"the {name} step failed, see above")
        return output

    def ended(self) -> str | None:
        """The name of a process that is not running any more."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def wait(self) -> str:
        """Wait until the first process ends, and return its name."""
        while (name := self.ended()) is None:
            time.sleep(0.2)
        return name

    def stop(self) -> None:
        """Ask all to stop, wait, kill what is left of their groups. One more stop signal: no more waiting."""
        self._signals.raises = False
        received = self._signals.received
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and self._signals.received == received:
            if all(process.poll() is not None for process in self._running.values()):
                break
            time.sleep(0.05)
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for printer in self._printers:
            printer.join(timeout=1)
        self._running.clear()

    def _popen(
        self, name: str, command: Sequence[str], orphan_signal: signal.Signals, **options: Any
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we tell the others in order
            preexec_fn=die_with_parent(orphan_signal),
            **options,
        )
        self._running[name] = process
        return process


def print_lines(prefix: str, lines: IO[str]) -> None:
    """Copy lines to our output, and go on reading when that is gone: a full pipe would block the writer."""
    for line in lines:
        with contextlib.suppress(OSError, ValueError):
            print(prefix + line.rstrip("\n"), flush=True)


class StopSignals:
    """Turns the first stop signal into StopRequested; later ones are only counted, for whoever is stopping.

    SIGINT is taken even if it was ignored, as shells arrange it for what they start in the background. SIGHUP
    stays ignored if it was: that is what `nohup` asks for.
    """

    def __init__(self) -> None:
        self.received = 0
        self.raises = True
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if self.raises:
            self.raises = False
            raise StopRequested
