"""A run whose workflow was moved to another folder: its row names the new folder, and its log records that."""

from __future__ import annotations

import time
from pathlib import Path

from agentdeck.errors import UsageError
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.runs import set_source
from agentdeck.store.writer import Writer
from agentdeck.workflow.model import Data


def relocate(db: Path, row: RunRow, folder: Path, who: str) -> None:
    """Record that the workflow of a run that no process holds is in this folder now. Raises UsageError."""
    if row.state in ("running", "paused"):
        raise UsageError(
            f"{row.run} is {row.state} in process {row.pid} on {row.host}; its folder cannot change now"
        )
    new = folder.expanduser().resolve()
    if not new.is_dir():
        raise UsageError(f"--folder {folder}: there is no such folder")
    old = Path(str(row.source.get("folder") or "."))
    source = dict(row.source)
    source["folder"] = str(new)
    if row.source.get("file"):
        file = _moved(Path(str(row.source["file"])), old, new)
        if not file.is_file():
            raise UsageError(f"--folder {folder}: there is no {file.name} in it, which {row.run} is a run of")
        source["file"] = str(file)
    tasks = row.source.get("tasks")
    if isinstance(tasks, str) and (moved := _moved(Path(tasks), old, new)).is_file():
        source["tasks"] = str(moved)
    if source != row.source:
        _record(db, row.run, source, f"the workflow is in {new} now, and was in {old}", who)


def _moved(path: Path, old: Path, new: Path) -> Path:
    """The path in the new folder of a file from the old folder; other paths are unchanged."""
    return new / path.relative_to(old) if path.is_relative_to(old) else path


def _record(db: Path, run: str, source: dict[str, Data], text: str, who: str) -> None:
    reader = Reader(db)
    last = reader.last_seq(run)
    reader.close()
    noted = ev.Noted(time.time(), f"{text}, by {who}" if who else text)
    writer = Writer(db)
    try:
        writer.append(run, last + 1, [noted], [lambda connection: set_source(connection, run, source)])
        writer.flush()
    finally:
        writer.close()
