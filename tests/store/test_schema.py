"""Migrations, and what the package may import."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.store import schema
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from tests.store.samples import new_run


def test_an_older_file_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for opened in (schema.open_for_writing, Reader):
        path = tmp_path / f"{opened.__name__}.db"
        with monkeypatch.context() as patch:
            connection = schema.open_for_writing(path)
            create_run(connection, new_run("r"))
            connection.close()
            patch.setattr(schema, "STEPS", [*schema.STEPS, "CREATE TABLE x (y);\nINSERT INTO x VALUES (';');\n"])
            patch.setattr(schema, "VERSION", schema.VERSION + 1)
            opened(path).close()
            connection = schema.open_for_writing(path)
            assert connection.execute("SELECT y FROM x").fetchall() == [(";",)]
            assert connection.execute("SELECT run FROM runs").fetchall() == [("r",)]
            connection.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    schema.open_for_writing(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", [*schema.STEPS, "CREATE TABLE x (y);\nCREATE TABLE runs (y);\n"])
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreError):
            schema.open_for_writing(path)
    connection = schema.open_for_writing(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'x'").fetchone() == (0,)


def test_the_store_imports_no_interface_and_no_network() -> None:
    code = (
        "import sys, agentdeck.store.writer, agentdeck.store.reader\n"
        "import agentdeck.store.log, agentdeck.store.schema\n"
        "print([name for name in ('textual', 'anyio', 'httpx', 'rich', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from agentdeck.store.schema import open_for_writing
open_for_writing(Path(sys.argv[1])).close()
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = DELETE").fetchall()  # as while the file is made
connection.execute("PRAGMA cache_size = 1").fetchall()
connection.execute("BEGIN")
for n in range(2000):
    connection.execute("INSERT INTO definitions VALUES (?, ?)", (str(n), "x" * 500))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_half_done_when_its_maker_was_killed_is_taken_back_for_readers_too(tmp_path: Path) -> None:
    path = tmp_path / "deck.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2], check=False)
    assert path.with_name("deck.db-journal").stat().st_size
    connection = schema.open_for_reading(path)
    assert connection is not None
    assert connection.execute("SELECT count(*) FROM definitions").fetchone() == (0,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize("number", range(1, 7))
def test_a_file_that_is_made_while_it_is_opened_is_not_another_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The other process commits the schema after so many statements of this one."""
    path = tmp_path / "deck.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    done = 0

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            nonlocal done
            cursor = super().execute(sql, *values)  # type: ignore[arg-type]
            done += 1
            if done == number:
                schema.upgrade(other, path)
            return cursor

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kw: connect(*args, **kw, factory=Watched))
    opened = schema.open_for_reading(path)
    assert done >= number
    if opened is not None:
        assert opened.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
        opened.close()
    other.close()
