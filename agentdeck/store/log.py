"""What the engine needs of a store while a run goes on: `Writer` on disk, `MemoryLog` without one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol, TypeAlias, TypeVar

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Event

T = TypeVar("T")

#: (at, task, step, attempt, level, text)
LogRow: TypeAlias = tuple[float, str, str, int, str, str]
#: (run, the last sequence number that is on disk), told from the writer's thread.
OnCommit: TypeAlias = Callable[[str, int], None]
#: What keeps the writer from writing; None when it writes again. Told from the writer's thread.
OnFault: TypeAlias = Callable[[StoreError | None], None]
#: What goes with events: statements on the tables beside them.
Also: TypeAlias = Callable[[sqlite3.Connection], object]


class Log(Protocol):
    """Records in order. What was handed over is kept in that order, across all three ways to hand it over."""

    @property
    def backlog(self) -> int:
        """Events and log rows handed over and not yet on disk: the caller waits while this is large."""
        ...

    def append(self, run: str, first_seq: int, events: Sequence[Event], also: Sequence[Also] = ()) -> None:
        """Record events. `also` is done right after them, in the same transaction: both are kept, or neither."""
        ...

    @property
    def fault(self) -> StoreError | None:
        """What keeps it from writing now."""
        ...

    def log(self, run: str, rows: Sequence[LogRow]) -> None: ...

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `fn` between what was handed over before and after. The future is done once it is on disk."""
        ...

    def flush(self, timeout: float | None = None) -> None: ...

    def close(self, timeout: float = 10.0) -> None: ...
