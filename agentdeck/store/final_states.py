"""The state of each task of a run, in the order of declaration, read one at a time.

The log has no index by task, and a run may have a million tasks. One pass over the log collects the numbers of
the events that matter in a temporary table, which SQLite stores in a file; the tasks are then read one after
another.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agentdeck.errors import StoreError
from agentdeck.scheduler import events as ev
from agentdeck.store.codec import decode
from agentdeck.store.schema import open_for_reading
from agentdeck.store.sqlite_errors import explain
from agentdeck.workflow.model import Data

PAGE = 500
_TABLES = """
CREATE TEMP TABLE standing (number INTEGER PRIMARY KEY, opened INTEGER, ended INTEGER, reopened INTEGER);
CREATE TEMP TABLE reopenings (number INTEGER, seq INTEGER, PRIMARY KEY (number, seq)) WITHOUT ROWID;
"""
_OWN = "run = ? AND task <> '' AND instr(task, '/') = 0"
_FILL = (
    "INSERT INTO standing SELECT CAST(task AS INTEGER), max(iif(kind = 'task_opened', seq, NULL)),"
    " max(iif(kind = 'task_ended', seq, NULL)), max(iif(kind = 'step_reopened', seq, NULL)) FROM events"
    f" WHERE {_OWN} AND kind IN ('task_opened', 'task_ended', 'step_reopened') GROUP BY task",
    "INSERT INTO reopenings SELECT CAST(task AS INTEGER), seq FROM events"
    f" WHERE {_OWN} AND kind = 'step_reopened'",
)


class FinalState(NamedTuple):
    """One task of a run. `state` is done, failed or cancelled, or `open` where it has not ended."""

    task: str
    state: str
    inputs: dict[str, Data]
    output: Data
    error: str | None

    @property
    def line(self) -> str:
        """A JSON line, without the newline."""
        return json.dumps(self._asdict())


def final_states(path: Path, run: str) -> Iterator[FinalState]:
    """The state of every task that was opened. Raises StoreError."""
    try:
        connection = open_for_reading(path)
        if connection is None:
            return
        try:
            yield from _each(connection, run)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _each(connection: sqlite3.Connection, run: str) -> Iterator[FinalState]:
    connection.execute("PRAGMA temp_store = FILE")
    connection.executescript(_TABLES)
    for statement in _FILL:
        connection.execute(statement, (run,))
    sql = "SELECT number, opened, ended, reopened FROM standing WHERE number > ? ORDER BY number LIMIT ?"
    after = -1
    while page := connection.execute(sql, (after, PAGE)).fetchall():
        for after, opened, ended, reopened in page:
            yield _state(connection, run, after, opened, ended, reopened)


def _state(
    connection: sqlite3.Connection, run: str, number: int, opened: int, ended: int | None, reopened: int | None
) -> FinalState:
    first = _event(connection, run, opened)
    if not isinstance(first, ev.TaskOpened):
        raise StoreError(f"the log of {run} has no beginning of task {number}")
    inputs = dict(first.inputs)
    if reopened is not None:
        sql = "SELECT seq FROM reopenings WHERE number = ? ORDER BY seq"
        for (seq,) in connection.execute(sql, (number,)).fetchall():
            again = _event(connection, run, seq)
            if isinstance(again, ev.StepReopened):
                inputs |= again.inputs or {}
    if ended is None or ended < (reopened or 0):
        return FinalState(str(number), "open", inputs, None, None)
    last = _event(connection, run, ended)
    assert isinstance(last, ev.TaskEnded)
    return FinalState(
        str(number), last.state, inputs, last.output, last.fault.message if last.fault is not None else None
    )


def _event(connection: sqlite3.Connection, run: str, seq: int) -> ev.Event:
    sql = "SELECT at, kind, task, step, data, result FROM events WHERE run = ? AND seq = ?"
    at, kind, task, step, data, hashed = connection.execute(sql, (run, seq)).fetchone()
    large = None
    if hashed is not None:
        found = connection.execute("SELECT data FROM results WHERE hash = ?", (hashed,)).fetchone()
        large = json.loads(found[0]) if found is not None else None
    return decode(at, kind, task, step, data, large, hashed is not None)
