"""Runs an application's own flow as one of its developers: each message is real, and shown."""

from apps.console.trying.keeping import find_run, forget_run, keep_run
from apps.console.trying.run import Run

__all__ = ["Run", "find_run", "forget_run", "keep_run"]
