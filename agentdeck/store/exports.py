"""How far the log of a run was exported to each receiver of spans."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing, transaction
from agentdeck.store.sqlite_errors import explain

#: Seconds to wait for the store's lock.
TIMEOUT = 3.0


def exported(reader: Reader, run: str, receiver: str) -> int:
    """The number of the last event whose spans the receiver has; 0 without any."""
    rows = reader.select("SELECT seq FROM exports WHERE run = ? AND receiver = ?", (run, receiver))
    return int(rows[0][0]) if rows else 0


def save_exported(path: Path, run: str, receiver: str, seq: int) -> None:
    """Record that the receiver has all spans that had ended by this event, by a connection of its own. Raises
    StoreError."""
    sql = "INSERT OR REPLACE INTO exports (run, receiver, seq, at) VALUES (?, ?, ?, ?)"
    with closing(open_for_writing(path, busy_seconds=TIMEOUT)) as connection:
        try:
            with transaction(connection):
                connection.execute(sql, (run, receiver, seq, time.time()))
        except sqlite3.Error as error:
            raise explain(error, path) from error
