"""When the rest of a run can end, and which steps would delay that.

While many tasks are left, the oldest go first, so that tasks end early and few are open. Towards the end of a run
that leaves the longest steps of the youngest tasks to the last, with most workers idle. So a step whose remaining
path is nearly as long as all that is left goes before older tasks, and a task that was not opened yet is opened
once its own path is that long.

Nothing here is recorded: it follows from the state and the time, so a resumed run decides in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.run_state import RunState

#: A step is urgent if its remaining path takes this share of what is left of the run. On graphs of the
#: benchmark a larger share makes runs longer; with 0.8 tasks end more than 1 % later on average.
SHARE: Final = 0.85


def urgent_path(
    longest: float, running: Iterable[tuple[float, float, float]], work: float, workers: int
) -> float:
    """The remaining path in seconds from which on a step is urgent. What is left of the run takes the `longest`
    path of a step that has not started, that of each `running` step, and its share of the `work` for each worker:
    none of these can be undercut. Of each running step: the time since it started, the time for which it holds
    its worker in all, and its path."""
    for elapsed, holds, path in running:
        longest = max(longest, path - elapsed)
        work -= min(elapsed, holds)
    return SHARE * max(longest, work / workers)


@dataclass(slots=True, eq=False)
class Horizon:
    """Lets steps go first that would delay the end of the run."""

    _state: RunState
    _queue: ReadyQueue

    def update(self, at: float) -> bool:
        """Let the steps that are urgent by now go first. Returns whether the tasks that were not opened yet are
        urgent."""
        state, queue = self._state, self._queue
        unopened, program = state.unopened, state.program
        if not unopened and not queue.heap:
            return False
        path = program.path if unopened else 0.0
        longest = max(path, queue.longest_path)
        work = state.work + unopened * program.work
        if max(path, queue.longest) < SHARE * max(longest, work / state.workers - program.path):
            return False  # nothing can be urgent, whatever the running steps have done
        holding = (step for step in state.running if not step.rule.is_call)
        running = [(at - step.started_at, step.rule.work, step.path) for step in holding]
        least = urgent_path(longest, running, work, state.workers)
        if queue.longest >= least:
            queue.prioritize(least)
        return path >= least
