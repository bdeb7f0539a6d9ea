"""The threads of a child process that execute blocking calls.

Imports nothing but the standard library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

#: Executes a call, and returns what reports that it has ended.
Work: TypeAlias = Callable[[], Callable[[], object]]


class CallThreads:
    """A thread that has ended its call takes the next one: to start one costs as much as all else of a short
    call. Each call has one at once, so there are as many as calls at the same time."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Work]] = []

    def execute(self, work: Work) -> None:
        """Called on the event loop."""
        queue = self._idle.pop() if self._idle else self._start()
        queue.put(work)

    def _start(self) -> SimpleQueue[Work]:
        queue: SimpleQueue[Work] = SimpleQueue()
        threading.Thread(target=self._run, args=(queue,), daemon=True).start()
        return queue

    def _run(self, queue: SimpleQueue[Work]) -> None:
        while True:
            report = queue.get()()
            self._idle.append(queue)
            report()
            del report  # it has the result
