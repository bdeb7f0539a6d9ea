"""A consistent copy of the store, and of files beside it, made while runs execute."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from agentdeck.errors import StoreError, UsageError
from agentdeck.store.schema import open_for_reading
from agentdeck.store.sqlite_errors import StoreBroken, explain

#: Seconds to wait for a process that writes a file beside the store.
BUSY = 30.0


def backup(path: Path, to: Path, *, force: bool = False, beside: Mapping[Path, Path] | None = None) -> int:
    """Copy the store as it is at one moment. Returns the size of the copies in bytes.

    `beside` are further SQLite files, each with the place of its copy. Those that exist are copied after the
    store. All copies are checked before any of them gets its name, that of the store last, so a file of that name
    is always complete. Their mode is 0600. Raises UsageError for a file that exists (`force` replaces it) or is
    the store itself, StoreError when a file cannot be read, a copy cannot be written, or a database is damaged.
    """
    more = beside or {}
    _check_place(path, to, force)
    for file, copy in more.items():
        _check_place(file, copy, force)
    source = open_for_reading(path)
    if source is None:
        raise UsageError(f"nothing to back up: there is no store in {path} yet")
    parts = [(_part_of(to), to)]
    try:
        with contextlib.closing(source):
            _copy(source, parts[0][0], path)
        for file, copy in more.items():
            if file.exists():
                parts.append((_part_of(copy), copy))
                with contextlib.closing(sqlite3.connect(file, timeout=BUSY)) as opened:
                    _copy(opened, parts[-1][0], file)
        for file, copy in {path: to, **more}.items():
            _check_place(file, copy, force)
        for copy in more.values():  # that of another store would not fit this one
            copy.unlink(missing_ok=True)
        for part, copy in reversed(parts):
            part.replace(copy)
    except OSError as error:
        raise StoreError(f"{to}: {error.strerror or error}; name another file") from error
    finally:
        for part, _ in parts:
            with contextlib.suppress(OSError):
                part.unlink()
    return sum(copy.stat().st_size for _, copy in parts)


def _check_place(path: Path, to: Path, force: bool) -> None:
    """Refuse to write a copy of a file where it must not be."""
    if to.is_dir():
        raise UsageError(f"{to}: this is a folder; name a file in it")
    if to.exists():
        if not to.is_file():
            raise UsageError(f"{to}: this is a device or a pipe; name a file")
        if path.exists() and to.samefile(path):
            raise UsageError(f"{to}: this is the store itself; name another file")
        if not force:
            raise UsageError(f"{to} exists; --force replaces it")


def _part_of(to: Path) -> Path:
    return to.with_name(f".{to.name}.{os.getpid()}.part")


def _copy(source: sqlite3.Connection, part: Path, path: Path) -> None:
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
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
