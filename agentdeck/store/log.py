"""What the engine needs of a store while a run executes: `Writer` on disk, or `MemoryLog`."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Event
from agentdeck.store.schema import transaction, upgrade

T = TypeVar("T")

#: Seconds without progress after which a store that cannot be written is an error.
PATIENCE = 3.0

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
        """How many events and log rows are not on disk yet; a large value counts as several. Callers wait
        while it is large."""
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


def call_and_wait(log: Log, write: TableWrite, patience: float = PATIENCE) -> None:
    """Run `write` in the log's thread; returns when it is on disk. Raises StoreError when the store could not be
    written for `patience` seconds."""
    future, since = log.call(write), time.monotonic()
    while True:
        try:
            future.result(0.5)
            return
        except TimeoutError:
            fault = log.fault
            if fault is None:
                since = time.monotonic()
            elif time.monotonic() - since > patience:
                raise fault from None


class MemoryLog:
    """Commits at once, without a thread. Events and log rows are dropped. Statements of `call` run on an SQLite
    database in memory, opened when first used, so `once`, caches and letters work as on disk."""

    backlog = 0
    fault = None

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    def append(self, run: str, first_seq: int, events: Sequence[Event], also: Sequence[TableWrite] = ()) -> None:
        for fn in also:
            self.call(fn)

    def log(self, run: str, rows: Sequence[LogRow]) -> None:
        """Log lines are dropped."""

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._connection is None:
                self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
                upgrade(self._connection, Path(":memory:"))
            try:
                with transaction(self._connection):
                    value = fn(self._connection)
            except Exception as failure:
                future.set_exception(failure)
            else:
                future.set_result(value)
        return future

    def flush(self, timeout: float | None = None) -> None:
        """Nothing waits here."""

    def close(self, timeout: float = 10.0) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
