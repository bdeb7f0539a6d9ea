"""Steps that wait for a `once` key which another step holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
from anyio.abc import TaskGroup

from agentdeck.engine.clock import Clock
from agentdeck.engine.result_reuse import ResultReuse
from agentdeck.errors import StoreError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import DEFERRED, READY, RUNNING, Step

#: A deferred attempt: task, step, number.
Waiter: TypeAlias = tuple[str, str, int]

#: Seconds between two checks of keys that other processes hold: these do not report that they release one.
LOOK = 0.25


@dataclass(slots=True, eq=False)
class KeyWaiters:
    """When a key has a result, or is known to have none, all its waiters try again, and end at once. When its
    holder failed without effect, the first waiter tries; the next one when that has failed too, or does not
    try."""

    _scheduler: Scheduler
    _clock: Clock
    _feed: Callable[[ev.Signal], None]
    _reuse: ResultReuse
    _waiting: dict[str, deque[Waiter]] = field(default_factory=dict, init=False)
    _trying: dict[str, Waiter] = field(default_factory=dict, init=False)
    _changed: anyio.Event = field(default_factory=anyio.Event, init=False)

    def __post_init__(self) -> None:
        self._reuse.released = self._look_now

    def add(self, key: str, waiter: Waiter, group: TaskGroup) -> None:
        """An attempt was deferred for this key."""
        if not self._waiting:
            group.start_soon(self._watch)
        self._waiting.setdefault(key, deque()).append(waiter)
        self._look_now()  # the key may have been released already

    def _look_now(self) -> None:
        self._changed.set()

    async def _watch(self) -> None:
        """Runs while a step waits."""
        while self._waiting:
            # A holder in this process reports its end; a waiter that was chosen to try may end without trying.
            reported = self._reuse.live.issuperset(self._waiting)
            with anyio.move_on_after(None if reported else LOOK):
                await self._changed.wait()
            self._changed = anyio.Event()
            self._forget_ended()
            try:
                states = await self._reuse.look([*self._waiting])
            except StoreError:
                await anyio.sleep(LOOK)  # the run pauses, and continues by itself
                continue
            for key, state in states.items():
                self._act(key, state)

    def _act(self, key: str, state: str) -> None:
        if state == "held":
            self._trying.pop(key, None)
        elif state == "new":
            if not self._is_trying(key):
                self._trying[key] = self._waiting[key].popleft()
                self._wake(self._trying[key])
        else:
            for waiter in self._waiting[key]:
                self._wake(waiter)
            self._waiting[key].clear()
        if not self._waiting[key]:
            del self._waiting[key]

    def _wake(self, waiter: Waiter) -> None:
        self._feed(ev.DeferralEnded(self._clock.now(), *waiter))

    def _is_trying(self, key: str) -> bool:
        """Whether the waiter that was woken last has not claimed the key yet."""
        waiter = self._trying.get(key)
        step = self._step(waiter) if waiter is not None else None
        return step is not None and step.state in (READY, RUNNING)

    def _forget_ended(self) -> None:
        """Remove waiters whose step was cancelled or ran out of time."""
        for key, waiters in [*self._waiting.items()]:
            left = deque(
                one for one in waiters if (s := self._step(one)) and s.state == DEFERRED and s.attempt == one[2]
            )
            if left:
                self._waiting[key] = left
            else:
                del self._waiting[key]

    def _step(self, waiter: Waiter) -> Step | None:
        return self._scheduler.state.find(waiter[0], waiter[1])
