"""Processes that a run started and that have not ended: `processes` owns one row for each."""

from __future__ import annotations

import sqlite3

from agentdeck.processes.children import Child
from agentdeck.processes.ending import Group
from agentdeck.processes.identity import this_machine


def add_process(connection: sqlite3.Connection, run: str, child: Child) -> None:
    """A process runs now."""
    connection.execute(
        "INSERT OR REPLACE INTO processes (mark, run, task, step, attempt, machine, pid, start)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (child.mark, run, child.task, child.step, child.attempt, this_machine(), child.pid, child.start),
    )


def remove_process(connection: sqlite3.Connection, mark: str) -> None:
    """It has ended, with all its group."""
    connection.execute("DELETE FROM processes WHERE mark = ?", (mark,))


def processes_of(connection: sqlite3.Connection, run: str) -> list[Group]:
    """What an owner of the run that died may have left on this machine. Processes of another machine are out of
    reach, those of an earlier boot are gone."""
    sql = "SELECT mark, pid, start FROM processes WHERE run = ? AND machine = ?"
    return [Group(*row) for row in connection.execute(sql, (run, this_machine()))]


def remove_processes(connection: sqlite3.Connection, run: str) -> None:
    """None of the run is left."""
    connection.execute("DELETE FROM processes WHERE run = ?", (run,))
