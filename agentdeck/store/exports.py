"""How far the log of a run was exported to each receiver of spans."""

from __future__ import annotations

import sqlite3
import time

from agentdeck.store.reader import Reader


def exported(reader: Reader, run: str, receiver: str) -> int:
    """The number of the last event whose spans the receiver has; 0 without any."""
    rows = reader.select("SELECT seq FROM exports WHERE run = ? AND receiver = ?", (run, receiver))
    return int(rows[0][0]) if rows else 0


def save_exported(connection: sqlite3.Connection, run: str, receiver: str, seq: int) -> None:
    """Record that the receiver has all spans that had ended by this event."""
    connection.execute(
        "INSERT OR REPLACE INTO exports (run, receiver, seq, at) VALUES (?, ?, ?, ?)",
        (run, receiver, seq, time.time()),
    )
