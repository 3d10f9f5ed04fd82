"""The same people and applications as in tests/developers, for the pages."""

from tests.developers.conftest import join, live, owner, pending, register, reviewer, submit

__all__ = ["join", "live", "owner", "pending", "register", "reviewer", "submit"]
