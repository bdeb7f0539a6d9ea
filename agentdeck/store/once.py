"""What happens once for good (`once`), and what is remembered for a while (`cache`). For `Log.call`."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Literal, NamedTuple

from agentdeck.store.codec import get_result, put_result
from agentdeck.store.lease import held, lease_of
from agentdeck.workflow.model import Data


class Holder(NamedTuple):
    """Who claims a key: an attempt of a step (`task/step`) of a run, in the process `owner`. `what` is its verb
    and target, for the operator who has to look whether it took effect."""

    run: str
    step: str
    attempt: int = 0
    owner: str = ""
    what: str = ""


class Claim(NamedTuple):
    """new: the intent is recorded, and the effect may begin. done: `result` is what it came to.
    held: the process of `holder` executes it now. unknown: `holder` began it `at` and never reported; it may have
    taken effect."""

    state: Literal["new", "done", "held", "unknown"]
    result: Data = None
    holder: Holder = Holder("", "")
    at: float = 0.0


def once_state(connection: sqlite3.Connection, key: str) -> Claim:
    """How it stands with a key, without a claim: `new` where it is free."""
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
    """Claim a key. The effect may begin when the call's future is done: the intent is on disk."""
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
    """Whether the process that claimed still executes the run, as far as the store says."""
    lease = lease_of(connection, holder.run)
    return lease is not None and lease.owner == holder.owner and held(lease, time.time())


def once_done(connection: sqlite3.Connection, key: str, result: Data) -> None:
    """It took effect, with this result."""
    hashed = put_result(connection, result)
    connection.execute("UPDATE once SET state = 'done', result = ? WHERE key = ?", (hashed, key))


def once_release(connection: sqlite3.Connection, key: str, holder: Holder) -> None:
    """This holder did not take effect: its attempt failed, or had not begun. The key may be claimed again."""
    connection.execute(
        "DELETE FROM once WHERE key = ? AND state = 'intent' AND run = ? AND step = ? AND owner = ?"
        " AND attempt = ?",
        (key, holder.run, holder.step, holder.owner, holder.attempt),
    )


def once_mark_unknown(connection: sqlite3.Connection, key: str) -> None:
    """The attempt was cancelled in the middle: whether it took effect is not known."""
    connection.execute("UPDATE once SET state = 'unknown' WHERE key = ? AND state = 'intent'", (key,))


def once_decide(connection: sqlite3.Connection, key: str, took_effect: tuple[Data] | None) -> bool:
    """An operator has looked: it took effect, with this result, or (None) it did not and may be claimed again.
    False: there is nothing to decide, since its result is known, it is being executed, or the key is free."""
    if once_state(connection, key).state != "unknown":
        return False
    if took_effect is None:
        connection.execute("DELETE FROM once WHERE key = ?", (key,))
    else:
        once_done(connection, key, took_effect[0])
    return True


def once_key_of(connection: sqlite3.Connection, run: str, step: str) -> str:
    """The key that this step claimed without a result, for letters of version 0.1, which do not name it."""
    sql = "SELECT key FROM once WHERE run = ? AND step = ? AND state <> 'done'"
    row = connection.execute(sql, (run, step)).fetchone()
    return str(row[0]) if row else ""


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
