"""The tasks of a run as they were at its launch, by content.

Tasks are JSON lines, grouped into blocks of about 64 kB. A block is compressed if that makes it smaller, and
stored under the hash of its text, so a second launch of the same file, or a fork, adds one row per block: 100,000
tasks of 134 bytes take 2.4 MB. The blocks are written before the run's own row, or with it: `resume` finds what
was launched, whatever happened to the file.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import IO, NamedTuple, TypeAlias

from agentdeck.errors import StoreError
from agentdeck.store.codec import text_of
from agentdeck.store.log import Log, call_and_wait
from agentdeck.store.reader import Reader
from agentdeck.workflow.model import Data

TaskInputs: TypeAlias = Mapping[str, Data]
#: Writes the rest of a list, inside another transaction.
WriteRemainder: TypeAlias = Callable[[sqlite3.Connection], None]

#: Bytes of JSON lines in a block. Twice as many save 2 %, and double the memory of a reader.
BLOCK = 65_536
#: Shorter blocks are not compressed.
SHORT = 400
#: Level 3 takes a quarter of the time of level 6 and 15 % more space.
LEVEL = 3
#: Blocks in one transaction: another process waits for the lock no longer than that takes.
BATCH = 32
#: Tasks from a pipe wait until the store can be written again, as their run does.
FOREVER = float("inf")
#: Bytes of a list that wait in memory for the store; more go into a temporary file.
IN_MEMORY = 4_000_000


class Block(NamedTuple):
    """Consecutive tasks. `first` is the number of the first one, counted from 1."""

    first: int
    tasks: int
    hash: str
    size: int
    packed: bool
    data: bytes


def block_of(first: int, lines: list[bytes]) -> Block:
    """The block of these lines."""
    text = b"\n".join(lines)
    packed = zlib.compress(text, LEVEL) if len(text) >= SHORT else text
    smaller = len(packed) < len(text)
    key = blake2b(text, digest_size=16).hexdigest()
    return Block(first, len(lines), key, len(text), smaller, packed if smaller else text)


def lines_of(data: bytes, packed: bool) -> list[bytes]:
    """The lines of a block's data."""
    return (zlib.decompress(data) if packed else data).split(b"\n")


def add_blocks(connection: sqlite3.Connection, run: str, blocks: Iterable[Block]) -> None:
    """Record blocks of a run."""
    now = time.time()
    for block in blocks:
        connection.execute(
            "INSERT OR IGNORE INTO task_blocks (hash, size, packed, data) VALUES (?, ?, ?, ?)",
            (block.hash, block.size, block.packed, block.data),
        )
        connection.execute(
            "INSERT OR IGNORE INTO run_tasks (run, first, count, block, at) VALUES (?, ?, ?, ?, ?)",
            (run, block.first, block.tasks, block.hash, now),
        )


def end_tasks(connection: sqlite3.Connection, run: str, count: int) -> None:
    """Record that the run has this many tasks and no more."""
    sql = "INSERT OR IGNORE INTO run_tasks (run, first, count, block, at) VALUES (?, ?, 0, NULL, ?)"
    connection.execute(sql, (run, count + 1, time.time()))


def copy_tasks(connection: sqlite3.Connection, run: str, to: str) -> None:
    """Give another run the same tasks. The blocks are shared."""
    connection.execute(
        "INSERT INTO run_tasks (run, first, count, block, at)"
        " SELECT ?, first, count, block, ? FROM run_tasks WHERE run = ?",
        (to, time.time(), run),
    )


class TaskList(ABC):
    """Tasks in order. They can be read from any number on, more than once."""

    @abstractmethod
    def after(self, number: int) -> Iterator[TaskInputs]:
        """The tasks after the first `number`."""

    def __iter__(self) -> Iterator[TaskInputs]:
        return self.after(0)


class TaskSpool(TaskList):
    """A list that will be stored: lines are added, then `record` writes all of them. Memory is bounded: what
    exceeds IN_MEMORY waits, compressed, in a temporary file."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._index: list[tuple[Block, int]] = []  # blocks without their data, and its offset in the file
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="agentdeck-")  # noqa: SIM115
        self._end = 0

    def add(self, line: bytes) -> None:
        """Add a task as one line of JSON."""
        if self._size + len(line) > BLOCK:
            self.close_block()
        self._lines.append(line)
        self._size += len(line) + 1
        self.count += 1

    def close_block(self) -> None:
        """Begin a new block for the lines that follow."""
        if not self._lines:
            return
        block = block_of(self.count - len(self._lines) + 1, self._lines)
        try:
            self._file.seek(self._end)
            self._file.write(block.data)
        except OSError as error:
            raise StoreError(
                f"the tasks cannot be buffered in {tempfile.gettempdir()}: {error.strerror}"
            ) from error
        self._index.append((block._replace(data=b""), self._end))
        self._end += len(block.data)
        self._lines, self._size = [], 0

    def blocks(self) -> Iterator[Block]:
        """All blocks, each read when the iterator reaches it."""
        self.close_block()
        for number in range(len(self._index)):
            yield self._block(number)

    def _block(self, number: int) -> Block:
        block, start = self._index[number]
        end = self._index[number + 1][1] if number + 1 < len(self._index) else self._end
        self._file.seek(start)
        return block._replace(data=self._file.read(end - start))

    def after(self, number: int) -> Iterator[TaskInputs]:
        self.close_block()
        for at in range(len(self._index)):
            if self._index[at][0].first + self._index[at][0].tasks > number + 1:
                block = self._block(at)
                for line in lines_of(block.data, block.packed)[max(0, number + 1 - block.first) :]:
                    yield json.loads(line)

    def record(self, log: Log, run: str) -> WriteRemainder:
        """Write the list in short transactions. Returns a function that writes the rest: a list that is no longer
        than a batch needs no transaction of its own. Raises StoreError."""
        some: list[Block] = []
        for block in self.blocks():
            if len(some) == BATCH:
                call_and_wait(log, partial(add_blocks, run=run, blocks=some))
                some = []
            some.append(block)
        return partial(add_blocks, run=run, blocks=some)

    def close(self) -> None:
        self._file.close()


class TaskStream:
    """A list that grows while its run executes. Before `attach` the lines are in a spool, afterwards in the
    store."""

    def __init__(self) -> None:
        self._spool: TaskSpool | None = TaskSpool()
        self._log: Log | None = None
        self._run = ""
        self._count = 0
        self._ended = False
        self._lock = threading.Lock()

    def add(self, lines: list[bytes]) -> None:
        """Record some lines. Once the run has begun, they are on disk when this returns."""
        with self._lock:
            first = self._count + 1
            self._count += len(lines)
            if self._spool is not None:
                for line in lines:
                    self._spool.add(line)
                return
        if self._log is not None:
            call_and_wait(self._log, partial(add_blocks, run=self._run, blocks=[block_of(first, lines)]), FOREVER)

    def end(self) -> None:
        """Record that the list is complete."""
        with self._lock:
            self._ended = True
        if self._log is not None:
            call_and_wait(self._log, partial(end_tasks, run=self._run, count=self._count), FOREVER)

    def attach(self, log: Log | None, run: str) -> WriteRemainder:
        """Called when the run begins. Returns a function that writes the lines that are not on disk yet. Without
        a log nothing is recorded."""
        with self._lock:
            spool, self._spool = self._spool, None
            self._log, self._run = log, run
            assert spool is not None
            if log is None:
                return lambda connection: None
            blocks, ended, count = spool.record(log, run), self._ended, self._count
        spool.close()

        def rest(connection: sqlite3.Connection) -> None:
            blocks(connection)
            if ended:
                end_tasks(connection, run, count)

        return rest


class Recorded(NamedTuple):
    """How many of a run's tasks are recorded, and whether these are all."""

    tasks: int
    complete: bool


def recorded(reader: Reader, run: str) -> Recorded | None:
    """How many tasks of a run are recorded. None if they were not: a run without a list, or one of version
    0.1."""
    sql = "SELECT first + count - 1, count = 0 FROM run_tasks WHERE run = ? ORDER BY first DESC LIMIT 1"
    rows = reader.select(sql, (run,))
    return Recorded(int(rows[0][0]), bool(rows[0][1])) if rows else None


def lines_after(reader: Reader, run: str, number: int) -> list[bytes]:
    """The recorded tasks of a run after the first `number`, as JSON lines, up to the end of a block. Empty where
    there are no more. Raises StoreError where they are missing."""
    sql = (
        "SELECT first, data, packed FROM run_tasks LEFT JOIN task_blocks ON hash = block"
        " WHERE run = ? AND count > 0 AND first >= coalesce("
        "(SELECT max(first) FROM run_tasks WHERE run = ? AND first <= ?), 1) ORDER BY first LIMIT 1"
    )
    for first, data, packed in reader.select(sql, (run, run, number + 1)):
        if data is None:
            raise StoreError(f"{reader.path}: the tasks of {run} from {first} on are missing")
        return lines_of(data, bool(packed))[max(0, number + 1 - first) :]
    return []


def spool_of(tasks: Iterable[TaskInputs]) -> TaskSpool:
    """A spool with these tasks."""
    spool = TaskSpool()
    for task in tasks:
        spool.add(text_of(dict(task)).encode())
    return spool
