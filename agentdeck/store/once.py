"""What happens once for good (`once`), and what is remembered for a while (`cache`). For `Log.call`."""

from __future__ import annotations

import json
import sqlite3
from typing import Literal, NamedTuple

from agentdeck.store.results import get_result, put_result
from agentdeck.workflow.model import Data


class Claim(NamedTuple):
    """new: nobody did it; the intent is recorded, go. done: `result` is what came of it, then.
    unknown: `run` and `step` were about to do it and told nothing since; they may be at it, or died at it."""

    state: Literal["new", "done", "unknown"]
    result: Data = None
    run: str = ""
    step: str = ""


def once_claim(connection: sqlite3.Connection, key: str, run: str, step: str, at: float) -> Claim:
    """Ask to do what is done once. The effect may begin when the call's future is done: the intent is on disk."""
    row = connection.execute("SELECT state, result, run, step FROM once WHERE key = ?", (key,)).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO once (key, state, run, step, at) VALUES (?, 'intent', ?, ?, ?)", (key, run, step, at)
        )
        return Claim("new", None, run, step)
    if row[0] == "done":
        return Claim("done", get_result(connection, row[1]), row[2], row[3])
    return Claim("unknown", None, row[2], row[3])


def once_done(connection: sqlite3.Connection, key: str, result: Data) -> None:
    """It took effect, with this result."""
    hashed = put_result(connection, result)
    connection.execute("UPDATE once SET state = 'done', result = ? WHERE key = ?", (hashed, key))


def once_undone(connection: sqlite3.Connection, key: str) -> None:
    """It is known that it took no effect (the attempt failed, or a person says so): it may be claimed again."""
    connection.execute("DELETE FROM once WHERE key = ? AND state = 'intent'", (key,))


def once_forget(connection: sqlite3.Connection, run: str, step: str) -> int:
    """A person has looked and says: do it again. How many intents of this step (`task/step`) there were."""
    sql = "DELETE FROM once WHERE run = ? AND step = ? AND state = 'intent'"
    return connection.execute(sql, (run, step)).rowcount


class Cached(NamedTuple):
    """`found` tells a remembered None from nothing."""

    found: bool
    value: Data = None


def cache_get(connection: sqlite3.Connection, key: str, now: float) -> Cached:
    """What is remembered under this key, unless it has expired."""
    row = connection.execute(
        "SELECT data FROM cache JOIN results ON hash = result WHERE key = ? AND expires > ?", (key, now)
    ).fetchone()
    return Cached(True, json.loads(row[0])) if row else Cached(False)


def cache_put(connection: sqlite3.Connection, key: str, value: Data, now: float, seconds: float) -> None:
    """Remember a value for so long. What has expired is forgotten on the way, a little at a time."""
    connection.execute(
        "INSERT OR REPLACE INTO cache (key, result, expires) VALUES (?, ?, ?)",
        (key, put_result(connection, value), now + seconds),
    )
    connection.execute(
        "DELETE FROM cache WHERE key IN (SELECT key FROM cache WHERE expires <= ? LIMIT 10)", (now,)
    )
