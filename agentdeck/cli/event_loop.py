"""The event loop of a process that executes a run."""

from __future__ import annotations

import asyncio
import gc

#: New objects after which the garbage collector examines the youngest ones. Python's default is 700, the objects
#: of 70 steps, all of which are still in use then.
COLLECT_AFTER = 10_000


def new_runner() -> asyncio.Runner:
    """A runner with uvloop's event loop where uvloop is installed (`pip install 'agentdeck[fast]'`), else with
    asyncio's. asyncio rounds each timer up to the next millisecond, as epoll counts in these: half a millisecond
    late on average, 3 % of a step of 15 ms. uvloop rounds to the nearest.

    Objects that exist now are exempt from garbage collection: examining them takes 30 ms each time, during which
    the loop is blocked.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=new_event_loop)
