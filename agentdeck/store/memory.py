"""A log that never reaches a disk, for tests and for calling agentdeck from Python."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from agentdeck.scheduler.events import Event
from agentdeck.store.log import Also, LogRow, OnCommit
from agentdeck.store.schema import upgrade

T = TypeVar("T")


class MemoryLog:
    """Everything counts as committed at once: `on_commit` is called inside `append`, there is no thread.

    With `keep`, events and log rows stay in `events` and `rows` (what a test looks at); without it they are
    forgotten, so memory does not grow. Statements of `call` go to an SQLite database in memory, opened when
    first used, so `once`, caches and letters work as on disk.
    """

    backlog = 0
    fault = None

    def __init__(self, on_commit: OnCommit | None = None, *, keep: bool = False) -> None:
        self.events: dict[str, list[Event]] = {}
        self.rows: dict[str, list[LogRow]] = {}
        self._keep = keep
        self._on_commit = on_commit
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def append(self, run: str, first_seq: int, events: Sequence[Event], also: Sequence[Also] = ()) -> None:
        if not events:
            return
        for fn in also:
            self.call(fn)
        if self._keep:
            self.events.setdefault(run, []).extend(events)
        if self._on_commit is not None:
            self._on_commit(run, first_seq + len(events) - 1)

    def log(self, run: str, rows: Sequence[LogRow]) -> None:
        if self._keep:
            self.rows.setdefault(run, []).extend(rows)

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._connection is None:
                self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
                upgrade(self._connection, Path(":memory:"))
            self._connection.execute("BEGIN")
            try:
                value = fn(self._connection)
            except Exception as failure:
                self._connection.execute("ROLLBACK")
                future.set_exception(failure)
            else:
                self._connection.execute("COMMIT")
                future.set_result(value)
        return future

    def flush(self, timeout: float | None = None) -> None:
        """Nothing ever waits here."""

    def close(self, timeout: float = 10.0) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
