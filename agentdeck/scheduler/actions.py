"""What the core asks for: imperative, and carried out by the engine."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from agentdeck.errors import Fault
from agentdeck.scheduler.events import Event, StepStarted
from agentdeck.workflow.model import Data


class StartAttempt(NamedTuple):
    """Run it now: it holds its slot and its reservations. `ask` is the number under which they were made."""

    started: StepStarted
    timeout_idle: float | None = None
    ask: int = 0


class Reserve(NamedTuple):
    """The step is next and a worker is kept for it: reserve a call to one of its tier's models, and answer with
    `Reserved` or `Refused` under the same number. `shift` is by how many tiers it is up or down; `reduced`: it is
    to use fewer tokens than it might."""

    ask: int
    task: str
    step: str
    attempt: int
    shift: int = 0
    reduced: bool = False


class ReleaseReservation(NamedTuple):
    """What was reserved under this number is not needed."""

    ask: int


class CancelAttempt(NamedTuple):
    """Stop it; `now`, without the grace that a process has to end by itself. Whatever it still returns is
    ignored."""

    task: str
    step: str
    attempt: int
    why: str
    now: bool = False


class SaveLetter(NamedTuple):
    """A step finally failed: keep what it takes to look into it and to try again."""

    at: float
    task: str
    step: str
    agent: str
    fault: Fault
    inputs: dict[str, Data]
    attempts: int


class UpdateLetters(NamedTuple):
    """What has become of a step's letters: `retried` as it goes again, `closed` when it has ended well. Letters
    of its items and of tasks under it go with it."""

    task: str
    step: str
    state: str


class PullTask(NamedTuple):
    """There is room: bring the next task, or say that there are no more."""


class Record(NamedTuple):
    """Append to the log, under the next sequence number."""

    event: Event


class Finish(NamedTuple):
    """The run is over, or has drained: nothing more will be asked."""

    state: str


Action: TypeAlias = (
    StartAttempt
    | Reserve
    | ReleaseReservation
    | CancelAttempt
    | SaveLetter
    | UpdateLetters
    | PullTask
    | Record
    | Finish
)
