"""One transaction of the writer: events, log lines and calls, in the order in which they were handed over."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from agentdeck.scheduler.events import Event
from agentdeck.store.fault_point import passing
from agentdeck.store.log import Also, LogRow
from agentdeck.store.row_batch import Rows
from agentdeck.store.sqlite_errors import is_of_the_place


class Events(NamedTuple):
    """Under `first` and the numbers after it; `also` is done right after them."""

    run: str
    first: int
    events: Sequence[Event]
    also: Sequence[Also] = ()


class Lines(NamedTuple):
    """What agents logged."""

    run: str
    rows: Sequence[LogRow]


class Call(NamedTuple):
    """Anything else, and who waits for it."""

    fn: Callable[[sqlite3.Connection], Any]
    future: Future[Any]


Item: TypeAlias = Events | Lines | Call


class Answer(NamedTuple):
    """What a call gave, or the fault that it raised; nothing of it is kept then."""

    future: Future[Any]
    value: Any
    failure: BaseException | None


class Conflict(Exception):
    """A sequence number is taken already."""


def commit(connection: sqlite3.Connection, items: Sequence[Item]) -> list[Answer]:
    """All of it is on disk when this returns, and nothing of it after `roll_back` when it raises."""
    answers: list[Answer] = []
    rows = Rows()
    prepared = 0
    for item in items:  # before the lock is taken: others need not wait for this
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
    passing("commit.before")
    connection.execute("COMMIT")
    passing("commit.after")
    return answers


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def weight(item: Item) -> int:
    """How many records it is."""
    return len(item.events) if isinstance(item, Events) else len(item.rows) if isinstance(item, Lines) else 0


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


def _answer(connection: sqlite3.Connection, call: Call) -> Answer:
    connection.execute("SAVEPOINT call")
    try:
        value = call.fn(connection)
    except Exception as failure:
        if is_of_the_place(failure):
            raise
        connection.execute("ROLLBACK TO call")
        connection.execute("RELEASE call")
        return Answer(call.future, None, failure)
    connection.execute("RELEASE call")
    return Answer(call.future, value, None)
