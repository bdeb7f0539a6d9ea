"""States of agents that wait for an answer, in the SQLite file of checkpoints: for frameworks that can give their
state as text, and leave it to their users to keep it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial

from agentdeck.agents.frameworks.framework import CallInput, make_private

#: Seconds that the state of an agent that has ended is kept. Its result is recorded within that time; if the
#: process ends before, the agent is called with its answers again.
KEEP = 60

TABLE = (
    "create table if not exists agentdeck_states"
    " (thread text primary key, state text not null, ended integer) without rowid"
)
SAVE = (
    "insert into agentdeck_states values (?, ?, null)"
    " on conflict (thread) do update set state = excluded.state, ended = null"
)
LOAD = "select state from agentdeck_states where thread = ? and (ended is null or ?)"
END = "update agentdeck_states set ended = unixepoch() where thread = ?"
SWEEP = "delete from agentdeck_states where ended < unixepoch() - ?"


async def save(given: CallInput, state: str) -> None:
    """Keep the state of this piece of work, in the place of an earlier one. It is on disk afterwards."""
    await _execute(given, SAVE, (given.thread, state))


async def load(given: CallInput) -> str:
    """The state of this piece of work at its last question. Raises LookupError where there is none."""
    rows = await _execute(given, LOAD, (given.thread, bool(given.answers)))
    if not rows:
        raise LookupError(f"the state of the agent at its question is not in {given.checkpoints}")
    state: str = rows[0][0]
    return state


async def answered(given: CallInput) -> str:
    """The state at the questions that are answered. Empty for an agent that begins: there are no answers, or the
    file is gone."""
    if not given.answers:
        return ""
    try:
        return await load(given)
    except LookupError:
        return ""


async def drop(given: CallInput) -> None:
    """This piece of work has ended: its state is no longer needed, once that is recorded."""
    await _execute(given, END, (given.thread,))


async def _execute(given: CallInput, statement: str, values: tuple[str | bool, ...]) -> list[tuple[str, ...]]:
    return await given.in_thread(partial(_in_file, given.checkpoints, statement, values))  # type: ignore[no-any-return]


def _in_file(path: str, statement: str, values: tuple[str | bool, ...]) -> list[tuple[str, ...]]:
    make_private(path)
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.execute(TABLE)
        db.execute(SWEEP, (KEEP,))
        return db.execute(statement, values).fetchall()
