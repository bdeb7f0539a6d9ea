"""A process that runs agents: stdout is reserved for data, and threads that do not end cannot keep it alive."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import NoReturn

from agentdeck.cli import streams

#: Seconds that threads of agents have to end before the process ends without them.
GRACE = 0.3


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
