"""The process that executes a run: its event loop; its stdout, which is for data; its end, which threads of
agents cannot delay."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from agentdeck.cli import streams

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

Ended = TypeVar("Ended")

#: New objects after which the garbage collector examines the youngest ones. Python's default is 700, the objects
#: of 70 steps, all of which are still in use then.
COLLECT_AFTER = 10_000
#: Seconds that threads of agents have to end before the process ends without them.
GRACE = 0.3


def new_runner() -> asyncio.Runner:
    """A runner with uvloop's event loop where uvloop is installed (`pip install 'agentdeck[fast]'`), else with
    asyncio's. asyncio rounds each timer up to the next millisecond, as epoll counts in these: half a millisecond
    late on average, 3 % of a step of 15 ms. uvloop rounds to the nearest.

    Objects that exist now are exempt from garbage collection: examining them takes 30 ms each time, during which
    the loop is blocked.
    """
    import asyncio

    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=new_event_loop)


def run_to_end(runner: asyncio.Runner, main: Coroutine[Any, Any, Ended]) -> Ended:
    """The result of a coroutine, which what agents do to the loop cannot end before its time. A SystemExit in a
    task that an agent has made leaves the loop, and so does an exception whose repr raises, when the loop wants
    to report it. Who waits for that task has its exception too, so the loop goes on."""
    import asyncio

    task: asyncio.Task[Any] | None = None

    async def whole() -> Ended:
        nonlocal task
        task = asyncio.current_task()
        return await main

    loop = runner.get_loop()
    call = partial(runner.run, whole())
    while True:
        try:
            ended: Ended = call()
            return ended
        except BaseException:
            if task is None or task.done() or loop.is_closed():
                raise
            call = partial(loop.run_until_complete, task)


def own_stdout() -> None:
    """Redirect descriptor 1 to stderr, for child processes and C code of agents: stdout is for data. `sys.stdout`
    still writes to the original stdout."""
    try:
        if sys.stdout.fileno() != 1:
            return  # redirected before, or replaced by a test
        ours = os.dup(1)
        sys.stdout.flush()
        os.dup2(2, 1)
    except (OSError, ValueError):
        return
    sys.stdout = streams.stdout(ours)


def leave(code: int) -> None:
    """End the process if threads of agents are still running after GRACE; else return. A Python function in a
    thread cannot be stopped, and the interpreter would wait for it."""
    end = time.monotonic() + GRACE
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.daemon:
            continue
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            leave_now(code)


def leave_now(code: int) -> NoReturn:
    """End this process without waiting for its threads. A failed write to stdout changes the exit code."""
    from agentdeck.cli.error_output import guarded

    code = guarded(lambda: code)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
