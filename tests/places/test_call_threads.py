"""The threads of a child process: as many as calls at once, each used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue

from agentdeck.places.call_threads import CallThreads


def test_a_thread_takes_the_next_call() -> None:
    threads, ended = CallThreads(), Queue[int]()

    def work() -> Callable[[], object]:
        number = threading.get_ident()
        return lambda: ended.put(number)

    def call() -> int:
        threads.execute(work)
        return ended.get(timeout=30)

    assert len({call() for _ in range(10)}) == 1


def test_calls_at_once_have_a_thread_each() -> None:
    threads, met, ended = CallThreads(), threading.Barrier(3), Queue[int]()

    def work() -> Callable[[], object]:
        number = threading.get_ident()
        met.wait(30)
        return lambda: ended.put(number)

    for _ in range(2):
        threads.execute(work)
    met.wait(30)
    assert len({ended.get(timeout=30) for _ in range(2)}) == 2
