"""One transaction of the writer: events, log lines and calls, in the order in which they were handed over.

Rows are inserted by few large statements. `executemany` releases and takes the GIL once per row, and beside a
busy engine thread each of these costs up to a switch interval (5 ms). One statement releases it once, and SQLite
works without it. Measured beside a thread that computes: 33,000 events/s with 256 rows per statement, 80,000 with
1,024.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from agentdeck.scheduler.events import Event
from agentdeck.store.codec import LargeValues, encode
from agentdeck.store.event_log import new_offset
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.log import LogRow, TableWrite
from agentdeck.store.sqlite_errors import is_environment_error

CHUNKS = (1024, 64, 8, 1)  # rows per INSERT: few statements, each compiled once
LARGE = 4_000_000  # bytes of results that are collected before they are inserted
RECORD = 512  # bytes of a large value that count as one record


class _Insert:
    """Inserts rows into one table, with as few statements as possible."""

    def __init__(self, into: str, columns: int) -> None:
        row = "(" + ",".join("?" * columns) + ")"
        self._sql = [(size, f"{into} VALUES " + ",".join([row] * size)) for size in CHUNKS]

    def all(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        start, left = 0, len(rows)
        for size, sql in self._sql:
            while left >= size:
                values = [value for row in rows[start : start + size] for value in row]
                connection.execute(sql, values)
                start += size
                left -= size


_EVENTS = _Insert("INSERT INTO event_log (id, at, kind, task, step, data, result)", 7)
_RESULTS = _Insert("INSERT OR IGNORE INTO results (hash, data, size)", 3)
_LOGS = _Insert("INSERT INTO logs (run, at, task, step, attempt, level, text)", 7)


class Rows:
    """Encoded rows, in order. `large`: insert them before adding more, as results may be of any size. `kinds` has
    the number of each kind of event."""

    __slots__ = ("_events", "_kinds", "_lines", "_results")

    def __init__(self, kinds: Mapping[str, int]) -> None:
        self._kinds = kinds
        self._events: dict[str, list[tuple[Any, ...]]] = {}  # by run, with their numbers in it
        self._results = LargeValues()
        self._lines: list[tuple[Any, ...]] = []

    @property
    def large(self) -> bool:
        return self._results.size > LARGE

    def add_events(self, run: str, first: int, events: Sequence[Event]) -> None:
        results, kinds = self._results, self._kinds
        rows = self._events.setdefault(run, [])
        for seq, event in enumerate(events, first):
            kind, task, step, data, result = encode(event, results)
            rows.append((seq, event.at, kinds[kind], task, step, data, result))

    def add_lines(self, run: str, lines: Sequence[LogRow]) -> None:
        for at, task, step, attempt, level, text in lines:
            self._lines.append((run, at, _storable(task), _storable(step), attempt, level, _storable(text)))

    def insert(self, connection: sqlite3.Connection) -> None:
        """Insert and clear them. Raises sqlite3.IntegrityError when a sequence number is taken."""
        _RESULTS.all(connection, self._results.rows)
        for run, rows in self._events.items():
            offset = new_offset(connection, run)
            _EVENTS.all(connection, [(offset + row[0], *row[1:]) for row in rows])
        _LOGS.all(connection, self._lines)
        self._events.clear()
        self._results.clear()
        self._lines.clear()


def _storable(text: str) -> str:
    """The text with lone surrogates, which a program's output may have, escaped: SQLite cannot store them."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


class Events(NamedTuple):
    """Events numbered from `first` on; `also` runs right after them. `large`: the size of their large values."""

    run: str
    first: int
    events: Sequence[Event]
    also: Sequence[TableWrite]
    large: int


class Lines(NamedTuple):
    """Log lines of agents."""

    run: str
    rows: Sequence[LogRow]


class Call(NamedTuple):
    """A function to run, and the future of its result."""

    fn: Callable[[sqlite3.Connection], Any]
    future: Future[Any]


Item: TypeAlias = Events | Lines | Call


class CallResult(NamedTuple):
    """What a call returned, or the error that it raised and that rolled it back."""

    future: Future[Any]
    value: Any
    failure: BaseException | None


class Conflict(Exception):
    """A sequence number is taken already."""


def commit(connection: sqlite3.Connection, items: Sequence[Item], kinds: Mapping[str, int]) -> list[CallResult]:
    """Commit the items. All are on disk when this returns; after an error and `roll_back` nothing is. `kinds` has
    the number of each kind of event."""
    answers: list[CallResult] = []
    rows = Rows(kinds)
    prepared = 0
    for item in items:  # before the lock is taken, so that other writers do not wait for it
        if isinstance(item, Call) or rows.large or (isinstance(item, Events) and item.also):
            break
        _prepare(item, rows)
        prepared += 1
    connection.execute("BEGIN IMMEDIATE")
    for item in items[prepared:]:
        if isinstance(item, Call):
            _insert(connection, rows)
            answers.append(_answer(connection, item))
        else:
            if rows.large:
                _insert(connection, rows)
            _prepare(item, rows)
            for fn in item.also if isinstance(item, Events) else ():
                _insert(connection, rows)
                fn(connection)
    _insert(connection, rows)
    reach_fault_point("commit.before")
    connection.execute("COMMIT")
    reach_fault_point("commit.after")
    return answers


def record_count(item: Item) -> int:
    """How many events or lines an item has."""
    return len(item.events) if isinstance(item, Events) else len(item.rows) if isinstance(item, Lines) else 0


def weight_of(item: Item) -> int:
    """What an item counts in a batch and in the backlog: its records, where each RECORD bytes of large values are
    one more. So both are bounded in bytes too."""
    return record_count(item) + (item.large // RECORD if isinstance(item, Events) else 0)


def _prepare(item: Events | Lines, rows: Rows) -> None:
    if isinstance(item, Events):
        rows.add_events(item.run, item.first, item.events)
    else:
        rows.add_lines(item.run, item.rows)


def _insert(connection: sqlite3.Connection, rows: Rows) -> None:
    try:
        rows.insert(connection)
    except sqlite3.IntegrityError as error:
        raise Conflict from error


def _answer(connection: sqlite3.Connection, call: Call) -> CallResult:
    connection.execute("SAVEPOINT call")
    try:
        value = call.fn(connection)
    except Exception as failure:
        if is_environment_error(failure):
            raise
        connection.execute("ROLLBACK TO call")
        connection.execute("RELEASE call")
        return CallResult(call.future, None, failure)
    connection.execute("RELEASE call")
    return CallResult(call.future, value, None)
