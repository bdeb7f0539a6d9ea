"""The file in which frameworks keep where they were, so that a question or a crash does not start them again."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from agentdeck.agents.verb import WorkflowContext

#: The columns that name a thread, in the tables of the frameworks.
THREADS = ("thread_id", "thread", "flow_uuid")
#: Seconds to wait for a framework that writes.
BUSY = 30.0


class CheckpointFile:
    """A SQLite file beside the store; for a run without a store, a temporary one that is removed with it. It is
    written by the frameworks themselves, and made by the first of them that does."""

    def __init__(self, db: Path | None) -> None:
        self._folder = None
        if db is None:
            self._folder = tempfile.TemporaryDirectory(prefix="agentdeck-")
            db = Path(self._folder.name) / "run.db"
        self.path = str(beside(db).absolute())  # a child interpreter may have another working folder

    async def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def beside(db: Path) -> Path:
    """The file of checkpoints of a store."""
    return db.with_name(f"{db.name}-checkpoints")


def checkpoint_file(context: WorkflowContext) -> CheckpointFile:
    """The file that the agents of a run share."""
    return context.shared(CheckpointFile, lambda: CheckpointFile(context.db), CheckpointFile.close)


def sweep(db: Path, recorded: Callable[[], set[str]]) -> int:
    """Delete the threads of all runs that a store does not have, and return the space to the disk; returns the
    number of these runs. `recorded` reads the runs that it has: a thread is made after its run is recorded."""
    path = beside(db)
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path, timeout=BUSY)) as file:
        tables = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [
            (table, column)
            for table in tables
            for _, column, *_ in file.execute(f'PRAGMA table_info("{table}")')
            if column in THREADS
        ]
        found = {
            row[0]
            for table, column in columns
            for row in file.execute(f"SELECT DISTINCT substr({column}, 1, instr({column}, '/')) FROM \"{table}\"")
        }
        runs = recorded()
        gone = [run for run in found if run and run.removesuffix("/") not in runs]
        with file:
            for table, column in columns:
                for run in gone:
                    file.execute(
                        f'DELETE FROM "{table}" WHERE {column} >= ? AND {column} < ?', (run, f"{run[:-1]}0")
                    )
        if gone:
            with suppress(
                sqlite3.OperationalError
            ):  # another process uses the file: its free pages are used again
                file.execute("PRAGMA busy_timeout = 1000")
                file.execute("VACUUM")
    return len(gone)
