"""Deletes old runs and returns their space to the disk, while other processes read and write.

First the rows of the runs are deleted, in one transaction: from then on no list shows them, even if the process
dies. What belonged to them is swept afterwards in short transactions, so that other writers wait for milliseconds
only: events and logs of no run, results without a reference, definitions that no run used. Sweeping looks at what
is there, not at what was just deleted, so the next prune finds what a killed one has left.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentdeck.store.event_log import OF_RUN, SPAN, offset_of
from agentdeck.store.lease import Lease, held, lease_of
from agentdeck.store.schema import open_for_writing, transaction
from agentdeck.store.sqlite_errors import explain

ROWS = 4000  # rows deleted in one transaction
PAGE = 20_000  # rows of the log read at once
BYTES = 8_000_000  # of results deleted in one transaction
PAGES = 2000  # pages returned to the disk in one transaction
RECENT = 3600.0  # a run that ended less than this before the sweep may have written during it
TASK_BLOCKS = 200  # blocks of tasks deleted in one transaction, of 64 kB or less each
REST = 0.002  # seconds between two transactions, in which other writers get the lock


@dataclass(frozen=True, slots=True)
class PrunableRun:
    """A run that may be deleted. `events` is their number, `tasks` the file that its tasks came from."""

    run: str
    workflow: str
    state: str
    started: float
    events: int
    tasks: str


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted. `freed`: bytes by which the file has shrunk. `left`: bytes that are free in it, for new
    records, because it could not be shrunk further."""

    runs: int = 0
    events: int = 0
    logs: int = 0
    letters: int = 0
    results: int = 0
    definitions: int = 0
    cached: int = 0
    freed: int = 0
    left: int = 0
    task_blocks: int = 0


#: A run that could be resumed is deleted by its age only, never by `keep` alone.
_PRUNABLE = (
    "SELECT workflow, state, started, run, owner, lease_until, pid, host, machine, process_start,"
    f" coalesce((SELECT max(id) % {SPAN} FROM event_log WHERE {OF_RUN}), 0),"
    " coalesce(json_extract(source, '$.tasks'), '') FROM runs LEFT JOIN run_numbers n USING (run)"
    " WHERE (state IN ('done', 'failed', 'cancelled') OR :before IS NOT NULL)"
    " AND (:before IS NULL OR :before > coalesce(ended,"
    f" (SELECT at FROM event_log WHERE {OF_RUN} ORDER BY id DESC LIMIT 1), started))"
    " AND run NOT IN (SELECT run FROM runs ORDER BY started DESC, run DESC LIMIT :keep)"
    " ORDER BY started, run"
)


def prunable_runs(
    connection: sqlite3.Connection, *, before: float | None, keep: int, now: float
) -> list[PrunableRun]:
    """The runs that may be deleted, oldest first: those whose last event is older than `before`, except the
    newest `keep`. Without `before`, all except those. Never a run that a process holds."""
    rows = connection.execute(_PRUNABLE, {"before": before, "keep": keep}).fetchall()
    return [
        PrunableRun(run, workflow, state, started, events, tasks)
        for workflow, state, started, run, *lease, events, tasks in rows
        if not held(Lease(run, *lease), now)
    ]


def prune(path: Path, runs: list[str], now: float) -> PruneResult:
    """Delete these runs, except those that a process holds now, and everything without a reference."""
    with closing(open_for_writing(path)) as connection:
        try:
            return _prune(connection, path, runs, now)
        except sqlite3.Error as error:
            raise explain(error, path) from error


def _prune(connection: sqlite3.Connection, path: Path, runs: list[str], now: float) -> PruneResult:
    connection.execute("PRAGMA temp_store = FILE")
    size = path.stat().st_size
    gone, letters = _drop(connection, runs, now)
    events, logs = _sweep_events(connection), _sweep_lines(connection)
    blocks = _sweep_tasks(connection, now)
    with _transaction(connection):
        cached = connection.execute("DELETE FROM cache WHERE expires < ?", (now,)).rowcount
        definitions = connection.execute(
            "DELETE FROM definitions WHERE identity NOT IN (SELECT identity FROM runs)"
            " AND identity NOT IN (SELECT identity FROM letters)"
            " AND identity NOT IN (SELECT value FROM runs, json_each(runs.options, '$.nested'))"
        ).rowcount
    results = _sweep_results(connection, now)
    _shrink(connection)
    left = _pragma(connection, "freelist_count") * _pragma(connection, "page_size")
    freed = max(0, size - path.stat().st_size)
    return PruneResult(gone, events, logs, letters, results, definitions, cached, freed, left, blocks)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A short transaction, and a pause for other writers."""
    with transaction(connection):
        yield
    time.sleep(REST)


def _drop(connection: sqlite3.Connection, runs: list[str], now: float) -> tuple[int, int]:
    """Delete the rows of the runs, with their letters and commands. The lease is checked in the same transaction:
    a run that was resumed meanwhile stays."""
    gone = letters = 0
    for start in range(0, len(runs), 200):
        with _transaction(connection):
            for run in runs[start : start + 200]:
                lease = lease_of(connection, run)
                if lease is not None and not held(lease, now):
                    gone += 1
                    letters += connection.execute("DELETE FROM letters WHERE run = ?", (run,)).rowcount
                    for table in ("runs", "commands", "run_tasks", "processes", "exports", "view_snapshots"):
                        connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
    return gone, letters


def _deleted_runs(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    """Deleted runs of which this table still has rows. Steps from run to run by the index."""
    run = ""
    while True:
        row = connection.execute(f"SELECT min(run) FROM {table} WHERE run > ?", (run,)).fetchone()
        if row[0] is None:
            return
        run = row[0]
        if connection.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone() is None:
            yield run


def _sweep_events(connection: sqlite3.Connection) -> int:
    """Delete the events of deleted runs, and the numbers of these runs."""

    def sweep(run: str, most: int) -> int:
        first = offset_of(connection, run)
        some = _delete(connection, "event_log", "id > :first AND id < :end", most, first=first, end=first + SPAN)
        if some < most:
            connection.execute("DELETE FROM run_numbers WHERE run = ?", (run,))
        return some

    return _sweep(connection, "run_numbers", sweep)


def _sweep_lines(connection: sqlite3.Connection) -> int:
    """Delete the log lines of deleted runs."""
    return _sweep(connection, "logs", lambda run, most: _delete(connection, "logs", "run = :run", most, run=run))


def _delete(connection: sqlite3.Connection, table: str, where: str, most: int, **values: str | int) -> int:
    """Delete the first rows that meet a condition. Returns how many there were."""
    sql = f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {where} ORDER BY id LIMIT :most)"
    return connection.execute(sql, {"most": most, **values}).rowcount


def _sweep(connection: sqlite3.Connection, table: str, sweep: Callable[[str, int], int]) -> int:
    """Delete what belongs to the deleted runs in `table`, ROWS at a time. `sweep` deletes at most so many rows of
    a run."""
    runs, count = deque(_deleted_runs(connection, table)), 0
    while runs:
        left = ROWS
        with _transaction(connection):
            while runs and left:
                left -= sweep(runs[0], left)
                if left:
                    runs.popleft()
        count += ROWS - left
    return count


def _sweep_tasks(connection: sqlite3.Connection, now: float) -> int:
    """Delete the task lists of deleted runs, then the blocks that no list refers to. A list without a run may
    belong to one that is being launched: it stays until it is old. A launch adds a block and the reference to it
    in one transaction, so no block is deleted under it."""
    for run in list(_deleted_runs(connection, "run_tasks")):
        with _transaction(connection):
            connection.execute(
                "DELETE FROM run_tasks WHERE run = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE run = ?)"
                " AND (SELECT max(at) FROM run_tasks WHERE run = ?) < ?",
                (run, run, run, now - RECENT),
            )
    count = 0
    while True:
        with _transaction(connection):
            some = connection.execute(
                "DELETE FROM task_blocks WHERE hash IN (SELECT hash FROM task_blocks WHERE NOT EXISTS"
                f" (SELECT 1 FROM run_tasks WHERE block = hash) LIMIT {TASK_BLOCKS})"
            ).rowcount
        count += some
        if some < TASK_BLOCKS:
            return count


def _sweep_results(connection: sqlite3.Connection, now: float) -> int:
    """Delete the results without a reference.

    All are suspects until the log, read page by page without a lock, refers to them. A run that executes
    meanwhile may refer to one of them again: each transaction that deletes first reads the events added since.
    """
    execute = connection.execute
    execute("CREATE TEMP TABLE suspects AS SELECT hash, size FROM results")
    execute("CREATE UNIQUE INDEX temp.suspects_by_hash ON suspects (hash)")
    execute("CREATE TEMP TABLE seen (run INTEGER PRIMARY KEY, id INTEGER NOT NULL)")
    after = 0
    while True:
        sql = f"SELECT id, result FROM event_log WHERE id > ? ORDER BY id LIMIT {PAGE}"
        rows = execute(sql, (after,)).fetchall()
        pointed = ((result,) for _, result in rows if result is not None)
        last = {event // SPAN: event for event, _ in rows}
        execute("BEGIN")
        connection.executemany("DELETE FROM suspects WHERE hash = ?", pointed)
        connection.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", list(last.items()))
        execute("COMMIT")
        if len(rows) < PAGE:
            break
        after = rows[-1][0]
    count = 0
    while True:
        with _transaction(connection):
            execute(
                "DELETE FROM suspects WHERE hash IN (SELECT result FROM runs JOIN run_numbers n USING (run)"
                " CROSS JOIN event_log ON id > coalesce((SELECT id FROM seen WHERE seen.run = n.number),"
                f" n.number * {SPAN}) AND id < (n.number + 1) * {SPAN}"
                " WHERE result IS NOT NULL AND (runs.ended IS NULL OR max(runs.ended, runs.started) > ?))",
                (now - RECENT,),
            )
            for table, column in (("letters", "inputs"), ("once", "result"), ("cache", "result")):
                execute(f"DELETE FROM suspects WHERE hash IN (SELECT {column} FROM {table})")
            some = _next_suspects(connection)
            connection.executemany("DELETE FROM results WHERE hash = ?", some)
            connection.executemany("DELETE FROM suspects WHERE hash = ?", some)
        count += len(some)
        if not some:
            return count


def _next_suspects(connection: sqlite3.Connection) -> list[tuple[str]]:
    """Suspects for one transaction, limited by number and by bytes."""
    some, size = list[tuple[str]](), 0
    for key, bytes_ in connection.execute(f"SELECT hash, size FROM suspects LIMIT {ROWS}"):
        some.append((key,))
        size += bytes_
        if size > BYTES:
            break
    return some


def _shrink(connection: sqlite3.Connection) -> None:
    """Return free pages to the disk, some at a time, and checkpoint the WAL."""
    while _pragma(connection, "auto_vacuum") == 2 and _pragma(connection, "freelist_count"):
        before = _pragma(connection, "freelist_count")
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")  # `execute` would free one page
        if _pragma(connection, "freelist_count") >= before:
            break
        time.sleep(REST)
    with contextlib.suppress(sqlite3.Error):  # a reader is active: the next checkpoint does it
        connection.execute("PRAGMA busy_timeout = 500")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
