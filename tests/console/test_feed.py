"""Following a run in the store."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.console.feed import Feed
from agentdeck.engine.launch import Outcome
from agentdeck.store.reader import Reader
from agentdeck.store.view_snapshots import save_snapshot
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import snapshot_of
from agentdeck.workflow.model import restored
from tests.store.open_connections import assert_all_closed

pytestmark = pytest.mark.anyio


async def wait(holds: object) -> None:
    end = time.monotonic() + 5
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "did not come true"
        await asyncio.sleep(0.005)


async def test_a_feed_gives_the_whole_run_in_slices(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    feed = Feed(db, outcome.run)
    feed.start()
    try:
        await wait(lambda: feed.row is not None and feed.known == outcome.view.seq)
        view = RunView(feed.definition)
        assert feed.behind(view) == outcome.view.seq
        steps = 0
        while feed.behind(view):
            steps += bool(feed.fold(view, 0.0))
        assert view.seq == outcome.view.seq
        assert (view.state, view.tasks.done) == (outcome.state, outcome.view.tasks.done)
        assert steps == -(-outcome.view.seq // 64)  # no budget at all: the least that a slice takes
        await wait(lambda: len(feed._lines) == 5)
        assert [line.step for line in feed.lines()].count("read") == 3
        assert feed.lines() == []
        assert feed.age < 1
    finally:
        await feed.close()
    assert_all_closed(db)


async def test_a_feed_begins_at_a_snapshot(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    with closing(Reader(db)) as reader:
        before = RunView(restored(reader.definition(reader.run(outcome.run).identity)))
        for seq, event in reader.events(outcome.run, limit=10):
            before.apply(seq, event)
    with closing(sqlite3.connect(db)) as connection, connection:
        save_snapshot(connection, outcome.run, 10, snapshot_of(before))
    feed = Feed(db, outcome.run)
    feed.start()
    try:
        await wait(lambda: feed.known == outcome.view.seq and feed.waiting >= outcome.view.seq - 10)
        view = feed.view
        assert view is not None
        assert view.seq == 10
        assert feed.fold(view, 1.0) == outcome.view.seq - 10
        assert snapshot_of(view) == snapshot_of(outcome.view)
    finally:
        await feed.close()
        with closing(sqlite3.connect(db)) as connection, connection:
            connection.execute("DELETE FROM view_snapshots")


async def test_a_run_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    feed = Feed(tmp_path / "none.db", "nobody")
    feed.start()
    try:
        await wait(lambda: feed.age < 0.2)
        assert feed.row is None
        assert feed.definition is None
        assert not feed.fault
    finally:
        await feed.close()


async def test_a_store_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    db = tmp_path / "deck.db"
    db.write_bytes(b"this is not a database, whatever it is called" * 100)
    feed = Feed(db, "any")
    feed.start()
    try:
        await wait(lambda: bool(feed.fault))
        assert str(db) in feed.fault
    finally:
        await feed.close()
