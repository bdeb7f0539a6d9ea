"""How steps ended, and with what."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import output_of
from agentdeck.workflow.model import Data


class StepResult(NamedTuple):
    """The end of a step, or of one round of it: its state, its output or its fault."""

    task: str
    step: str
    state: str
    output: Data = None
    fault: Fault | None = None


def result_of(event: ev.Event) -> StepResult | None:
    """The result that an event records. None where it ends no step, or one whose result its items make up."""
    match event:
        case ev.StepSucceeded():
            return StepResult(event.task, event.step, "done", event.output)
        case ev.StepAnswered():
            return StepResult(event.task, event.step, "done", output_of(event))
        case ev.StepFailed():
            return StepResult(event.task, event.step, "failed", None, event.fault)
        case ev.StepSkipped():
            return StepResult(event.task, event.step, "skipped")
        case ev.StepCancelled():
            return StepResult(event.task, event.step, "cancelled")
    return None
