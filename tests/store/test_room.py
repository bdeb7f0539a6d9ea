"""Space in the WAL: it is made, it shows nowhere, and where there is none nothing breaks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agentdeck.store.schema import open_for_writing
from agentdeck.store.wal_space import AHEAD, OFTEN, WalSpace


def size(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def commits(db: sqlite3.Connection, room: WalSpace, count: int) -> None:
    for _ in range(count):
        db.execute(
            "INSERT INTO logs (run, at, task, step, attempt, level, text) VALUES ('r', 1, '', '', 0, '', 'x')"
        )
        room.committed(db)


def test_a_writer_that_is_busy_writes_over_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db, room = open_for_writing(path), WalSpace(path)
    commits(db, room, OFTEN - 1)
    assert size(path) < AHEAD
    commits(db, room, 1)
    made = size(path)
    assert made > AHEAD
    commits(db, room, 10 * OFTEN)
    assert size(path) == made, "and it is not made longer while there is room"
    other = open_for_writing(path)
    assert other.execute("SELECT count(*) FROM logs").fetchone() == (11 * OFTEN,)
    assert other.execute("SELECT count(*) FROM results").fetchone() == (0,)
    assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert path.stat().st_size < AHEAD


def test_a_wal_that_was_cut_gets_room_again_once_there_is_much_to_write(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db, room = open_for_writing(path), WalSpace(path)
    commits(db, room, OFTEN)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    room.cut()
    commits(db, room, OFTEN - 1)
    assert size(path) < AHEAD
    commits(db, room, 1)
    assert size(path) > AHEAD


def test_where_there_is_no_space_for_it_everything_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db, room = open_for_writing(path), WalSpace(path)
    names = ("cache_size", "busy_timeout")
    before = [db.execute(f"PRAGMA {name}").fetchone() for name in names]
    db.execute("PRAGMA max_page_count = 100").fetchall()
    commits(db, room, 2 * OFTEN)
    assert not db.in_transaction
    assert [db.execute(f"PRAGMA {name}").fetchone() for name in names] == before
    assert db.execute("SELECT count(*) FROM logs").fetchone() == (2 * OFTEN,)
    assert size(path) < AHEAD
