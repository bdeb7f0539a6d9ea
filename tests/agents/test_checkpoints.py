"""The file of checkpoints beside a store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.agents.checkpoints import CheckpointFile, beside
from agentdeck.operations.prune import delete, prunable
from agentdeck.store.runs import NewRun, create_run
from agentdeck.store.writer import Writer

pytestmark = pytest.mark.anyio
#: Of LangGraph, of agentdeck and of CrewAI.
COLUMNS = {"writes": "thread_id", "agentdeck_states": "thread", "flow_states": "flow_uuid"}


def keep(db: Path, *threads: str) -> None:
    with closing(sqlite3.connect(beside(db))) as file, file:
        for table, column in COLUMNS.items():
            file.execute(f"CREATE TABLE IF NOT EXISTS {table} ({column} TEXT, value TEXT)")
            file.executemany(f"INSERT INTO {table} VALUES (?, 'x')", [(one,) for one in threads])
        file.execute("CREATE TABLE IF NOT EXISTS others (name TEXT)")


def kept(db: Path) -> list[list[str]]:
    with closing(sqlite3.connect(beside(db))) as file:
        return [sorted(row[0] for row in file.execute(f"SELECT * FROM {table}")) for table in COLUMNS]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    writer = Writer(path)
    for run in ("old", "old2"):
        new = NewRun(run, "order", "i" * 64, 1e9)
        writer.call(lambda db, new=new: create_run(db, new, None, 0.0)).result(5)  # type: ignore[misc]
    writer.close()
    return path


def test_checkpoints_go_with_their_run(db: Path) -> None:
    keep(db, "old/1/review/1-ab", "old/2/review/1-ab", "old2/1/review/1-ab", "")
    runs = prunable(db, "1d", None)
    delete(db, [one for one in runs if one.run == "old"])
    assert kept(db) == [["", "old2/1/review/1-ab"]] * 3


def test_what_a_killed_prune_has_left_goes_with_the_next(db: Path) -> None:
    keep(db, "gone/1/review/1-ab", "old2/1/review/1-ab")
    delete(db, [one for one in prunable(db, "1d", None) if one.run == "old"])
    assert kept(db) == [["old2/1/review/1-ab"]] * 3


def test_a_store_without_checkpoints_is_pruned(db: Path) -> None:
    delete(db, prunable(db, "1d", None))
    assert not beside(db).exists()


async def test_the_path_holds_in_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CheckpointFile(Path("a.db")).path == str(tmp_path / "a.db-checkpoints")
    temporary = CheckpointFile(None)
    assert Path(temporary.path).is_absolute()
    await temporary.close()
    assert not Path(temporary.path).parent.exists()
