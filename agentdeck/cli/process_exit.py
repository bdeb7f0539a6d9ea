"""The two ends of a process that runs agents: its stdout is its own, and nothing left behind keeps it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import NoReturn

from agentdeck.cli import streams

#: How long threads may go on once all else is over.
GRACE = 0.3


def own_stdout() -> None:
    """Whatever writes to file descriptor 1 itself, as the children of agents do, comes out on stderr from now on:
    stdout is for data. `sys.stdout` goes on writing to where it did."""
    try:
        if sys.stdout.fileno() != 1:
            return  # done before, or not a process's own stdout
        ours = os.dup(1)
        sys.stdout.flush()
        os.dup2(2, 1)
    except (OSError, ValueError):
        return
    sys.stdout = streams.stdout(ours)


def leave(code: int) -> None:
    """Leave at once where threads of agents would keep the interpreter waiting: a function in a thread cannot be
    stopped, only left behind. Otherwise returns."""
    end = time.monotonic() + GRACE
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.daemon:
            continue
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            leave_now(code)


def leave_now(code: int) -> NoReturn:
    """End this process without waiting for its threads. What stdout could not take decides the exit code."""
    from agentdeck.cli.error_output import guarded

    code = guarded(lambda: code)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
