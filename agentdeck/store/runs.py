"""The row of a run in `runs`, its definition, lease, durations and processes: functions for `Log.call`.

Lists show the row; the events are authoritative. The process that holds the lease owns the run and updates its
row.
"""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from agentdeck.processes.ending import Group
from agentdeck.processes.identity import this_machine, this_process
from agentdeck.store.codec import text_of
from agentdeck.store.lease import held, lease_of
from agentdeck.workflow.model import Data, Definition, plain

if TYPE_CHECKING:  # it imports anyio, which a reader of the store does not need
    from agentdeck.processes.children import Child

#: Attempts of each agent whose durations are kept.
REMEMBERED = 200
#: The name, which no agent has, of the durations of whole tasks.
WHOLE_TASK = ""
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that executes runs. `name` is unique to it, also after its pid is used again; `machine` and
    `start` identify the process (`processes/identity.py`)."""

    name: str
    pid: int
    host: str
    machine: str | None = None
    start: str | None = None

    @classmethod
    def here(cls, name: str) -> Owner:
        """This process, under a name."""
        process = this_process()
        return cls(name, process.pid, socket.gethostname(), process.machine, process.start)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks a run has, by state."""

    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run at its launch. `source` is where the workflow and its tasks came from, `options` how it was launched:
    a resume needs both."""

    run: str
    workflow: str
    identity: str
    started: float
    simulated: bool = False
    tags: tuple[str, ...] = ()
    source: dict[str, Data] = field(default_factory=dict)
    options: dict[str, Data] = field(default_factory=dict)


def new_run() -> str:
    """A new short id. Ids sort by time."""
    number, text = int(time.time()), ""
    while number:
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text + "".join(secrets.choice(ALPHABET) for _ in range(3))


def save_definition(connection: sqlite3.Connection, definition: Definition) -> str:
    """Store a workflow as it is now. Returns its identity."""
    identity = definition.identity
    if connection.execute("SELECT 1 FROM definitions WHERE identity = ?", (identity,)).fetchone() is None:
        connection.execute(
            "INSERT OR IGNORE INTO definitions (identity, text) VALUES (?, ?)",
            (identity, text_of(plain(definition))),
        )
    return identity


def create_run(connection: sqlite3.Connection, new: NewRun, owner: Owner | None = None, until: float = 0) -> None:
    """Add a row in state `running`, with a lease for `owner`. Raises sqlite3.IntegrityError if it exists."""
    connection.execute(
        "INSERT INTO runs (run, workflow, identity, state, started, simulated, tags, source, options,"
        " owner, lease_until, pid, host, machine, process_start)"
        " VALUES (?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(new.run, new.workflow, new.identity, new.started, new.simulated),
            *(text_of(list(new.tags)), text_of(new.source), text_of(new.options)),
            *((owner.name, until, owner.pid, owner.host, owner.machine, owner.start) if owner else (None,) * 6),
        ),
    )


def folder_of(connection: sqlite3.Connection, run: str) -> str:
    """The folder of a run's workflow; empty where it is not known."""
    sql = "SELECT coalesce(json_extract(source, '$.folder'), '') FROM runs WHERE run = ?"
    row = connection.execute(sql, (run,)).fetchone()
    return str(row[0]) if row else ""


def set_run(
    connection: sqlite3.Connection,
    run: str,
    *,
    state: str | None = None,
    counts: Counts | None = None,
    simulated: bool | None = None,
    idle: float | None = None,
    pause_reason: str | None = None,
) -> None:
    """Update a run's row: its state (`running`, `paused`, `drained`), why it is paused, its tasks so
    far, and for how long no process executed it. None leaves a column unchanged."""
    connection.execute(
        "UPDATE runs SET state = coalesce(?, state), ended = iif(? IS NULL, ended, NULL),"
        " tasks_total = coalesce(?, tasks_total), tasks_done = coalesce(?, tasks_done),"
        " tasks_failed = coalesce(?, tasks_failed), tasks_cancelled = coalesce(?, tasks_cancelled),"
        " simulated = coalesce(?, simulated), idle = coalesce(?, idle),"
        " pause_reason = coalesce(?, pause_reason) WHERE run = ?",
        (
            *(state, state),
            *((counts.total, counts.done, counts.failed, counts.cancelled) if counts else (None,) * 4),
            *(simulated, idle, pause_reason, run),
        ),
    )


def set_options(connection: sqlite3.Connection, run: str, options: dict[str, Data]) -> None:
    """Replace the launch options of a run."""
    connection.execute("UPDATE runs SET options = ? WHERE run = ?", (text_of(options), run))


def set_source(connection: sqlite3.Connection, run: str, source: dict[str, Data]) -> None:
    """Replace the source of a run, when its files have moved."""
    connection.execute("UPDATE runs SET source = ? WHERE run = ?", (text_of(source), run))


def end_run(
    connection: sqlite3.Connection, run: str, state: str, ended: float, counts: Counts, summary: Data = None
) -> None:
    """Record that the run has ended (done, failed or cancelled), and release its lease."""
    connection.execute(
        "UPDATE runs SET state = ?, ended = ?, tasks_total = ?, tasks_done = ?, tasks_failed = ?,"
        " tasks_cancelled = ?, summary = ?, owner = NULL, lease_until = NULL, pid = NULL, host = NULL"
        " WHERE run = ?",
        (
            *(state, ended, counts.total, counts.done, counts.failed, counts.cancelled),
            *(None if summary is None else text_of(summary), run),
        ),
    )


def take_lease(connection: sqlite3.Connection, run: str, owner: Owner, until: float, now: float) -> bool:
    """Take the lease of a run that no process holds. `now` is the time of day.

    False: a process holds it. That is checked in the same transaction, so of two processes that try, one gets it.
    """
    lease = lease_of(connection, run)
    if lease is None or (lease.owner != owner.name and held(lease, now)):
        return False
    connection.execute(
        "UPDATE runs SET owner = ?, pid = ?, host = ?, machine = ?, process_start = ?, lease_until = ?"
        " WHERE run = ?",
        (owner.name, owner.pid, owner.host, owner.machine, owner.start, until, run),
    )
    return True


def renew_lease(connection: sqlite3.Connection, run: str, owner: Owner, until: float) -> bool:
    """Extend the lease. False: another process has it now; stop writing."""
    sql = "UPDATE runs SET lease_until = ? WHERE run = ? AND owner = ?"
    return connection.execute(sql, (until, run, owner.name)).rowcount == 1


def release_lease(connection: sqlite3.Connection, run: str, owner: Owner) -> bool:
    """Release the lease. False: another process has it."""
    sql = "UPDATE runs SET owner = NULL, lease_until = NULL, pid = NULL, host = NULL WHERE run = ? AND owner = ?"
    return connection.execute(sql, (run, owner.name)).rowcount == 1


#: The columns of a row that change when a process takes the run.
_HOLDING = "state, ended, owner, lease_until, pid, host, machine, process_start"
#: Their values.
Holding: TypeAlias = tuple[Data, ...]


def holding_of(connection: sqlite3.Connection, run: str) -> Holding:
    """The state and the lease of a run, to be restored by the process that takes the lease now."""
    found: Holding = connection.execute(f"SELECT {_HOLDING} FROM runs WHERE run = ?", (run,)).fetchone()
    return found


def restore_holding(connection: sqlite3.Connection, run: str, owner: Owner, before: Holding) -> None:
    """Leave a run as it was before this process took its lease."""
    marks = ", ".join("?" * len(before))
    sql = f"UPDATE runs SET ({_HOLDING}) = ({marks}) WHERE run = ? AND owner = ?"
    connection.execute(sql, (*before, run, owner.name))


def save_durations(
    connection: sqlite3.Connection, workflow: str, folder: str, durations: Mapping[str, Sequence[float]]
) -> None:
    """Add the seconds that each agent took in a run to the newest REMEMBERED of its workflow. A workflow is its
    name and its folder: an edited one keeps its durations, one of the same name elsewhere has its own."""
    for agent, taken in durations.items():
        if not taken:
            continue
        where = (workflow, folder, agent)
        sql = "SELECT samples FROM durations WHERE workflow = ? AND folder = ? AND agent = ?"
        row = connection.execute(sql, where).fetchone()
        known = [*(json.loads(row[0]) if row else ()), *(round(seconds, 6) for seconds in taken)]
        connection.execute(
            "INSERT OR REPLACE INTO durations (workflow, folder, agent, samples) VALUES (?, ?, ?, ?)",
            (*where, text_of(known[-REMEMBERED:])),
        )


# Processes that agents of a run have started and that have not ended: a row of `processes` for each -------------


def add_process(connection: sqlite3.Connection, run: str, child: Child) -> None:
    """Record a process that was started."""
    connection.execute(
        "INSERT OR REPLACE INTO processes (mark, run, task, step, attempt, machine, pid, start)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (child.mark, run, child.task, child.step, child.attempt, this_machine(), child.pid, child.start),
    )


def remove_process(connection: sqlite3.Connection, mark: str) -> None:
    """Delete the record of a process that has ended, with all of its group."""
    connection.execute("DELETE FROM processes WHERE mark = ?", (mark,))


def processes_of(connection: sqlite3.Connection, run: str) -> list[Group]:
    """The processes that a dead owner of the run may have left on this machine. Those of another machine cannot
    be reached; those of an earlier boot have ended."""
    sql = "SELECT mark, pid, start FROM processes WHERE run = ? AND machine = ?"
    return [Group(*row) for row in connection.execute(sql, (run, this_machine()))]


def remove_processes(connection: sqlite3.Connection, run: str) -> None:
    """Delete the records of a run: none of its processes is left."""
    connection.execute("DELETE FROM processes WHERE run = ?", (run,))
