"""Reads the store, from any thread and any process, without ever blocking a writer.

The connection cannot write. Each statement is short, and long answers are read page by page: an open read
transaction keeps SQLite from checkpointing the WAL, which would then grow without end.

Code on an event loop uses `AsyncReader` (async_reader.py), which runs these methods in aiosqlite's thread.
"""

from __future__ import annotations

import difflib
import json
import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias, TypeVar

from agentdeck.errors import Fault, StoreError, UsageError
from agentdeck.scheduler.events import Event
from agentdeck.store.codec import decode, fields_of, large_field
from agentdeck.store.commands import COLUMNS, Request, request_from_row
from agentdeck.store.event_log import COLUMNS as LOG_COLUMNS
from agentdeck.store.event_log import LOG, SPAN, last_seq, offset_of
from agentdeck.store.letters import Letter
from agentdeck.store.once import Claim, once_key_of, once_state
from agentdeck.store.run_list import ROW, RunRow, run_from_row
from agentdeck.store.runs import WHOLE_TASK
from agentdeck.store.schema import open_for_reading
from agentdeck.store.sqlite_errors import explain
from agentdeck.workflow.model import Data, Definition, plain

PAGE = 2000
#: Columns that a text is searched in, the most likely first. One condition each: a search of the joined columns
#: takes twice as long.
SEARCHED = ("source", "workflow", "runs.run", "tags")
FOUND = " OR ".join(rf"{column} LIKE ? ESCAPE '\'" for column in SEARCHED)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that an agent logged. Ids rise; `after` of `Reader.logs` takes one."""

    id: int
    at: float
    task: str
    step: str
    attempt: int
    level: str
    text: str


T = TypeVar("T")
Connect: TypeAlias = Callable[[Path], sqlite3.Connection | None]


class Reader:
    """Queries over one connection. A missing or empty file reads as a store without runs, and is looked for again
    at each query. Raises StoreError when the file cannot be read.

    `connect` opens the connection: None while there is no store.
    """

    def __init__(self, path: Path, connect: Connect = open_for_reading) -> None:
        self.path = Path(path)
        self._connect = connect
        self._lock = threading.Lock()
        self._interrupted = False
        self._connection: sqlite3.Connection | None = connect(self.path)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def interrupt(self) -> None:
        """Make the query in progress, in whatever thread, and all later ones raise StoreError."""
        self._interrupted = True
        if (connection := self._connection) is not None:
            connection.interrupt()

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of any statement. The modules that own other tables (tasks.py, reservations.py) use it."""
        return self._query(lambda connection: connection.execute(sql, values).fetchall()) or []

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `query` returns; None while there is no file."""
        with self._lock:
            if self._interrupted:
                raise StoreError(f"{self.path}: reading was interrupted")
            if self._connection is None:
                self._connection = self._connect(self.path)
                if self._connection is None:
                    return None
            try:
                return query(self._connection)
            except sqlite3.Error as error:
                raise explain(error, self.path) from error

    def version(self) -> int:
        """A number that changes whenever another connection has committed. Cheap enough for every frame. -1 while
        there is no file."""
        rows = self.select("PRAGMA data_version")
        return int(rows[0][0]) if rows else -1

    # Runs -------------------------------------------------------------------------------------------------

    def runs(
        self,
        limit: int = 50,
        *,
        before: tuple[float, str] | None = None,
        workflow: str | None = None,
        state: str | None = None,
        text: str | None = None,
        since: float | None = None,
        until: float | None = None,
        tag: str | None = None,
    ) -> list[RunRow]:
        """The newest runs that match, newest first. `before` is the `key` of the last row of the previous page.
        `since` and `until` bound their start.

        `text` is searched in run, workflow, tags and source, ignoring case.
        """
        found: list[RunRow] = []
        table, of = ("runs", "runs") if tag is None else ("tags CROSS JOIN runs ON runs.run = tags.run", "tags")
        while len(found) < limit:
            where, values = ["1"], list[Any]()
            if before is not None:
                where.append(f"({of}.started, {of}.run) < (?, ?)")
                values += before
            if workflow is not None:
                where.append("workflow = ?")
                values.append(workflow)
            if state is not None:  # the table does not say whether an owner is alive: filtered below
                stored = {"interrupted": ("running", "paused", "drained")}.get(state, (state,))
                where.append(f"state IN ({','.join('?' * len(stored))})")
                values += stored
            if since is not None:
                where.append(f"{of}.started >= ?")
                values.append(since)
            if until is not None:
                where.append(f"{of}.started <= ?")
                values.append(until)
            if tag is not None:
                where.append("tag = ?")
                values.append(tag)
            if text:
                where.append(f"({FOUND})")
                values += [f"%{_like(text)}%"] * len(SEARCHED)
            rows = self.select(
                f"SELECT {ROW} FROM {table} WHERE {' AND '.join(where)}"
                f" ORDER BY {of}.started DESC, {of}.run DESC LIMIT ?",
                (*values, limit),
            )
            page = [run_from_row(row) for row in rows]
            found += [row for row in page if state is None or row.state == state]
            if len(page) < limit:
                break
            before = page[-1].key
        return found[:limit]

    def run(self, name: str) -> RunRow:
        """The run of this id, of an id that begins like this, or the newest for `last`. Raises UsageError."""
        if name == "last":
            if newest := self.runs(1):
                return newest[0]
            raise UsageError(f"no runs yet in {self.path}")
        rows = self.select(f"SELECT {ROW} FROM runs WHERE run = ?", (name,))
        if not rows and name:
            end = name + "\U0010ffff"
            rows = self.select(f"SELECT {ROW} FROM runs WHERE run >= ? AND run < ? LIMIT 4", (name, end))
        if len(rows) == 1:
            return run_from_row(rows[0])
        if rows:
            several = ", ".join(row[0] for row in rows[:3]) + (", …" if len(rows) > 3 else "")
            raise UsageError(f"several runs begin with {name}: {several}; type more of the id")
        known = [row[0] for row in self.select("SELECT run FROM runs ORDER BY started DESC LIMIT 10000")]
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"no run {name} in {self.path}" + (f"; did you mean {near[0]}?" if near else "; see `agentdeck runs`")
        )

    def has_run(self, run: str) -> bool:
        """Whether there is a run of exactly this id."""
        return bool(self.select("SELECT 1 FROM runs WHERE run = ?", (run,)))

    def takes_commands(self, row: RunRow) -> bool:
        """Whether a process executes the run and carries out commands to it. A process whose run has ended by its
        log holds the run until everything is closed, and starts nothing any more."""
        return row.state in ("running", "paused") and self.ended_at(row.run) is None

    def ended_at(self, run: str) -> float | None:
        """When the run ended, by its log; None where it has not, or was continued."""
        rows = self.select("SELECT kind, at FROM events WHERE run = ? ORDER BY seq DESC LIMIT 1", (run,))
        return float(rows[0][1]) if rows and rows[0][0] == "run_ended" else None

    def definition(self, identity: str) -> dict[str, Data]:
        """A recorded workflow, as plain data. Raises UsageError if it is not known."""
        rows = self.select("SELECT text FROM definitions WHERE identity = ?", (identity,))
        if not rows:
            raise UsageError(f"no definition {identity} in {self.path}")
        data: dict[str, Data] = json.loads(rows[0][0])
        return data

    def durations(self, workflow: str, folder: str) -> dict[str, float]:
        """Mean seconds of each agent of a workflow, over its newest attempts that succeeded."""
        return means(self.samples(workflow, folder))

    def samples(self, workflow: str, folder: str) -> dict[str, list[float]]:
        """Seconds of the newest attempts of each agent of a workflow that succeeded, oldest first."""
        sql = "SELECT agent, samples FROM durations WHERE workflow = ? AND folder = ? AND agent != ?"
        return {agent: json.loads(text) for agent, text in self.select(sql, (workflow, folder, WHOLE_TASK))}

    def seconds_elsewhere(self, definition: Definition, folder: str) -> dict[str, float]:
        """Median seconds of each agent that this workflow has not measured, where agents of the same name that
        do the same were measured in other workflows. Of these, the definition that ran last is compared."""
        measured = self.samples(definition.name, folder)
        names = [
            name
            for name, agent in definition.agents.items()
            if name not in measured and agent.does.holds_worker and agent.does.seconds() is None
        ]
        sql = (
            "SELECT agent, samples, (SELECT text FROM runs JOIN definitions USING (identity)"
            " WHERE runs.workflow = durations.workflow"
            " AND coalesce(json_extract(source, '$.folder'), '') = durations.folder"
            " ORDER BY started DESC LIMIT 1)"
            " FROM durations"
            " WHERE agent IN (SELECT value FROM json_each(?)) AND NOT (workflow = ? AND folder = ?)"
        )
        found: dict[str, list[float]] = {}
        for name, taken, text in self.select(sql, (json.dumps(names), definition.name, folder)) if names else ():
            other = json.loads(text or "{}").get("agents", {}).get(name)
            if other is not None and work_of(other) == work_of(plain(definition.agents[name])):
                found.setdefault(name, []).extend(json.loads(taken))
        return {name: median(taken) for name, taken in found.items()}

    def work(self, workflow: str, folder: str) -> list[float]:
        """Seconds of work of the newest tasks of a workflow, where they were counted."""
        sql = "SELECT samples FROM durations WHERE workflow = ? AND folder = ? AND agent = ?"
        found: list[float] = json.loads(next(iter(self.select(sql, (workflow, folder, WHOLE_TASK))), ("[]",))[0])
        return found

    # Events and logs ----------------------------------------------------------------------------------------

    def last_seq(self, run: str) -> int:
        """The number of the run's newest event; 0 if there is none."""
        return self._query(lambda connection: last_seq(connection, run)) or 0

    def offset(self, run: str) -> int:
        """What the ids of a run's events are more than their numbers (event_log.py)."""
        return self._query(lambda connection: offset_of(connection, run)) or 0

    def events(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[tuple[int, Event]]:
        """The events after number `after`, in order, with their numbers."""
        return self.decoded(self._rows(run, after, limit))

    def outer_events(self, run: str, limit: int | None = None) -> Iterator[tuple[int, Event]]:
        """The events without those of inner steps, of which one step may have thousands."""
        return self.decoded(self._rows(run, 0, limit, "AND name NOT IN ('inner_started', 'inner_ended')"))

    def of_kind(self, run: str, kind: str) -> Iterator[Any]:
        """The events of one kind (`limit_changed`), in order."""
        return (event for _, event in self.decoded(self._rows(run, 0, None, "AND name = ?", kind)))

    def of_kinds(self, run: str, kinds: Sequence[str], after: int = 0) -> Iterator[tuple[int, Event]]:
        """The events of these kinds, in order, with their numbers. No other event of the run is decoded."""
        marks = ", ".join("?" for _ in kinds)
        return self.decoded(self._rows(run, after, None, f"AND name IN ({marks})", *kinds))

    def task_events(self, run: str, task: str, after: int = 0) -> Iterator[tuple[int, Event]]:
        """The events of one task after number `after`, in order. No other event of the run is decoded."""
        return self.decoded(self._rows(run, after, None, "AND task = ?", task))

    def step_events(
        self, run: str, task: str, step: str, kinds: Sequence[str], after: int = 0
    ) -> Iterator[tuple[int, Event]]:
        """The events of one step after number `after` that are of these kinds, in order."""
        names = f"AND task = ? AND step = ? AND name IN ({', '.join('?' * len(kinds))})"
        return self.decoded(self._rows(run, after, None, names, task, step, *kinds))

    def events_with(self, run: str, task: str) -> Iterator[tuple[int, Event]]:
        """The events of one task and of tasks nested in it, and those of the run, in order. No other event of the
        run is decoded."""
        below = "AND (task IN ('', ?) OR (task >= ? AND task < ?))"
        return self.decoded(self._rows(run, 0, None, below, task, task + "/", task + "0"))

    def events_of(self, run: str, tasks: Iterable[str], before: int | None = None) -> Iterator[Event]:
        """The events of these tasks of a run, and of tasks nested in them, in order; those before a number."""
        of_root = (
            "AND iif(instr(task, '/'), substr(task, 1, instr(task, '/') - 1), task)"
            " IN (SELECT value FROM json_each(?))"
        )
        rows = self._rows(run, 0, None, of_root, json.dumps(sorted(tasks)))
        found = rows if before is None else takewhile(lambda row: row[0] < before, rows)
        return (event for _, event in self.decoded(found))

    def reopened(self, run: str) -> set[str]:
        """The run's own tasks in which a step was reopened at any time."""
        sql = "SELECT DISTINCT task FROM events WHERE run = ? AND kind = 'step_reopened'"
        return {row[0].partition("/")[0] for row in self.select(sql, (run,))}

    def tasks_with(self, run: str, step: str) -> list[str]:
        """The run's own tasks in which this step has ended at least once, in any state."""
        rows = self.select(
            "SELECT DISTINCT task FROM events WHERE run = ? AND step = ? AND instr(task, '/') = 0 AND kind IN"
            " ('step_succeeded', 'step_done', 'step_failed', 'step_skipped', 'step_cancelled', 'step_answered')",
            (run, step),
        )
        return [row[0] for row in rows]

    def raw_events(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Data]]:
        """The events as plain data: seq, at, event (its kind), run, task and step where it has them, and the
        fields that differ from their defaults."""
        for seq, at, kind, task, step, data, result in self._rows(run, after, limit):
            row: dict[str, Data] = {"seq": seq, "at": at, "event": kind, "run": run}
            row.update({name: value for name, value in (("task", task), ("step", step)) if value})
            row.update(fields_of(at, kind, step, json.loads(data)))
            if result is not None:
                row[large_field(kind)] = self.result(result)
            yield row

    def result(self, key: str) -> Data:
        """A large value by its hash; None if it was pruned. Read one at a time: a page may not fit into
        memory."""
        rows = self.select("SELECT data FROM results WHERE hash = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def decoded(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Event]]:
        """The events in rows of `seq, at, kind, task, step, data, result`, with their numbers."""
        for seq, at, kind, task, step, data, result in rows:
            large = None if result is None else self.result(result)
            yield seq, decode(at, kind, task, step, data, large, result is not None)

    def _rows(
        self, run: str, after: int, limit: int | None, condition: str = "", *values: str
    ) -> Iterator[tuple[Any, ...]]:
        """The rows of a run's events after number `after` that meet the condition, in order, read page by
        page."""
        left = math.inf if limit is None else limit
        offset = self.offset(run)
        sql = (
            f"SELECT id - {offset}, {LOG_COLUMNS} FROM {LOG} WHERE id > ? AND id < {offset + SPAN} {condition}"
            " ORDER BY id LIMIT ?"
        )
        while left > 0:
            size = min(PAGE, left)
            rows = self.select(sql, (offset + after, *values, size))
            yield from rows
            if len(rows) < size:
                return
            after, left = rows[-1][0], left - size

    def logs(
        self,
        run: str,
        *,
        agent: str | None = None,
        task: str | None = None,
        after: int = 0,
        tail: int | None = None,
        limit: int | None = None,
    ) -> list[LogLine]:
        """Log lines in order. `agent` is a step's name, or an agent's, which stands for all its items
        (`notes` for `notes[0]`, `notes[1]`…). `tail`: only the last lines; `limit`: only the first."""
        where, values = ["run = ?", "id > ?"], [run, after]
        if agent is not None:
            where.append("(step = ? OR (step >= ? AND step < ?))")
            values += [agent, agent + "[", agent + "\\"]
        if task is not None:
            where.append("task = ?")
            values.append(task)
        sql = f"SELECT id, at, task, step, attempt, level, text FROM logs WHERE {' AND '.join(where)} ORDER BY id"
        if tail is not None:
            return [LogLine(*row) for row in reversed(self.select(sql + " DESC LIMIT ?", (*values, tail)))]
        return [LogLine(*row) for row in self.select(sql + " LIMIT ?", (*values, -1 if limit is None else limit))]

    def letters(
        self,
        run: str | None = None,
        *,
        state: str | None = None,
        ids: Sequence[int] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[Letter]:
        """Dead letters, oldest first: of one run, or of all; those with these ids; those after an id."""
        wanted = None if ids is None else json.dumps(list(ids))
        rows = self.select(
            "SELECT run, task, step, agent, identity, fault, r.data, attempts, at, state, why, id"
            " FROM letters LEFT JOIN results r ON r.hash = inputs"
            " WHERE (? IS NULL OR run = ?) AND (? IS NULL OR state = ?)"
            " AND (? IS NULL OR id IN (SELECT value FROM json_each(?))) AND id > ? ORDER BY id LIMIT ?",
            (run, run, state, state, wanted, wanted, after, -1 if limit is None else limit),
        )
        return [
            Letter(
                *(run, task, step, agent, identity),
                fault=Fault(**json.loads(fault)),
                inputs=json.loads(inputs) if inputs else None,
                attempts=attempts,
                at=at,
                state=state,
                why=why,
                id=number,
            )
            for run, task, step, agent, identity, fault, inputs, attempts, at, state, why, number in rows
        ]

    # Keys of `once` -----------------------------------------------------------------------------------------

    def once(self, key: str) -> Claim:
        """The state of a key."""
        return self._query(lambda connection: once_state(connection, key)) or Claim("new")

    def once_key_of(self, run: str, step: str) -> str:
        """The key that this step (`task/step`) has claimed and that has no result; empty if there is none."""
        return self._query(lambda connection: once_key_of(connection, run, step)) or ""

    # Commands -----------------------------------------------------------------------------------------------

    def commands(self, run: str) -> list[Request]:
        """The commands to a run that its owner has not taken yet."""
        sql = f"SELECT {COLUMNS} FROM commands WHERE run = ? AND taken_at IS NULL ORDER BY id"
        return [request_from_row(row) for row in self.select(sql, (run,))]

    def last_command(self, run: str, verb: str) -> Request | None:
        """The last command of this verb to a run."""
        sql = f"SELECT {COLUMNS} FROM commands WHERE run = ? AND verb = ? ORDER BY id DESC LIMIT 1"
        return next(map(request_from_row, self.select(sql, (run, verb))), None)

    def command(self, request: int) -> Request | None:
        """One command, with its answer once there is one."""
        rows = self.select(f"SELECT {COLUMNS} FROM commands WHERE id = ?", (request,))
        return request_from_row(rows[0]) if rows else None


def means(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each agent's seconds."""
    return {agent: sum(taken) / len(taken) for agent, taken in samples.items()}


def work_of(agent: Any) -> Data:
    """What decides how long an agent takes, of its definition as plain data: what it does, and on which tier."""
    return [agent["does"], agent.get("tier")]


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
