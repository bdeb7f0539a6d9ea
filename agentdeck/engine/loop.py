"""The event loop of a process that is ours: exact timers, and one thing after the other.

asyncio waits in whole milliseconds, rounded up, as epoll counts in them: half a millisecond late on average, 3 %
of a step of 15 ms. `select` counts in microseconds, so it does the waiting; epoll tells what has come.

Of what has come the first is handled until it waits for something, then the next is looked for. If all were
handled in turns, a piece each, the answers that come together would all be done late, and their next calls would
go out, and come back, together again: 500 documents took 5 % longer in turns (benchmarks/models.py).
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import selectors
import time

#: Seconds for what is at hand, before what has come meanwhile is looked for.
AT_HAND = 0.005
#: Where that is never done, so much of what has come is taken at each look.
MANY = 64
#: What `select` can look at.
MOST = 1024
#: So many new objects make the collector look through them. 700, as Python has it, are those of 70 steps: it
#: finds them all alive, time and again.
YOUNG = 10_000


def own_runner() -> asyncio.Runner:
    """For a process that does nothing but run: what is there by now stays, so the collector need not look through
    it again and again, which holds up everything for 30 ms."""
    gc.freeze()
    gc.set_threshold(YOUNG)
    return asyncio.Runner(loop_factory=OwnLoop)


class OwnLoop(asyncio.SelectorEventLoop):
    """Nobody else's work is in it, so a run that has nothing to do but to
    wait for the disk may hold it up meanwhile."""

    def __init__(self) -> None:
        super().__init__(_OneByOne() if hasattr(selectors, "EpollSelector") else None)


if hasattr(selectors, "EpollSelector"):

    class _OneByOne(selectors.EpollSelector):
        def __init__(self) -> None:
            super().__init__()
            self._same = select.epoll.fromfd(os.dup(self.fileno()))  # which can be asked for one event only
            self._looked = 0.0

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            many = 1
            if timeout is None:
                timeout = -1
            elif timeout > 0:
                if self.fileno() < MOST:
                    select.select((self.fileno(),), (), (), timeout)
                    timeout = 0
            elif time.monotonic() < self._looked + AT_HAND:
                return []
            else:
                many = MANY  # who is never done with what is at hand is not to be in the way of all others
            self._looked = time.monotonic()
            found = []
            for fd, mask in self._same.poll(timeout, many):
                key = self.get_map().get(fd)
                if key is None:  # closed before it was taken out, while a copy of it is open
                    continue
                events = selectors.EVENT_READ * bool(mask & ~select.EPOLLOUT)
                events |= selectors.EVENT_WRITE * bool(mask & ~select.EPOLLIN)
                found.append((key, events & key.events))
            return found

        def close(self) -> None:
            self._same.close()
            super().close()
