"""The newest snapshot of each run's view (`views.view_snapshot`), so that long logs need not be folded again."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from agentdeck.errors import StoreError
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing, transaction
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import VERSION, restored_view, snapshot_of
from agentdeck.workflow.model import Data, Definition

#: Events that are folded in less than half a second.
MANY = 50_000
#: Seconds that a reader waits for a lock, to write a snapshot.
PATIENCE = 0.1
#: Level 1 takes a third of the time of level 6, and 10 % more space.
LEVEL = 1


def save_snapshot(connection: sqlite3.Connection, run: str, seq: int, snapshot: dict[str, Data]) -> None:
    """Replace the snapshot of a run by one after the event `seq`. Call it in the transaction of that event or a
    later one: what another process wrote under these numbers is something else."""
    data = zlib.compress(json.dumps(snapshot, separators=(",", ":")).encode(), LEVEL)
    connection.execute(
        "INSERT OR REPLACE INTO view_snapshots (run, seq, version, data) VALUES (?, ?, ?, ?)",
        (run, seq, VERSION, data),
    )


def restore_view(reader: Reader, run: str, definition: Definition) -> RunView:
    """The view of a run after the event of its snapshot; a new one where there is no snapshot that can be read.
    The events after `view.seq` are still to be applied."""
    sql = (
        "SELECT seq, data FROM view_snapshots WHERE run = ? AND version = ?"
        " AND EXISTS (SELECT 1 FROM event_log WHERE id = seq + ?)"
    )
    for seq, data in reader.select(sql, (run, VERSION, reader.offset(run))):
        try:
            snapshot: dict[str, Any] = json.loads(zlib.decompress(data))
            view = restored_view(definition, snapshot)
        except (zlib.error, KeyError, TypeError, ValueError, AttributeError):
            break
        if view.seq == seq:
            return view
    return RunView(definition)


def folded_view(reader: Reader, run: str, definition: Definition) -> RunView:
    """The view of all events of a run so far. Where a run that has ended has no snapshot of this version of the
    program, and many events, one is written, if the store can be written: the next reader need not fold them."""
    view = restore_view(reader, run, definition)
    first = view.seq
    for seq, event in reader.events(run, first):
        view.apply(seq, event)
    if view.ended is not None and view.seq - first > MANY:
        _write_snapshot(reader.path, view)
    return view


def _write_snapshot(path: Path, view: RunView) -> None:
    with (
        suppress(StoreError, sqlite3.Error),
        closing(open_for_writing(path, busy_seconds=PATIENCE)) as connection,
        transaction(connection),
    ):
        save_snapshot(connection, view.run, view.seq, snapshot_of(view))
