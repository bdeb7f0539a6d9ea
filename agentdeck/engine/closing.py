"""Closes what the agents of a run share. Much of it is code of plugins: it may fail, and it has only seconds."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agentdeck.agents.loop_interrupt import LoopBlocked, foreign, interrupt
from agentdeck.engine.observers import Warn
from agentdeck.errors import described
from agentdeck.providers.provider import Closer

#: Seconds for closing, for everything of a run together.
CLOSING = 5.0
#: Seconds that a cancelled call has to end.
GRACE = 0.5
#: Seconds between two attempts to interrupt a call that blocks the loop.
AGAIN = 0.25


async def close_all(closers: Sequence[Closer], warn: Warn) -> int:
    """Close everything at the same time; report what fails or takes too long. Returns the number of calls that
    ignored their cancellation and are still under way."""
    if not closers:
        return 0
    calls = {asyncio.create_task(_close(closer, warn)): closer[0] for closer in closers}
    with _interrupted_after(CLOSING + AGAIN):
        _, late = await asyncio.wait(calls, timeout=CLOSING)
        for call in late:
            warn(f"{calls[call]} did not close within {CLOSING:g} s; the run ends without it")
            call.cancel()
        if late:
            _, late = await asyncio.wait(late, timeout=GRACE)
    return len(late)


@foreign
async def _close(closer: Closer, warn: Warn) -> None:
    name, close = closer
    try:
        closing: object = close()
        if inspect.isawaitable(closing):
            await closing
    except LoopBlocked:
        warn(f"{name} blocked all else while it closed, and was interrupted; the run ends without it")
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: they are not the operator's
        task = asyncio.current_task()
        if not (isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()):
            warn(f"{name} failed to close: {described(error)}")


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """A call that blocks the loop for longer is interrupted: meanwhile nothing else on the loop can do that."""
    over = threading.Event()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            interrupt()
            wait = AGAIN

    threading.Thread(target=watch, name="agentdeck-closing", daemon=True).start()
    try:
        yield
    finally:
        over.set()
