"""Tasks that arrive while their run executes: from a pipe that is slow, or never ends; from the store."""

from __future__ import annotations

import json
import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping

import anyio

from agentdeck.errors import AgentdeckError
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.tasks import TaskStream, lines_after
from agentdeck.workflow.model import Data

#: Yielded in place of a task where the next one has not arrived. `TaskFeed.attach` sets what is called when it
#: has.
LATER: Mapping[str, Data] = {"": "later"}
#: Tasks that may wait here before no more are read.
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


class RecordedTasks:
    """An iterator over the tasks of a run that are recorded and not opened yet. It never blocks: `read`, which
    runs beside the engine, reads ahead of it."""

    def __init__(self, store: AsyncReader, run: str, opened: int) -> None:
        self._store = store
        self._run = run
        self._count = opened
        self._lines: deque[bytes] = deque()
        self._room = anyio.Event()
        self._ended = False
        self._error: AgentdeckError | None = None

    async def read(self, arrived: Callable[[], None]) -> None:
        """Read all tasks, at most a block more than AHEAD at a time. Calls `arrived` after each block and at the
        end."""
        try:
            while lines := await self._store.read(lines_after, self._run, self._count):
                self._count += len(lines)
                self._lines.extend(lines)
                arrived()
                while len(self._lines) >= AHEAD:
                    self._room = anyio.Event()
                    await self._room.wait()
        except AgentdeckError as error:
            self._error = error
        self._ended = True
        arrived()

    def __iter__(self) -> Iterator[Mapping[str, Data]]:
        return self

    def __next__(self) -> Mapping[str, Data]:
        if self._lines:
            task: Mapping[str, Data] = json.loads(self._lines.popleft())
            if len(self._lines) < AHEAD:
                self._room.set()
            return task
        if not self._ended:
            return LATER
        if self._error is not None:
            raise self._error
        raise StopIteration
