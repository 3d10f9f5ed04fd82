"""Runs an OAuth flow against this very server, and shows what goes over the wire without its secrets."""

from apps.console.wire.exchange import Answer, Call, Encoding, Message, ServerUnreachableError, Wire
from apps.console.wire.flow import Flow
from apps.console.wire.masking import mask
from apps.console.wire.outcomes import Check, Fact, Outcome
from apps.console.wire.steps import Progress, Step, show_steps

__all__ = [
    "Answer",
    "Call",
    "Check",
    "Encoding",
    "Fact",
    "Flow",
    "Message",
    "Outcome",
    "Progress",
    "ServerUnreachableError",
    "Step",
    "Wire",
    "mask",
    "show_steps",
]
