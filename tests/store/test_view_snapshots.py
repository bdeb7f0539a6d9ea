"""Snapshots of the view only save time: what they say is what the whole log says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentdeck.store import view_snapshots
from agentdeck.store.prune import prune
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from agentdeck.store.view_snapshots import folded_view, restore_view, save_snapshot
from agentdeck.store.writer import Writer
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import snapshot_of
from tests.scheduler.driver import Player, agent, definition
from tests.store.samples import new_run

OF = definition(agent("a"), agent("b", "a"))
LOG = Player(OF, tasks=8).play().log
CUT = 30


def view_of(count: int) -> RunView:
    view = RunView(OF)
    for seq, event in enumerate(LOG[:count], 1):
        view.apply(seq, event)
    return view


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A run with a snapshot before its end."""
    path = tmp_path / "agentdeck.db"
    with closing(Writer(path)) as writer:
        writer.call(partial(create_run, new=new_run("r"))).result(10)
        snapshot = partial(save_snapshot, run="r", seq=CUT, snapshot=snapshot_of(view_of(CUT)))
        writer.append("r", 1, LOG[:CUT], [snapshot])
        writer.append("r", CUT + 1, LOG[CUT:])
    return path


class CountingReader(Reader):
    """Counts the events that are decoded."""

    count = 0

    def decoded(self, rows: Any) -> Iterator[tuple[int, Any]]:
        for row in super().decoded(rows):
            self.count += 1
            yield row


def change(db: Path, sql: str) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        assert connection.execute(sql).rowcount == 1


def test_only_the_events_after_a_snapshot_are_read(db: Path) -> None:
    with closing(CountingReader(db)) as reader:
        view = folded_view(reader, "r", OF)
        assert reader.count == len(LOG) - CUT
    assert snapshot_of(view) == snapshot_of(view_of(len(LOG)))


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM view_snapshots",
        "UPDATE view_snapshots SET version = '0-old'",
        "UPDATE view_snapshots SET data = x'00'",
        "UPDATE view_snapshots SET data = (SELECT data FROM view_snapshots), seq = 29",
        "UPDATE view_snapshots SET seq = 10000",
    ],
)
def test_without_a_snapshot_that_fits_the_whole_log_is_read(db: Path, sql: str) -> None:
    change(db, sql)
    with closing(CountingReader(db)) as reader:
        view = folded_view(reader, "r", OF)
        assert reader.count == len(LOG)
    assert snapshot_of(view) == snapshot_of(view_of(len(LOG)))


def test_a_snapshot_of_events_that_were_not_committed_is_not_either(db: Path) -> None:
    """Another process has the run: it wrote other events under these numbers."""
    with closing(Writer(db)) as writer:
        stale = partial(save_snapshot, run="r", seq=len(LOG), snapshot={})
        writer.append("r", CUT, LOG[CUT:], [stale])
        writer.flush()
    with closing(Reader(db)) as reader:
        assert restore_view(reader, "r", OF).seq == CUT


@pytest.mark.parametrize("many", [len(LOG) - 1, len(LOG)])
def test_the_first_reader_of_an_older_version_writes_a_snapshot_of_many_events(
    db: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(view_snapshots, "MANY", many)
    change(db, "UPDATE view_snapshots SET version = '0-old'")
    with closing(Reader(db)) as reader:
        view = folded_view(reader, "r", OF)
        again = restore_view(reader, "r", OF)
    assert again.seq == (len(LOG) if many < len(LOG) else 0)
    if again.seq:
        assert snapshot_of(again) == snapshot_of(view)


def test_a_store_that_cannot_be_written_is_read(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_snapshots, "MANY", 0)
    with closing(sqlite3.connect(db, isolation_level=None)) as other, closing(Reader(db)) as reader:
        other.execute("BEGIN IMMEDIATE")
        assert folded_view(reader, "r", OF).seq == len(LOG)
        other.execute("ROLLBACK")
        assert restore_view(reader, "r", OF).seq == CUT


def test_prune_deletes_snapshots(db: Path) -> None:
    change(db, "UPDATE runs SET state = 'done', ended = 1.0")
    assert prune(db, ["r"], 1e10).runs == 1
    with closing(Reader(db)) as reader:
        assert reader.select("SELECT run FROM view_snapshots") == []
