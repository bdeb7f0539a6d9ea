"""The end of the console's process: it ends with its terminal, and no worker thread holds it up."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonExecutor(ThreadPoolExecutor):
    """Runs each job in a daemon thread of its own.

    A `ThreadPoolExecutor` joins its threads when the loop is closed, and again when the interpreter exits: one
    worker that hangs (a store on a network drive that is gone) keeps a console alive that was quit. It is a
    subclass only because a loop accepts nothing else.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # as ThreadPoolExecutor does: the awaiting code gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="agentdeck-worker", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Return at once: a job that still runs ends with the process."""


#: Seconds until a process that ignores SIGHUP (nohup) is ended all the same.
GRACE = 1.0


def end_on_hangup() -> None:
    """End this process with SIGHUP once the terminal of stdin is closed; do nothing where stdin is no terminal.

    The kernel sends SIGHUP to the session leader only, so a console that was started in another way does not get
    it. A thread waits for it and not the event loop: Textual's writer dies at its first write to a closed
    terminal, and the loop then blocks for good on the writer's full queue.
    """
    stdin = sys.__stdin__
    if stdin is not None and stdin.isatty():
        threading.Thread(target=_wait, args=(stdin.fileno(),), name="agentdeck-hangup", daemon=True).start()


def _wait(terminal: int) -> None:
    poll = select.poll()
    poll.register(terminal, 0)  # errors and a hang-up are reported without being asked for
    if any(found & select.POLLHUP for _, found in poll.poll()):
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGHUP)
