"""What an operator reads when the file of a store fails: what happened and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.store.schema import open_for_reading, open_for_writing
from agentdeck.store.sqlite_errors import StoreBroken, explain, is_full


def failed(number: int) -> sqlite3.OperationalError:
    """The error that SQLite raises with this code; some need a broken disk."""
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = number
    return error


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (sqlite3.SQLITE_FULL, "the disk is full; free some space"),
        (sqlite3.SQLITE_READONLY, "read-only; make both writable"),
        (sqlite3.SQLITE_BUSY, "another process holds the lock"),
        (sqlite3.SQLITE_CANTOPEN, "check that the folder exists and is writable"),
        (sqlite3.SQLITE_IOERR, r"the disk failed \(as SQLite says it\)"),
        (sqlite3.SQLITE_TOOBIG, "as SQLite says it"),
    ],
)
def test_each_failure_says_what_to_do(tmp_path: Path, number: int, says: str) -> None:
    error = explain(failed(number), tmp_path / "deck.db")
    assert not isinstance(error, StoreBroken)
    with pytest.raises(StoreError, match=f"deck.db: .*{says}"):
        raise error


def test_a_damaged_file_is_broken(tmp_path: Path) -> None:
    error = explain(failed(sqlite3.SQLITE_CORRUPT), tmp_path / "deck.db")
    assert isinstance(error, StoreBroken)
    assert "restore a backup" in str(error)


@pytest.mark.parametrize("opened", [open_for_reading, open_for_writing])
def test_another_file_is_no_database(tmp_path: Path, opened: type) -> None:
    path = tmp_path / "deck.db"
    path.write_text("no database at all\n" * 100)
    with pytest.raises(StoreBroken, match="this is not a database"):
        opened(path)


def test_a_folder_that_is_not_there_is_not_full(tmp_path: Path) -> None:
    assert not is_full(tmp_path / "nowhere" / "deck.db")
