"""The state of each task of a run, in the order of declaration, read one at a time.

The log has no index by task, and a run may have a million tasks. One pass over the log collects the numbers of
the events that matter in a temporary table, which SQLite stores in a file; the tasks are then read one after
another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from agentdeck.errors import StoreError
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.model import Data

PAGE = 500
_TABLES = (
    "PRAGMA temp_store = FILE",
    "CREATE TEMP TABLE task_ends (number INTEGER PRIMARY KEY, opened INTEGER, ended INTEGER, reopened INTEGER)",
    "CREATE TEMP TABLE reopenings (number INTEGER, seq INTEGER, PRIMARY KEY (number, seq)) WITHOUT ROWID",
)
_OWN = "run = ? AND task <> '' AND instr(task, '/') = 0"
_FILL = (
    "INSERT INTO task_ends SELECT CAST(task AS INTEGER), max(iif(kind = 'task_opened', seq, NULL)),"
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


def final_states(path: Path, run: str) -> Iterator[FinalState]:
    """The state of every task that was opened. Raises StoreError."""
    with closing(Reader(path)) as reader:
        for statement in _TABLES:
            reader.select(statement)
        for statement in _FILL:
            reader.select(statement, (run,))
        sql = "SELECT number, opened, ended, reopened FROM task_ends WHERE number > ? ORDER BY number LIMIT ?"
        after = -1
        while page := reader.select(sql, (after, PAGE)):
            for after, opened, ended, reopened in page:
                yield _state(reader, run, after, opened, ended, reopened)


def _state(
    reader: Reader, run: str, number: int, opened: int | None, ended: int | None, reopened: int | None
) -> FinalState:
    first = _event(reader, run, opened) if opened is not None else None
    if not isinstance(first, ev.TaskOpened):
        raise StoreError(f"the log of {run} has no beginning of task {number}")
    inputs = dict(first.inputs)
    if reopened is not None:
        for (seq,) in reader.select("SELECT seq FROM reopenings WHERE number = ? ORDER BY seq", (number,)):
            again = _event(reader, run, seq)
            if isinstance(again, ev.StepReopened):
                inputs |= again.inputs or {}
    if ended is None or ended < (reopened or 0):
        return FinalState(str(number), "open", inputs, None, None)
    last = _event(reader, run, ended)
    assert isinstance(last, ev.TaskEnded)
    return FinalState(
        str(number), last.state, inputs, last.output, last.fault.message if last.fault is not None else None
    )


def _event(reader: Reader, run: str, seq: int) -> ev.Event | None:
    return next((event for _, event in reader.events(run, seq - 1, 1)), None)
