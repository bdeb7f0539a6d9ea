"""Tasks that arrive from another thread while their run executes: from a pipe that is slow, or never ends."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping

from agentdeck.errors import AgentdeckError
from agentdeck.store.tasks import TaskStream
from agentdeck.workflow.model import Data

#: Yielded in place of a task where the next one has not arrived. `TaskFeed.attach` sets what is called when it
#: has.
LATER: Mapping[str, Data] = {"": "later"}
#: Tasks that may wait here before `put` blocks.
AHEAD = 1000


class TaskFeed:
    """An iterator that never blocks. One thread puts, one takes. `stream` records the tasks: each is added to it
    before it is put."""

    def __init__(self) -> None:
        self.stream = TaskStream()
        self._queue: queue.Queue[Mapping[str, Data] | None] = queue.Queue(AHEAD)
        self._wake: Callable[[], None] | None = None
        self._wanted = False
        self.error: AgentdeckError | None = None

    def attach(self, wake: Callable[[], None]) -> None:
        """Set what is called, in the thread that puts, when a task arrives after LATER was yielded."""
        self._wake = wake
        self._call()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def full(self) -> bool:
        return self._queue.full()

    def put(self, task: Mapping[str, Data]) -> None:
        """Add a task. Blocks while there is no room."""
        self._queue.put(task)
        self._call()

    def end(self, error: AgentdeckError | None = None) -> None:
        """No more tasks will arrive. The error is raised once all tasks before it were taken."""
        self.error = error
        self._queue.put(None)
        self._call()

    def __iter__(self) -> Iterator[Mapping[str, Data]]:
        return self

    def __next__(self) -> Mapping[str, Data]:
        self._wanted = True  # before the check: a task put from here on calls `wake`
        try:
            task = self._queue.get_nowait()
        except queue.Empty:
            return LATER
        self._wanted = False
        if task is not None:
            return task
        self._queue.put_nowait(None)  # for the next call
        if self.error is not None:
            raise self.error
        raise StopIteration

    def _call(self) -> None:
        if self._wanted and self._wake is not None:
            self._wanted = False
            self._wake()
