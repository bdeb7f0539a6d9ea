"""`mode: sequential`: one step of a task at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.scheduler.ready_queue import Entry, ReadyQueue
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import Step, root_of
from agentdeck.scheduler.waits import MAX_PARALLEL


@dataclass(slots=True, eq=False)
class SequentialLanes:
    """Where the steps of a task run one after another, the step that runs and the entries behind it, by lane. A
    lane is a task; while the whole run is sequential, a task and all tasks nested in it share one."""

    _state: RunState
    _queue: ReadyQueue
    lanes: dict[str, tuple[Step, list[Entry]]] = field(default_factory=dict, init=False)

    def lane_of(self, step: Step) -> str:
        """The lane of a step, empty where it may run beside others."""
        task = step.task
        if not step.acting.slot or step.acting.is_call:
            return ""
        return root_of(task.id) if self._state.sequential else task.id if task.program.serial else ""

    def wait(self, lane: str, entry: Entry) -> bool:
        """Whether another step has the lane; if so, the entry is queued behind it."""
        if lane not in self.lanes:
            return False
        self.lanes[lane][1].append(entry)
        self._queue.set_aside(entry[6], MAX_PARALLEL)
        return True

    def occupy(self, lane: str, step: Step) -> None:
        if lane:
            self.lanes[lane] = step, []

    def leave(self, step: Step) -> None:
        """If the step has the lane, return the entries behind it to the queue."""
        task = step.task
        name = root_of(task.id) if self._state.sequential else task.id
        if name in self.lanes and self.lanes[name][0] is step:
            self._return(self.lanes.pop(name)[1])

    def set_mode(self, *, sequential: bool) -> None:
        """From now on the steps of each task run one after another, or side by side."""
        state = self._state
        waiting = [entry for _, entries in self.lanes.values() for entry in entries]
        state.sequential = sequential
        self.lanes = {}
        for step in state.running if sequential else ():
            if not step.acting.is_call:
                self.lanes[root_of(step.task.id)] = step, []
        for rule in state.program.all_rules():
            rule.checked |= sequential
        self._return(waiting)

    def _return(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._queue.resume_wait(entry[6])
            self._queue.put_back(entry)
