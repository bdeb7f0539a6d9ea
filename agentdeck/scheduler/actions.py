"""What the scheduler asks the engine to do."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from agentdeck.errors import Fault
from agentdeck.scheduler.events import Event, StepStarted, Usage
from agentdeck.workflow.expressions import Scope, Template
from agentdeck.workflow.model import Data


class StartAttempt(NamedTuple):
    """Execute the attempt now. It holds its worker and its reservation, whose number is `ask` (0 where it has
    none)."""

    started: StepStarted
    timeout_idle: float | None = None
    ask: int = 0


class Reserve(NamedTuple):
    """Reserve a call to a model for the step that is next, and answer with `Reserved` or `Refused` under the same
    number. A worker is kept for the step until then. `shift` is by how many tiers the prompt moves up, or down
    where negative; `reduced`: the answer is to be shorter than the agent allows."""

    ask: int
    task: str
    step: str
    attempt: int
    shift: int = 0
    reduced: bool = False


class ReleaseReservation(NamedTuple):
    """Release the reservation with this number: it is not used."""

    ask: int


class CancelAttempt(NamedTuple):
    """Stop the attempt. `now`: without the time that a process gets to end by itself. What it still returns is
    ignored."""

    task: str
    step: str
    attempt: int
    why: str
    now: bool = False


class ExpireAttempt(NamedTuple):
    """A clock of the attempt ran out, and its agent has a rule for retries: stop the attempt, ask the rule, and
    report `AttemptFailed` with this fault and the rule's answer."""

    task: str
    step: str
    attempt: int
    fault: Fault
    usage: Usage | None


class SaveLetter(NamedTuple):
    """A step failed for good: store a dead letter with its inputs, for the operator to examine and retry."""

    at: float
    task: str
    step: str
    agent: str
    fault: Fault
    inputs: dict[str, Data]
    attempts: int


class UpdateLetters(NamedTuple):
    """Set the state of a step's dead letters: `retried` when it is reopened, `closed` when it has ended well. The
    same goes for those of its items and of tasks nested in it."""

    task: str
    step: str
    state: str


class PullTask(NamedTuple):
    """A worker is free: open the next task, or report that there are no more."""


class RenderOutput(NamedTuple):
    """Render the `output` of a task's workflow, which reads too much for the event loop, and answer with
    `OutputRendered` under the same number."""

    ask: int
    task: str
    template: Template
    scope: Scope


class Record(NamedTuple):
    """Append the event to the log, under the next sequence number."""

    event: Event


class Finish(NamedTuple):
    """The run has ended or drained: no more actions follow."""

    state: str


Action: TypeAlias = (
    StartAttempt
    | Reserve
    | ReleaseReservation
    | CancelAttempt
    | ExpireAttempt
    | SaveLetter
    | UpdateLetters
    | PullTask
    | RenderOutput
    | Record
    | Finish
)
