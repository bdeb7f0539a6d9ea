"""Worker threads that never hold up the exit of the console."""

from __future__ import annotations

import threading
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
