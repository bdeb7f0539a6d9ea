"""How the tasks of a recorded run ended, with their steps, read a page of tasks at a time.

The log has no index by task. One pass over it collects the numbers of the events of each task in a temporary
table, which SQLite keeps in a file; then the tasks are folded one after another.
"""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.scheduler.events import Event
from agentdeck.scheduler.state import root_of
from agentdeck.store.codec import snake
from agentdeck.store.event_log import COLUMNS, LOG
from agentdeck.store.reader import Reader
from agentdeck.views.task_outcome import KINDS, TaskOutcome

#: Tasks that are read together.
PAGE = 100
_TABLE = (
    "PRAGMA temp_store = FILE",
    "DROP TABLE IF EXISTS temp.task_events",
    "CREATE TEMP TABLE task_events (number INTEGER, seq INTEGER, PRIMARY KEY (number, seq)) WITHOUT ROWID",
)
_ROOT = "CAST(iif(instr(task, '/'), substr(task, 1, instr(task, '/') - 1), task) AS INTEGER)"
_FILL = (
    f"INSERT INTO task_events SELECT {_ROOT}, seq FROM events WHERE run = ? AND task <> ''"
    f" AND kind IN ({','.join('?' * len(KINDS))})"
)
_READ = (
    f"SELECT seq, {COLUMNS} FROM task_events t CROSS JOIN {LOG}"
    " WHERE id = seq + ? AND t.number > ? AND t.number <= ? ORDER BY t.number, t.seq"
)


class Page(NamedTuple):
    """Some tasks in their order. `last` is for the next page, None where there is none."""

    tasks: list[TaskOutcome]
    last: int | None


def collect(reader: Reader, run: str) -> None:
    """Collect the events of each task that a run has so far. The connection holds the table for `page`."""
    for statement in _TABLE:
        reader.select(statement)
    reader.select(_FILL, (run, *(snake(kind.__name__) for kind in KINDS)))


def page(reader: Reader, run: str, after: int = 0) -> Page:
    """The tasks after a number, as `collect` has found them."""
    last = after + PAGE
    tasks: dict[str, TaskOutcome] = {}
    for _, event in reader.decoded(reader.select(_READ, (reader.offset(run), after, last))):
        _apply(tasks, event)
    more = reader.select("SELECT 1 FROM task_events WHERE number > ? LIMIT 1", (last,))
    return Page(list(tasks.values()), last if more else None)


def task_outcome(reader: Reader, run: str, task: str) -> TaskOutcome | None:
    """One task; None where it was not opened."""
    tasks: dict[str, TaskOutcome] = {}
    for event in reader.events_of(run, [task]):
        _apply(tasks, event)
    return tasks.get(task)


def _apply(tasks: dict[str, TaskOutcome], event: Event) -> None:
    root = root_of(getattr(event, "task", ""))
    tasks.setdefault(root, TaskOutcome(root)).apply(event)
