"""`mode: adaptive`: whether the steps of a task go side by side, by how much work a task is.

Handing steps to workers costs a little each time. Where a whole task is less than a tenth of a second of work
there is next to nothing to gain by it, and its steps go one after the other; tasks go side by side as ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import root_of
from agentdeck.store.durations import MEMORY

#: Seconds of work of the median task under which it is small.
SMALL = 0.1
#: So many tasks must have been seen; it is looked at again after so many.
LEAST, EACH = 5, 20
#: So much larger they must be for their steps to go side by side again.
BACK = 1.5


class AdaptiveMode:
    """Looks on at a run. `known` are the seconds of work of earlier tasks; `took` those of this run's."""

    def __init__(self, known: Iterable[float], machine: Scheduler) -> None:
        self.took: list[float] = []
        self._last = deque(known, MEMORY)
        self._machine = machine
        self._began: dict[tuple[str, str], float] = {}
        self._work: dict[str, float] = {}

    def first(self, at: float) -> ev.Noted:
        """What is chosen before anything has run, and why."""
        if self._last:
            return self._choose(at)
        return _told(at, False, "nothing is known of this workflow yet")

    def see(self, event: ev.Event) -> ev.Noted | None:
        """Take in what happened. What is chosen from now on, where that is another way."""
        match event:
            case ev.StepStarted(task=task, step=step) if self._machine.step(task, step).acting.slot:
                self._began[task, step] = event.at
            case ev.StepSucceeded(task=task, step=step) | ev.AttemptFailed(task=task, step=step):
                root, began = root_of(task), self._began.pop((task, step), event.at)
                self._work[root] = self._work.get(root, 0.0) + event.at - began
            case ev.TaskEnded(task=task) if task in self._work:
                self.took.append(round(self._work.pop(task), 6))
                self._last.append(self.took[-1])
                enough = len(self.took) == LEAST or len(self.took) % EACH == 0
                if enough and (self._work_of_one() < self._bound) != self._machine.sequential:
                    return self._choose(event.at)
        return None

    @property
    def _bound(self) -> float:
        return SMALL * BACK if self._machine.sequential else SMALL

    def _work_of_one(self) -> float:
        return sorted(self._last)[(len(self._last) - 1) // 2]

    def _choose(self, at: float) -> ev.Noted:
        each = self._work_of_one()
        small = each < self._bound
        many = f"p50 of {len(self._last)}" if len(self._last) > 1 else "the only one seen"
        than = "under" if small else "not under"
        return _told(at, small, f"a task is {_time(each)} of work ({many}), {than} {_time(self._bound)}")


def _told(at: float, single: bool, why: str) -> ev.Noted:
    how, mode = ("one after the other", "sequential") if single else ("side by side", "parallel")
    return ev.Noted(at, f"adaptive: the steps of a task go {how}: {why}", data={"mode": mode})


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
