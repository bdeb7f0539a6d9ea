"""The log in the form of an older version becomes `event_log`; processes of that version go on writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.store import schema
from agentdeck.store.codec import encode
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from agentdeck.store.writer import Writer
from tests.store.samples import new_run, order

BEFORE = next(number for number, step in enumerate(schema.STEPS) if "CREATE TABLE event_log" in step)
INSERT = "INSERT INTO events (run, seq, at, kind, task, step, data, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the version before, with two runs of twelve events each."""
    path = tmp_path / "deck.db"
    with monkeypatch.context() as patch, closing(sqlite3.connect(path, isolation_level=None)) as connection:
        patch.setattr(schema, "STEPS", schema.STEPS[:BEFORE])
        patch.setattr(schema, "VERSION", BEFORE)
        schema.upgrade(connection, path)
        for run in ("b", "a"):
            create_run(connection, new_run(run))
            write(connection, run, 1, task=1)
    return path


def write(connection: sqlite3.Connection, run: str, first: int, task: int) -> None:
    """As the version before wrote."""
    for seq, event in enumerate(order(task), first):
        connection.execute(INSERT, (run, seq, event.at, *encode(event)))


def test_the_log_of_an_older_version_is_read_and_continued(older: Path) -> None:
    with closing(Writer(older)) as writer:
        writer.append("b", 13, order(2))
        writer.append("c", 1, order(3))
        writer.flush(10)
    with closing(Reader(older)) as reader:
        assert list(reader.events("a")) == list(enumerate(order(1), 1))
        assert list(reader.events("b")) == list(enumerate([*order(1), *order(2)], 1))
        assert list(reader.events("c", after=10)) == list(enumerate(order(3), 1))[10:]
        assert [reader.last_seq(run) for run in ("a", "b", "c", "d")] == [12, 24, 12, 0]
        assert reader.select("SELECT count(*) FROM events WHERE run = 'b' AND kind = 'task_ended'") == [(2,)]


def test_a_process_of_the_older_version_goes_on_and_is_fenced(older: Path) -> None:
    with closing(schema.open_for_writing(older)) as connection:
        write(connection, "a", 13, task=2)
        write(connection, "d", 1, task=3)
        with pytest.raises(sqlite3.IntegrityError):
            write(connection, "a", 20, task=2)
    with closing(Reader(older)) as reader:
        assert list(reader.events("a")) == list(enumerate([*order(1), *order(2)], 1))
        assert list(reader.events("d")) == list(enumerate(order(3), 1))
