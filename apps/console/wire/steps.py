"""What the partner's page shows of its steps."""

from dataclasses import dataclass
from enum import StrEnum

from apps.console.wire import Flow, Message, Outcome
from apps.demo.partners import Partner, Step

#: Of a step that was taken many times only the last messages are linked.
_LINKED_MESSAGES = 3


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
    #: The experiment that belongs to the exchange: is it possible, and what came of it.
    has_replay: bool = False
    replay: Outcome | None = None


def show_steps(partner: Partner, flow: Flow) -> list[ShownStep]:
    """Return the partner's steps in order; the first open one with a button is next."""
    available = partner.available(flow)
    shown: list[ShownStep] = []
    has_next = False
    latest = next(reversed(flow.outcomes), None)
    for step in partner.steps:
        outcome = flow.outcomes.get(step.name)
        if outcome is not None:
            progress = Progress.DONE if outcome.is_expected else Progress.REFUSED
        elif step.name in available and not has_next:
            progress, has_next = Progress.NEXT, True
        else:
            progress = Progress.LATER
        is_exchange = step.name == "exchange"
        shown.append(
            ShownStep(
                step=step,
                progress=progress,
                outcome=outcome,
                is_latest=step.name == latest,
                messages=[message for message in flow.messages if message.step == step.name][-_LINKED_MESSAGES:],
                has_button=bool(step.button) and step.name in available,
                has_replay=is_exchange and "replay" in available,
                replay=flow.outcomes.get("replay") if is_exchange else None,
            )
        )
    return shown
