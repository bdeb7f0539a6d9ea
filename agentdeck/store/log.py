"""What the engine needs of a store while a run executes: `Writer` on disk, or `MemoryLog`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Event
from agentdeck.store.schema import upgrade

T = TypeVar("T")

#: (at, task, step, attempt, level, text)
LogRow: TypeAlias = tuple[float, str, str, int, str, str]
#: Called in the writer's thread with a run and the last sequence number that is on disk.
OnCommit: TypeAlias = Callable[[str, int], None]
#: Called in the writer's thread with what prevents writing, and with None when it works again.
OnFault: TypeAlias = Callable[[StoreError | None], None]
#: Statements on other tables that belong into the transaction of some events.
TableWrite: TypeAlias = Callable[[sqlite3.Connection], object]


class Log(Protocol):
    """Records in order: events, log rows and calls are committed in the order in which they were handed over."""

    @property
    def backlog(self) -> int:
        """How many events and log rows are not on disk yet. Callers wait while it is large."""
        ...

    def append(self, run: str, first_seq: int, events: Sequence[Event], also: Sequence[TableWrite] = ()) -> None:
        """Record events. `also` runs right after them, in the same transaction: both are committed, or
        neither."""
        ...

    @property
    def fault(self) -> StoreError | None:
        """What prevents writing now."""
        ...

    def log(self, run: str, rows: Sequence[LogRow]) -> None: ...

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `fn` between what was handed over before and after. The future is done when it is on disk."""
        ...

    def flush(self, timeout: float | None = None) -> None: ...

    def close(self, timeout: float = 10.0) -> None: ...


class MemoryLog:
    """Commits at once: `on_commit` is called inside `append`, there is no thread.

    With `keep`, events and log rows stay in `events` and `rows` (tests read them); without it they are dropped,
    so memory does not grow. Statements of `call` run on an SQLite database in memory, opened when first used, so
    `once`, caches and letters work as on disk.
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

    def append(self, run: str, first_seq: int, events: Sequence[Event], also: Sequence[TableWrite] = ()) -> None:
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
        """Nothing waits here."""

    def close(self, timeout: float = 10.0) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
