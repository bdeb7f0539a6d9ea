"""Values by the hash of their text: `results` owns each value once, other tables point to it."""

from __future__ import annotations

import json
import sqlite3

from agentdeck.store.codec import hashed, text_of
from agentdeck.workflow.model import Data


def put_result(connection: sqlite3.Connection, value: Data) -> str:
    """Keep a value; the hash to find it by."""
    row = hashed(text_of(value))
    connection.execute("INSERT OR IGNORE INTO results (hash, data, size) VALUES (?, ?, ?)", row)
    return row[0]


def get_result(connection: sqlite3.Connection, key: str | None) -> Data:
    """The value of a hash; None for no hash, and for a value that was pruned."""
    row = connection.execute("SELECT data FROM results WHERE hash = ?", (key,)).fetchone()
    return json.loads(row[0]) if row else None
