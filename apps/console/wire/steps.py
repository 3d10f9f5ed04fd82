"""What a page shows of the steps of a flow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.utils.functional import Promise

from apps.console.wire.exchange import Message
from apps.console.wire.flow import Flow
from apps.console.wire.outcomes import Outcome

Text = str | Promise
#: Of a step that was taken many times only the last messages are shown with it.
_SHOWN_MESSAGES = 3


@dataclass(frozen=True)
class Step:
    """One card of a page. Its `name` is that of the method that takes it, with dashes."""

    name: str
    title: Text
    text: Text
    button: Text = ""
    #: Of what the client learns by it.
    facts_title: Text = ""
    #: The client authenticates itself, so whoever presses the button gives its secret.
    needs_secret: bool = False


class Progress(StrEnum):
    """How far a step is."""

    DONE = "done"
    REFUSED = "refused"
    NEXT = "next"
    LATER = "later"


@dataclass(frozen=True)
class ShownStep:
    """A step with what came of it so far."""

    step: Step
    progress: Progress
    outcome: Outcome | None
    has_button: bool
    is_latest: bool
    messages: list[Message]


def show_steps(steps: Sequence[Step], flow: Flow, available: Collection[str]) -> list[ShownStep]:
    """Return the steps in order; the first open one that can be taken (`available`) is next."""
    shown: list[ShownStep] = []
    has_next = False
    latest = next(reversed(flow.outcomes), None)
    for step in steps:
        outcome = flow.outcomes.get(step.name)
        if outcome is not None:
            progress = Progress.DONE if outcome.is_expected else Progress.REFUSED
        elif step.name in available and not has_next:
            progress, has_next = Progress.NEXT, True
        else:
            progress = Progress.LATER
        shown.append(
            ShownStep(
                step=step,
                progress=progress,
                outcome=outcome,
                is_latest=step.name == latest,
                messages=[message for message in flow.messages if message.step == step.name][-_SHOWN_MESSAGES:],
                has_button=bool(step.button) and step.name in available,
            )
        )
    return shown
