"""`mode: adaptive`: whether the steps of a task run in parallel, by the amount of work in a task.

Handing a step to another worker has a small cost. Where a whole task is less than a tenth of a second of work,
there is little to gain, and its steps run one after the other; tasks run in parallel as always."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import root_of
from agentdeck.store.runs import REMEMBERED

#: Seconds of work of the median task below which its steps run one after the other.
SMALL = 0.1
#: Tasks that must have ended before the first decision, and between two decisions.
LEAST, EACH = 5, 20
#: The factor by which tasks must be larger before their steps run in parallel again.
BACK = 1.5


class AdaptiveMode:
    """Chooses the mode from a run's events. `known` are the seconds of work of earlier tasks; `work_of_tasks`
    those of this run's."""

    def __init__(self, known: Iterable[float], scheduler: Scheduler) -> None:
        self.work_of_tasks: list[float] = []
        self._last = deque(known, REMEMBERED)
        self._scheduler = scheduler
        self._began: dict[tuple[str, str], float] = {}
        self._work: dict[str, float] = {}

    def first(self, at: float) -> ev.Noted:
        """The choice before anything has run, with its reason."""
        if self._last:
            return self._choose(at)
        return _choice(at, False, "no earlier task of this workflow was measured")

    def see(self, event: ev.Event) -> ev.Noted | None:
        """Consider an event. Returns the new choice, where it is another one."""
        match event:
            case ev.StepStarted(task=task, step=step) if self._scheduler.state.step(task, step).acting.slot:
                self._began[task, step] = event.at
            case ev.StepSucceeded(task=task, step=step) | ev.AttemptFailed(task=task, step=step):
                root, began = root_of(task), self._began.pop((task, step), event.at)
                self._work[root] = self._work.get(root, 0.0) + event.at - began
            case ev.TaskEnded(task=task) if task in self._work:
                self.work_of_tasks.append(round(self._work.pop(task), 6))
                self._last.append(self.work_of_tasks[-1])
                enough = len(self.work_of_tasks) == LEAST or len(self.work_of_tasks) % EACH == 0
                if enough and (self._work_of_one() < self._bound) != self._scheduler.state.sequential:
                    return self._choose(event.at)
        return None

    @property
    def _bound(self) -> float:
        return SMALL * BACK if self._scheduler.state.sequential else SMALL

    def _work_of_one(self) -> float:
        return sorted(self._last)[(len(self._last) - 1) // 2]

    def _choose(self, at: float) -> ev.Noted:
        each = self._work_of_one()
        small = each < self._bound
        many = f"p50 of {len(self._last)}" if len(self._last) > 1 else "the only one measured"
        than = "under" if small else "not under"
        return _choice(at, small, f"a task is {_time(each)} of work ({many}), {than} {_time(self._bound)}")


def _choice(at: float, single: bool, why: str) -> ev.Noted:
    how, mode = ("one after another", "sequential") if single else ("in parallel", "parallel")
    return ev.Noted(at, f"adaptive: the steps of a task run {how}: {why}", data={"mode": mode})


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
