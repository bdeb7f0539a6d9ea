"""The one writer of a process: a thread with one connection that commits everything that waits, together.

A commit costs one sync of the disk (3–4 ms), whether it holds one record or a thousand. So the thread takes all
that was handed over during the last commit, and commits that: one record when the engine is idle, thousands under
load. docs/adr/0001-one-writer.md compares that with aiosqlite.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Event
from agentdeck.store.codec import KINDS, large_size
from agentdeck.store.event_log import kind_numbers, last_seq
from agentdeck.store.log import LogRow, OnCommit, OnFault, TableWrite
from agentdeck.store.schema import open_for_writing, roll_back
from agentdeck.store.sqlite_errors import RunTaken, StoreBroken, code, explain, is_busy, is_environment_error
from agentdeck.store.wal_space import WalSpace
from agentdeck.store.write_batch import (
    Call,
    CallResult,
    Conflict,
    Events,
    Item,
    Lines,
    commit,
    record_count,
    weight_of,
)

T = TypeVar("T")

BATCH = 8192  # weight of one transaction at most: bounds memory, and how long other writers wait
LINGER = 0.05  # seconds that a batch of log lines only waits for more
AGAIN = 0.5  # seconds between attempts while a fault lasts
IDLE = 2.0  # seconds without work after which the WAL is checkpointed
BUSY = 30.0  # seconds to wait for another process's lock when the file is opened
LOCKED = 2.0  # seconds to wait for it later before that is reported as a fault


class _Stop(NamedTuple):
    pass


class Writer:
    """Invariant: what is on disk of a run is a prefix of what was handed over, without gaps; `on_commit` is
    called only for what is on disk, per run in rising order.

    `append`, `log` and `call` may be used from any thread; each run's events come from one thread. They never
    wait: callers check `backlog`. While the disk is full, read-only or locked, the batch is repeated until it is
    written; `on_fault` is called with the fault, and with None when it is over. A damaged file ends the writer:
    `on_fault` gets a StoreBroken, and all later calls raise it.
    """

    def __init__(self, path: Path, on_commit: OnCommit | None = None, on_fault: OnFault | None = None) -> None:
        """Opens the file; creates it and its folders if they are missing. Raises StoreError."""
        self.path = Path(path)
        self._on_commit = on_commit
        self._on_fault = on_fault
        self._connection = open_for_writing(self.path, busy_seconds=BUSY)
        self._kinds = self._kind_numbers()
        self._connection.execute(f"PRAGMA busy_timeout = {int(LOCKED * 1000)}")
        self._wal_space = WalSpace(self.path)
        self._queue: queue.SimpleQueue[Item | _Stop] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._handed_over = self._committed = 0  # records
        self._weight_handed_over = self._weight_committed = 0
        self._next: dict[str, int] = {}
        self._taken: set[str] = set()
        self._abandon = threading.Event()
        self._broken: StoreError | None = None
        self._fault: StoreError | None = None
        self._closed = False
        self._stopping = False
        self._dirty = False
        self._thread = threading.Thread(target=self._work, name="agentdeck-writer", daemon=True)
        self._thread.start()

    # For the engine ---------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        return self._weight_handed_over - self._weight_committed

    @property
    def fault(self) -> StoreError | None:
        """What prevents writing now."""
        return self._broken or self._fault

    def append(self, run: str, first_seq: int, events: Sequence[Event], also: Sequence[TableWrite] = ()) -> None:
        """Record events under `first_seq` and the numbers after it, and do `also` in the same transaction. Raises
        ValueError on a gap."""
        if not events:
            return
        expected = self._next.get(run, first_seq)
        if first_seq != expected:
            raise ValueError(f"run {run}: event {first_seq} handed over where {expected} is next")
        self._next[run] = first_seq + len(events)
        self._put(Events(run, first_seq, events, also, sum(map(large_size, events))))

    def log(self, run: str, rows: Sequence[LogRow]) -> None:
        """Record log lines of agents. They are committed with other records, or after LINGER."""
        if rows:
            self._put(Lines(run, rows))

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `fn` in the writer's thread and transaction, between what was handed over before and after.

        The future is done when it is on disk. An error that `fn` raises goes to the future, and only what `fn`
        did is rolled back. `fn` may run again after a fault of the disk, which has rolled back its first run.
        """
        future: Future[T] = Future()
        self._put(Call(fn, future))
        return future

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything handed over so far is on disk. Raises StoreError after `timeout` seconds."""
        try:
            self.call(lambda connection: None).result(timeout)
        except TimeoutError:
            raise self.fault or StoreError(f"{self.path}: not written after {timeout} s") from None

    def close(self, timeout: float = 10.0) -> None:
        """Write what waits, and stop. Raises StoreError when it cannot be written within `timeout`."""
        with self._lock:
            closed, self._closed = self._closed, True
            if not closed:
                self._queue.put(_Stop())
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._abandon.set()
            self._thread.join(2.0)
        unwritten = self._handed_over - self._committed
        if unwritten and not closed:
            reason = self.fault or f"{self.path}: timed out"
            raise StoreError(f"{unwritten} records could not be written: {reason}")

    def _put(self, item: Item) -> None:
        with self._lock:
            if self._broken is not None:
                raise self._broken
            if self._closed:
                raise StoreError(f"{self.path}: the writer is closed")
            self._handed_over += record_count(item)
            self._weight_handed_over += weight_of(item)
            self._queue.put(item)

    def _kind_numbers(self) -> dict[str, int]:
        try:
            return kind_numbers(self._connection, KINDS)
        except sqlite3.Error as error:
            self._connection.close()
            raise explain(error, self.path) from error

    # In the writer's thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        items: list[Item] = []
        try:
            while not self._stopping:
                items = self._gather()
                if items:
                    self._write(items)
        except StoreError as fault:
            self._fail_all(fault, items)
        except BaseException as error:  # a bug: report it, as callers would wait forever
            self._fail_all(StoreBroken(f"{self.path}: the writer stopped: {error!r}"), items)
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()

    def _gather(self) -> list[Item]:
        """Everything that waits, up to a weight of BATCH; a batch of log lines only waits LINGER. Sets
        `_stopping`."""
        items: list[Item] = []
        weight, urgent, until = 0, False, 0.0
        while weight < BATCH:
            try:
                if not items:
                    item = self._queue.get(timeout=IDLE if self._dirty else None)
                elif urgent:
                    item = self._queue.get_nowait()
                else:
                    item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                if items:
                    break
                self._checkpoint()
                continue
            if isinstance(item, _Stop):
                self._stopping = True
                break
            weight += max(1, weight_of(item))
            if isinstance(item, Lines):
                until = until or time.monotonic() + LINGER
            else:
                urgent = True
            items.append(item)
        return items

    def _write(self, items: list[Item]) -> None:
        """Commit the batch, however long that takes. Raises StoreError when it is impossible."""
        while True:
            kept = [item for item in items if not (isinstance(item, Events | Lines) and item.run in self._taken)]
            try:
                answers = commit(self._connection, kept, self._kinds)
                break
            except Conflict:
                roll_back(self._connection)
                self._find_taken_runs(kept)
            except sqlite3.Error as error:
                roll_back(self._connection)
                self._wait_after(error)
        self._dirty = True
        self._wal_space.committed(self._connection)
        if self._fault is not None:
            self._report_fault(None)
        self._committed += sum(map(record_count, items))
        self._weight_committed += sum(map(weight_of, items))
        self._report(kept, answers)

    def _wait_after(self, error: sqlite3.Error) -> None:
        """Report a fault, and return when the batch can be tried again. Raises when that is pointless."""
        if not is_environment_error(error):
            raise error
        fault = explain(error, self.path)
        if isinstance(fault, StoreBroken):
            raise fault from error
        self._report_fault(fault)
        if self._abandon.wait(0.0 if is_busy(error) else AGAIN):
            raise fault from error
        self._reopen_if_it_helps(error)

    def _report(self, items: list[Item], answers: list[CallResult]) -> None:
        """Report a committed batch to `on_commit` and to the callers that wait for it."""
        last = {item.run: item.first + len(item.events) - 1 for item in items if isinstance(item, Events)}
        if self._on_commit is not None:
            for run, seq in last.items():
                with contextlib.suppress(Exception):  # the listener is closed; the records are committed
                    self._on_commit(run, seq)
        for future, value, failure in answers:
            if failure is not None:
                _resolve(future, failure=failure)
            else:
                _resolve(future, value)

    def _find_taken_runs(self, items: list[Item]) -> None:
        """Find the runs whose sequence numbers are taken: other processes own them now."""
        found = False
        for run, first in {i.run: i.first for i in reversed(items) if isinstance(i, Events)}.items():
            if last_seq(self._connection, run) >= first:
                found = True
                self._taken.add(run)
                if self._on_fault is not None:
                    with contextlib.suppress(Exception):
                        self._on_fault(RunTaken(run))
        if not found:
            raise StoreBroken(
                f"{self.path}: events do not fit their log; check the file with PRAGMA integrity_check"
            )

    def _report_fault(self, fault: StoreError | None) -> None:
        if str(fault) != str(self._fault) and self._on_fault is not None:
            with contextlib.suppress(Exception):
                self._on_fault(fault)
        self._fault = fault

    def _reopen_if_it_helps(self, error: sqlite3.Error) -> None:
        """Open a new connection: one to a file that was read-only stays read-only after the file is writable."""
        if code(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) and self.path.exists():
            with contextlib.suppress(StoreError):
                fresh = open_for_writing(self.path)
                fresh.execute(f"PRAGMA busy_timeout = {int(LOCKED * 1000)}")
                self._connection.close()
                self._connection = fresh

    def _checkpoint(self) -> None:
        """Checkpoint and truncate the WAL, unless another connection reads or writes now."""
        with contextlib.suppress(sqlite3.Error), self._not_waiting():
            ((busy, _, _),) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._dirty = bool(busy)
            if not busy:
                self._wal_space.cut()

    @contextlib.contextmanager
    def _not_waiting(self) -> Iterator[None]:
        """Within it, a lock of another process is an error at once."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(LOCKED * 1000)}")

    def _fail_all(self, fault: StoreError, items: list[Item]) -> None:
        """Fail everything that waits: nothing more will be written."""
        with self._lock:
            self._broken = fault
            with contextlib.suppress(queue.Empty):
                while True:
                    item = self._queue.get_nowait()
                    if not isinstance(item, _Stop):
                        items = [*items, item]
        for item in items:
            if isinstance(item, Call) and not item.future.done():
                _resolve(item.future, failure=fault)
        if self._on_fault is not None:
            with contextlib.suppress(Exception):
                self._on_fault(fault)


def _resolve(future: Future[Any], value: Any = None, failure: BaseException | None = None) -> None:
    """Set the result of a call. Its caller may have cancelled the future; the call was committed all the same."""
    with suppress(InvalidStateError):
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(value)
