"""Tasks that come while their run goes on, from another thread: a pipe that is slow, or that never ends."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping

from agentdeck.errors import AgentdeckError
from agentdeck.store.tasks import TaskStream
from agentdeck.workflow.model import Data

#: What is given where the next task is not there yet: no task. `TaskFeed.attach` says when to ask again.
LATER: Mapping[str, Data] = {"": "later"}
#: How many tasks may wait here before who brings them has to wait.
AHEAD = 1000


class TaskFeed:
    """An iterator that never waits. One thread puts, one takes. `stream` records what comes: a task is added to
    it before it is put."""

    def __init__(self) -> None:
        self.stream = TaskStream()
        self._queue: queue.Queue[Mapping[str, Data] | None] = queue.Queue(AHEAD)
        self._wake: Callable[[], None] | None = None
        self._wanted = False
        self.error: AgentdeckError | None = None

    def attach(self, wake: Callable[[], None]) -> None:
        """`wake` is called, from the thread that puts, when there is something after LATER was given."""
        self._wake = wake
        self._call()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    @property
    def full(self) -> bool:
        return self._queue.full()

    def put(self, task: Mapping[str, Data]) -> None:
        """Waits while there is no room."""
        self._queue.put(task)
        self._call()

    def end(self, error: AgentdeckError | None = None) -> None:
        """No more will come. The error is raised once all before it were taken."""
        self.error = error
        self._queue.put(None)
        self._call()

    def __iter__(self) -> Iterator[Mapping[str, Data]]:
        return self

    def __next__(self) -> Mapping[str, Data]:
        self._wanted = True  # before looking: what is put from here on wakes
        try:
            task = self._queue.get_nowait()
        except queue.Empty:
            return LATER
        self._wanted = False
        if task is not None:
            return task
        self._queue.put_nowait(None)  # for whoever asks again
        if self.error is not None:
            raise self.error
        raise StopIteration

    def _call(self) -> None:
        if self._wanted and self._wake is not None:
            self._wanted = False
            self._wake()
