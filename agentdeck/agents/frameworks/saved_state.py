"""States of agents that wait for an answer, in the SQLite file of checkpoints: for frameworks that can give their
state as text, and leave it to their users to keep it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial

from agentdeck.agents.frameworks.framework import CallInput

TABLE = "create table if not exists agentdeck_states (thread text primary key, state text not null) without rowid"
SAVE = "insert into agentdeck_states values (?, ?) on conflict (thread) do update set state = excluded.state"
LOAD = "select state from agentdeck_states where thread = ?"

DROP = "delete from agentdeck_states where thread = ?"


async def save(given: CallInput, state: str) -> None:
    """Keep the state of this piece of work, in the place of an earlier one. It is on disk afterwards."""
    await given.in_thread(partial(_execute, given.checkpoints, SAVE, (given.thread, state)))


async def load(given: CallInput) -> str:
    """The state of this piece of work at its last question. Raises LookupError where there is none."""
    rows = await given.in_thread(partial(_execute, given.checkpoints, LOAD, (given.thread,)))
    if not rows:
        what = (
            f"the state of the agent at its question is not in {given.checkpoints}; retry the step to begin again"
        )
        raise LookupError(what)
    state: str = rows[0][0]
    return state


async def drop(given: CallInput) -> None:
    """Forget the state of this piece of work."""
    await given.in_thread(partial(_execute, given.checkpoints, DROP, (given.thread,)))


def _execute(path: str, statement: str, values: tuple[str, ...]) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.execute(TABLE)
        return db.execute(statement, values).fetchall()
