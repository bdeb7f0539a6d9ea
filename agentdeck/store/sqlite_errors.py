"""Messages for SQLite's errors, and which errors can pass by waiting."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from agentdeck.errors import StoreError


class StoreBroken(StoreError):
    """Waiting does not help: the file is corrupt, or is no store. The writer stops permanently."""


class RunTaken(StoreError):
    """Another process wrote to this run's log, so it owns the run now. Other runs are not affected."""

    def __init__(self, run: str) -> None:
        self.run = run
        super().__init__(f"run {run}: another process has resumed it and writes its log; this process stopped")


#: Free bytes that opening a file needs.
LEAST = 64 * 1024
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PLACE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    *_BUSY,
}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; -1 if the error did not come from SQLite itself."""
    extended: int = getattr(error, "sqlite_errorcode", None) or -1
    return extended & 0xFF if extended > 0 else -1


def is_busy(error: sqlite3.Error) -> bool:
    """Another process holds the lock."""
    return code(error) in _BUSY


def is_environment_error(error: BaseException) -> bool:
    """Whether the disk, the file or its lock failed, not the statement: the transaction can be repeated."""
    return isinstance(error, sqlite3.Error) and code(error) in _PLACE | _BROKEN


def is_full(path: Path) -> bool:
    """Whether the disk of this file has too little space for SQLite to work."""
    try:
        return shutil.disk_usage(path.parent).free < LEAST
    except OSError:
        return False


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """The error to raise: which file, what happened, what to do."""
    what = "the disk is full; free some space, and writing continues by itself"
    match code(error):
        case sqlite3.SQLITE_FULL:
            pass
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if is_full(path):
            pass
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            what = "the file or its folder is read-only; make both writable, or choose another file with --db"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            what = (
                "another process holds the lock; writing continues when it releases the lock (`lsof` finds "
                "the process)"
            )
        case sqlite3.SQLITE_CORRUPT:
            return StoreBroken(
                f"{path}: the database is damaged ({error}); restore a backup, or move the file away to start "
                "a new store"
            )
        case sqlite3.SQLITE_NOTADB:
            return StoreBroken(f"{path}: this is not a database; choose another file with --db, or move it away")
        case sqlite3.SQLITE_CANTOPEN:
            what = "it cannot be opened; check that the folder exists and is writable"
        case sqlite3.SQLITE_IOERR:
            what = f"the disk failed ({error}); check its free space and its health"
        case _:
            what = str(error)
    return StoreError(f"{path}: {what}")
