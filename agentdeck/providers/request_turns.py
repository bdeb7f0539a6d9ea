"""Turns of calls that end at the same time: each goes on to its next request before the next one is handled."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

#: Iterations of the event loop within which a task whose call has ended has to begin another one. Reading the end
#: of the body, recording the result and starting the next step take about five.
FOLLOWING = 8
#: The same from the beginning of a request until it has been sent. That takes about four.
SENDING = 12
#: Seconds after which a turn ends too: the event loop handles much else in each iteration.
BUSY = 0.01


class _Waiter(NamedTuple):
    task: asyncio.Task[Any] | None
    future: asyncio.Future[None]


class RequestTurns:
    """A task takes a turn when its call has ended, and keeps it until its next request has been sent.

    Without turns, tasks whose calls end together alternate at each `await`, and send their next requests last,
    each as late as if it had waited for the work of all: 30 calls of 0.1 s took 0.124 s each.

    A turn is no lock: it lasts a few iterations of the event loop, less where the task has ended, and nothing
    depends on it. Iterations are counted only while a task waits, so a single call costs nothing.
    """

    def __init__(self) -> None:
        self._owner: asyncio.Task[Any] | None = None
        self._iterations = 0
        self._since = 0.0
        #: Tasks that get a turn together. It doubles as long as turns last too long, so that waiting tasks are
        #: not held up by an event loop that is busy with other streams.
        self._together = 1
        self._waiting: deque[_Waiter] = deque()
        self._counting = False

    async def take(self) -> None:
        """Wait for the turn of the current task, whose call has ended."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._owner is task or (self._is_free and not self._waiting):
            self._begin(task, loop)
            return
        if not self._counting:
            self._counting = True
            loop.call_soon(self._count, loop)
        waiter = _Waiter(task, loop.create_future())
        self._waiting.append(waiter)
        await waiter.future

    def extend(self) -> None:
        """The current task begins its next request."""
        if self._owner is not None and self._owner is asyncio.current_task():
            self._iterations = SENDING

    def release(self) -> None:
        """The current task has sent its next request."""
        if self._owner is not None and self._owner is asyncio.current_task():
            self._together = 1
            self._pass_on(asyncio.get_running_loop())

    @property
    def _is_free(self) -> bool:
        return self._owner is None or self._owner.done()

    def _begin(self, task: asyncio.Task[Any] | None, loop: asyncio.AbstractEventLoop) -> None:
        self._owner, self._iterations, self._since = task, FOLLOWING, loop.time()

    def _pass_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = None
        while self._waiting and self._owner is None:
            waiter = self._waiting.popleft()
            if not waiter.future.done():  # it was not cancelled
                self._begin(waiter.task, loop)
                waiter.future.set_result(None)

    def _count(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs once per iteration of the event loop while a task waits."""
        self._iterations -= 1
        if loop.time() - self._since > BUSY:
            self._together *= 2
            for _ in range(min(self._together, len(self._waiting))):
                self._pass_on(loop)
        elif self._iterations <= 0 or self._is_free:
            self._pass_on(loop)
        self._counting = bool(self._waiting)
        if self._counting:
            loop.call_soon(self._count, loop)
