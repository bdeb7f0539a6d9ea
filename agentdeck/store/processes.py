"""Processes that a run has started and that have not ended: a row of `processes` for each."""

from __future__ import annotations

import sqlite3

from agentdeck.processes.children import Child
from agentdeck.processes.ending import Group
from agentdeck.processes.identity import this_machine


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
