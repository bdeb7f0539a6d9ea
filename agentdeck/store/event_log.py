"""Where the events of a run are in the table `event_log`.

The id of an event is its number in its run, `seq`, plus the offset of the run: one integer, by which the table
is ordered. An event comes after all others of its run, so the table grows at the end and its pages are full. With
(run, seq) as the key, and the names of run and kind in each row, a step of an order took 74 bytes more.

The view `events` has the columns run, seq, at, kind, task, step, data, result. It suits questions about all
events of a run. A range of `seq` is asked for by id, as `reader.py` does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from agentdeck.store.schema import transaction

#: Events that a run may have.
SPAN = 1 << 32
#: The events of the run whose number is in `n`, for the conditions of a statement.
OF_RUN = f"id > n.number * {SPAN} AND id < (n.number + 1) * {SPAN}"

#: The columns that `Reader.decoded` takes after the number of an event, and the tables that have them. CROSS: the
#: names of the kinds are looked up, and never make the order.
COLUMNS = "at, name, task, step, data, result"
LOG = "event_log CROSS JOIN event_kinds k ON k.number = kind"


def offset_of(connection: sqlite3.Connection, run: str) -> int:
    """The offset of a run; 0, which no run has, where the log does not have it."""
    row = connection.execute("SELECT number FROM run_numbers WHERE run = ?", (run,)).fetchone()
    return int(row[0]) * SPAN if row else 0


def new_offset(connection: sqlite3.Connection, run: str) -> int:
    """The offset of a run, which gets a number where it has none."""
    offset = offset_of(connection, run)
    if not offset:
        connection.execute("INSERT INTO run_numbers (run) VALUES (?)", (run,))
    return offset or offset_of(connection, run)


def last_seq(connection: sqlite3.Connection, run: str) -> int:
    """The number of the run's newest event; 0 if there is none."""
    offset = offset_of(connection, run)
    sql = "SELECT max(id) FROM event_log WHERE id > ? AND id < ?"
    last = connection.execute(sql, (offset, offset + SPAN)).fetchone()[0]
    return 0 if last is None else int(last) - offset


def kind_numbers(connection: sqlite3.Connection, kinds: Iterable[str]) -> dict[str, int]:
    """The numbers of these kinds of events in this file, which gets those that it does not have."""
    select = "SELECT name, number FROM event_kinds"
    numbers: dict[str, int] = dict(connection.execute(select).fetchall())
    if missing := [(kind,) for kind in kinds if kind not in numbers]:
        with transaction(connection):
            connection.executemany("INSERT OR IGNORE INTO event_kinds (name) VALUES (?)", missing)
        numbers = dict(connection.execute(select).fetchall())
    return numbers
