"""A task that has ended and left memory, brought back from its recorded events."""

from __future__ import annotations

from collections.abc import Iterable

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.state import AllTasks, Step, Task


class Past(Fold):
    """Attempts of the past hold no worker, so they leave room for nobody; and they were timed when they were
    made."""

    def _freed(self, step: Step, usage: ev.Usage | None = None, lost: bool = True) -> None:
        step.held = None  # it was paid then
        if step in self.running:
            self.running.discard(step)
            step.acting.live -= 1

    def _timed(self, rule: Rule, seconds: float, at: float) -> None:
        pass


def rebuild(program: Program, run: str, age: int, events: Iterable[ev.Event]) -> dict[str, Task]:
    """The task, with the ended tasks nested in it, by their ids.

    `program` may be one that a live machine uses: its counts are as before when this returns. `age` is the
    task's place among the run's own. Tasks that have not ended are not among what is given back.
    """
    fold = Past(program, run=run, keep=AllTasks())
    fold.opened = age - 1
    for event in events:
        fold.apply(event)
    for step in list(fold.running):
        fold._freed(step)
    return fold.closed
