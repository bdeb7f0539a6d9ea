"""Deleting old runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from agentdeck.agents import checkpoints
from agentdeck.errors import UsageError
from agentdeck.operations.task_files import remove_stdin_copy
from agentdeck.store.prune import PrunableRun, PruneResult, prunable_runs, prune
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.schema import open_for_reading
from agentdeck.store.sqlite_errors import explain
from agentdeck.workflow.units import duration


def prunable(db: Path, older: str | None, keep: int | None) -> list[PrunableRun]:
    """Runs that ended longer ago than `older` (30d, 12h), without the newest `keep` runs. Raises UsageError."""
    if older is None and keep is None:
        raise UsageError("say what may go: --older 30d, --keep 100, or both")
    now = time.time()
    try:
        before = None if older is None else now - duration(older)
    except ValueError as error:
        raise UsageError(f"--older: {error}") from None
    connection = open_for_reading(db)
    if connection is None:
        raise UsageError(f"no runs yet in {db}")
    with closing(connection):
        try:
            return prunable_runs(connection, before=before, keep=keep or 0, now=now)
        except sqlite3.Error as error:
            raise explain(error, db) from error


def delete_run(db: Path, row: RunRow) -> PruneResult:
    """Delete one run, unless a process has taken it in the meantime: then no run is counted in the result."""
    pruned = prune(db, [row.run], time.time())
    if pruned.runs:
        remove_stdin_copy(row.source.get("tasks"), db)
        _sweep_checkpoints(db)
    return pruned


def delete(db: Path, runs: Sequence[PrunableRun]) -> PruneResult:
    """Delete these runs, the checkpoints of their frameworks, and the copies that version 0.1 made of tasks from
    stdin. A run that a process has taken in the meantime is left."""
    pruned = prune(db, [one.run for one in runs], time.time())
    with closing(Reader(db)) as reader:
        for one in runs:
            if one.tasks:
                try:
                    reader.run(one.run)
                except UsageError:
                    remove_stdin_copy(one.tasks, db)
    _sweep_checkpoints(db)
    return pruned


def _sweep_checkpoints(db: Path) -> None:
    """Delete the checkpoints of runs that are not in the store."""

    def recorded() -> set[str]:
        connection = open_for_reading(db)
        assert connection is not None
        with closing(connection):
            return {row[0] for row in connection.execute("SELECT run FROM runs")}

    try:
        checkpoints.sweep(db, recorded)
    except sqlite3.Error as error:
        raise explain(error, checkpoints.beside(db)) from error
