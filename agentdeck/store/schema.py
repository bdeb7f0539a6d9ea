"""Finds and opens the file, and upgrades its schema to the version that this program knows.

The version is SQLite's `user_version`: schema.sql is version 1, migrations/0002_….sql leads to 2, and so on.
Each step is one transaction. `application_id` distinguishes a store from other databases.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from platformdirs import user_data_dir

from agentdeck.errors import StoreError
from agentdeck.store.sqlite_errors import StoreBroken, code, explain, is_busy, is_full

APPLICATION = 0x41474454  # "AGDT"


def _steps() -> list[str]:
    here = resources.files("agentdeck.store")
    later = sorted(
        (item for item in (here / "migrations").iterdir() if item.name.endswith(".sql")),
        key=lambda item: item.name,
    )
    return [(here / "schema.sql").read_text("utf-8"), *(item.read_text("utf-8") for item in later)]


STEPS = _steps()
VERSION = len(STEPS)


def database(explicit: str | Path | None = None) -> Path:
    """The path of the store: the explicit one, else AGENTDECK_DB, else agentdeck.db in the user's data folder."""
    if explicit:
        return Path(explicit).expanduser()
    if named := os.environ.get("AGENTDECK_DB"):
        return Path(named).expanduser()
    return Path(user_data_dir("agentdeck", appauthor=False)) / "agentdeck.db"


def statements(script: str) -> list[str]:
    """The statements of a script. (`executescript` would commit by itself.)"""
    found, so_far = [], ""
    for line in script.splitlines(keepends=True):
        so_far += line
        if sqlite3.complete_statement(so_far):
            found.append(so_far)
            so_far = ""
    return found


def open_for_writing(path: Path, *, busy_seconds: float = 30.0) -> sqlite3.Connection:
    """A connection that can write, to a file of mode 0600 with the newest schema. A missing file is created.

    Raises StoreError, with the file and what to do, when that is impossible.
    """
    _refuse_folder(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _private(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; choose another file with --db or AGENTDECK_DB") from error
    until = time.monotonic() + busy_seconds
    while True:
        connection = None
        try:
            connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            if not _version(connection, path):
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # `prune` returns space to the disk
            upgrade(connection, path)
            for pragma in (
                "journal_mode = WAL",  # a reader never waits for the writer
                "synchronous = FULL",  # a commit is on the disk
                "journal_size_limit = 67108864",
                "wal_autocheckpoint = 4000",  # 16 MB
                "temp_store = MEMORY",
                "cache_size = -8192",
            ):
                connection.execute("PRAGMA " + pragma).fetchall()
            return connection
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            # Switching to WAL does not wait for other connections by itself.
            if is_busy(error) and time.monotonic() < until:
                time.sleep(0.02)
                continue
            raise explain(error, path) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise


def open_for_reading(path: Path) -> sqlite3.Connection | None:
    """A connection that cannot write. None: there is no file yet, or nothing in it."""
    if not path.exists():
        return None
    _refuse_folder(path)
    connection = None
    try:
        connection = _readable(path)
        version = _version(connection, path)
        if 0 < version < VERSION:
            connection.close()
            open_for_writing(path).close()
            connection = _readable(path)
        elif version == 0:
            connection.close()
            return None
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise explain(error, path) from error
        raise
    return connection


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path}: this is a folder; choose a file with --db or AGENTDECK_DB")


def _readable(path: Path) -> sqlite3.Connection:
    try:
        return _reading(path, "mode=ro")
    except sqlite3.OperationalError as error:
        free = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        if code(error) == sqlite3.SQLITE_READONLY and free:
            # The process that created the file was killed meanwhile; only a writer can roll that back.
            open_for_writing(path).close()
            return _reading(path, "mode=ro")
        # A read-only folder or a full disk, where SQLite cannot create its -shm: if no WAL is left, the file does
        # not change and can be read as it is.
        wal = path.with_name(path.name + "-wal")
        if (
            (os.access(path.parent, os.W_OK) and not is_full(path))
            or not os.access(path, os.R_OK)
            or (wal.exists() and wal.stat().st_size)
        ):
            raise
        return _reading(path, "mode=ro&immutable=1")


def _reading(path: Path, how: str) -> sqlite3.Connection:
    """A connection that has read something."""
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{how}", uri=True, timeout=30, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Upgrade the schema to VERSION. Two processes may do that at once: the second finds it done."""
    if _version(connection, path) == VERSION:
        return
    with transaction(connection):
        for step in STEPS[_version(connection, path) :]:
            for statement in statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that has the lock from its beginning: all of it is committed, or after an error nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the file, 0 if it is empty. Raises StoreError if it is no store, or a newer one."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")  # another process may be creating it: see all of that, or nothing
    try:
        filled = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    finally:
        if alone and connection.in_transaction:  # some errors end it by themselves
            connection.execute("ROLLBACK")
    if application != APPLICATION and (version or application or filled):
        raise StoreBroken(f"{path}: this is a database of another program; choose another file with --db")
    if version > VERSION:
        raise StoreBroken(
            f"{path}: written by a newer agentdeck (schema {version}, this one knows {VERSION}); update agentdeck"
        )
    return version


def _private(path: Path) -> None:
    """Create the file, readable by its owner only; a read-only one stays read-only. SQLite gives -wal and -shm
    the mode of the file."""
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            mode = file.stat().st_mode
            if mode & 0o077 and file.is_file():
                file.chmod(mode & 0o700)
