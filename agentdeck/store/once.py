"""Effects that must happen only once (`once`), and results that expire (`cache`). Functions for `Log.call`."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Literal, NamedTuple

from agentdeck.store.codec import get_result, put_result
from agentdeck.store.lease import held, lease_of
from agentdeck.workflow.model import Data


class Holder(NamedTuple):
    """The attempt of a step (`task/step`) that claims a key, in the process `owner`. `what` is its verb and
    target, for the operator who has to check whether it took effect."""

    run: str
    step: str
    attempt: int = 0
    owner: str = ""
    what: str = ""


class Claim(NamedTuple):
    """new: the intent is recorded, and the effect may begin. done: it has the `result`. held: the process of
    `holder` executes it now. unknown: `holder` began it `at` and never reported; it may have taken effect."""

    state: Literal["new", "done", "held", "unknown"]
    result: Data = None
    holder: Holder = Holder("", "")
    at: float = 0.0


def once_state(connection: sqlite3.Connection, key: str) -> Claim:
    """The state of a key, without claiming it: `new` where it is free."""
    row = connection.execute(
        "SELECT state, result, run, step, attempt, owner, what, at FROM once WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return Claim("new")
    state, result, run, step, attempt, owner, what, at = row
    holder = Holder(run, step, attempt or 0, owner or "", what or "")
    if state == "done":
        return Claim("done", get_result(connection, result), holder, at)
    return Claim("held" if state == "intent" and _executes(connection, holder) else "unknown", None, holder, at)


def once_claim(connection: sqlite3.Connection, key: str, holder: Holder, at: float) -> Claim:
    """Claim a key. The effect may begin when the future of `Log.call` is done: the intent is on disk then."""
    found = once_state(connection, key)
    if found.state != "new":
        return found
    connection.execute(
        "INSERT INTO once (key, state, run, step, attempt, owner, what, at)"
        " VALUES (?, 'intent', ?, ?, ?, ?, ?, ?)",
        (key, *holder, at),
    )
    return Claim("new", None, holder, at)


def _executes(connection: sqlite3.Connection, holder: Holder) -> bool:
    """Whether the process that claimed the key still executes the run, by its lease."""
    lease = lease_of(connection, holder.run)
    return lease is not None and lease.owner == holder.owner and held(lease, time.time())


def once_done(connection: sqlite3.Connection, key: str, result: Data) -> None:
    """Record that it took effect, with this result."""
    hashed = put_result(connection, result)
    connection.execute("UPDATE once SET state = 'done', result = ? WHERE key = ?", (hashed, key))


def once_release(connection: sqlite3.Connection, key: str, holder: Holder) -> None:
    """Free a key whose holder had no effect: its attempt failed, or had not begun."""
    connection.execute(
        "DELETE FROM once WHERE key = ? AND state = 'intent' AND run = ? AND step = ? AND owner = ?"
        " AND attempt = ?",
        (key, holder.run, holder.step, holder.owner, holder.attempt),
    )


def once_mark_unknown(connection: sqlite3.Connection, key: str) -> None:
    """Record that the attempt was cancelled midway: whether it took effect is not known."""
    connection.execute("UPDATE once SET state = 'unknown' WHERE key = ? AND state = 'intent'", (key,))


def once_decide(connection: sqlite3.Connection, key: str, took_effect: tuple[Data] | None) -> bool:
    """Record an operator's decision: it took effect, with this result, or (None) it did not and the key is freed.
    False if there is nothing to decide: its result is known, it is being executed, or the key is free."""
    if once_state(connection, key).state != "unknown":
        return False
    if took_effect is None:
        connection.execute("DELETE FROM once WHERE key = ?", (key,))
    else:
        once_done(connection, key, took_effect[0])
    return True


def once_key_of(connection: sqlite3.Connection, run: str, step: str) -> str:
    """The key that this step claimed and that has no result. Letters of version 0.1 do not name it."""
    sql = "SELECT key FROM once WHERE run = ? AND step = ? AND state <> 'done'"
    row = connection.execute(sql, (run, step)).fetchone()
    return str(row[0]) if row else ""


class Cached(NamedTuple):
    """`found` distinguishes a cached None from no entry."""

    found: bool
    value: Data = None


def cache_get(connection: sqlite3.Connection, key: str, now: float) -> Cached:
    """The cached value of a key, unless it has expired."""
    row = connection.execute(
        "SELECT data FROM cache JOIN results ON hash = result WHERE key = ? AND expires > ?", (key, now)
    ).fetchone()
    return Cached(True, json.loads(row[0])) if row else Cached(False)


def cache_put(connection: sqlite3.Connection, key: str, value: Data, now: float, seconds: float) -> None:
    """Cache a value for some seconds. Deletes a few expired entries."""
    connection.execute(
        "INSERT OR REPLACE INTO cache (key, result, expires) VALUES (?, ?, ?)",
        (key, put_result(connection, value), now + seconds),
    )
    connection.execute(
        "DELETE FROM cache WHERE key IN (SELECT key FROM cache WHERE expires <= ? LIMIT 10)", (now,)
    )
