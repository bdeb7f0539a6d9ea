"""A consistent copy of the store in one file, made while runs execute."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from agentdeck.errors import StoreError, UsageError
from agentdeck.store.schema import open_for_reading
from agentdeck.store.sqlite_errors import StoreBroken, explain


def backup(path: Path, to: Path, *, force: bool = False) -> int:
    """Copy the store as it is at one moment. Returns the size of the copy in bytes.

    The copy is checked before it gets its name, so a file of that name is always complete. Its mode is 0600.
    Raises UsageError for a file that exists (`force` replaces it) or is the store itself, StoreError when the
    store cannot be read, the copy cannot be written, or the database is damaged.
    """
    if to.is_dir():
        raise UsageError(f"{to}: this is a folder; name a file in it")
    if to.exists():
        if not to.is_file():
            raise UsageError(f"{to}: this is a device or a pipe; name a file")
        if to.samefile(path):
            raise UsageError(f"{to}: this is the store itself; name another file")
        if not force:
            raise UsageError(f"{to} exists; --force replaces it")
    source = open_for_reading(path)
    if source is None:
        raise UsageError(f"nothing to back up: there is no store in {path} yet")
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _copy(source, part, path)
        if to.exists() and not force:
            raise UsageError(f"{to} exists; --force replaces it")
        part.replace(to)
    except OSError as error:
        raise StoreError(f"{to}: {error.strerror or error}; name another file") from error
    finally:
        source.close()
        with contextlib.suppress(OSError):
            part.unlink()
    return to.stat().st_size


def _copy(source: sqlite3.Connection, part: Path, path: Path) -> None:
    target = sqlite3.connect(part, isolation_level=None)
    try:
        # All pages in one step see one state of the WAL: no writer waits, and no commit restarts the copy.
        source.backup(target, pages=-1)
        target.execute("PRAGMA journal_mode = DELETE").fetchall()  # no -wal and -shm beside it
        found = target.execute("PRAGMA integrity_check(3)").fetchall()
    except sqlite3.Error as error:
        raise explain(error, part) from error
    finally:
        target.close()
    if found != [("ok",)]:
        faults = "; ".join(str(row[0]) for row in found)
        raise StoreBroken(f"{path}: the database is damaged ({faults}); nothing was written")
    with part.open("rb") as opened:
        os.fsync(opened.fileno())
