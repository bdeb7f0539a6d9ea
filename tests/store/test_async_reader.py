"""Reading the store from an event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from agentdeck.errors import StoreError, UsageError
from agentdeck.scheduler import events as ev
from agentdeck.store import async_reader
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader
from agentdeck.store.runs import NewRun, create_run
from agentdeck.store.schema import open_for_reading
from agentdeck.store.writer import Writer
from tests.store.open_connections import assert_all_closed

FOREVER = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "deck.db"
    writer = Writer(path)
    writer.call(lambda connection: create_run(connection, NewRun("r1", "shop", "i", 1.0))).result(10)
    writer.append("r1", 1, [ev.TaskOpened(float(n), str(n), {"n": n}) for n in range(100)])
    writer.close()
    return path


def _threads(reader: Reader) -> tuple[str, bool]:
    return threading.current_thread().name, threading.current_thread().daemon


@pytest.mark.anyio
async def test_it_answers_as_the_reader_does_in_a_thread_of_aiosqlite(db: Path) -> None:
    plain = Reader(db)
    async with AsyncReader(db) as reader:
        assert await reader.read(Reader.runs, 50) == plain.runs(50)
        events = await reader.read(lambda r: list(r.events("r1", 90, limit=5)))
        assert events == list(plain.events("r1", 90, limit=5))
        assert await reader.read(_threads) == ("agentdeck-aiosqlite", True)
        with pytest.raises(UsageError, match="no run q"):
            await reader.read(Reader.run, "q")
        with pytest.raises(TypeError, match="iterator"):
            await reader.read(Reader.events, "r1")
    plain.close()
    with pytest.raises(StoreError, match="closed"):
        await reader.read(Reader.version)
    assert_all_closed(db)


@pytest.mark.anyio
async def test_a_store_that_comes_later_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    async with AsyncReader(path) as reader:
        assert await reader.read(Reader.version) == -1
        assert await reader.read(Reader.runs) == []
        writer = Writer(path)
        writer.call(lambda connection: create_run(connection, NewRun("r1", "shop", "i", 1.0))).result(10)
        writer.close()
        assert [row.run for row in await reader.read(Reader.runs)] == ["r1"]
    assert_all_closed(path)


@pytest.mark.anyio
async def test_a_file_that_is_no_database_is_an_error_each_time(tmp_path: Path) -> None:
    path = tmp_path / "deck.db"
    path.write_bytes(b"this is not a database, whatever it is called" * 100)
    async with AsyncReader(path) as reader:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"deck\.db"):
                await reader.read(Reader.version)
    assert_all_closed(path)


@pytest.mark.anyio
async def test_closing_interrupts_a_query_that_does_not_end(db: Path) -> None:
    reader = AsyncReader(db)
    query = asyncio.create_task(reader.read(Reader.select, FOREVER))
    await asyncio.sleep(0.05)
    assert not query.done()
    await reader.close()
    with pytest.raises(StoreError):
        await query
    assert_all_closed(db)


@pytest.mark.anyio
async def test_a_cancelled_query_is_interrupted_when_its_reader_is_closed(db: Path) -> None:
    async def read() -> None:
        async with AsyncReader(db) as reader:
            await reader.read(Reader.select, FOREVER)

    query = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    query.cancel()
    await asyncio.sleep(0)
    query.cancel()  # also while it is closing
    with pytest.raises(asyncio.CancelledError):
        await query
    assert_all_closed(db)


@pytest.mark.anyio
async def test_a_query_of_many_statements_ends_at_the_next_one(db: Path) -> None:
    def many(reader: Reader) -> None:
        while True:
            reader.version()

    reader = AsyncReader(db)
    query = asyncio.create_task(reader.read(many))
    await asyncio.sleep(0.05)
    await reader.close()
    with pytest.raises(StoreError, match="interrupted"):
        await query
    assert_all_closed(db)


@pytest.mark.anyio
async def test_closing_does_not_wait_for_a_disk_that_hangs(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_reader, "CLOSE_TIMEOUT", 0.05)
    hangs = threading.Event()
    reader = AsyncReader(db)
    query = asyncio.create_task(reader.read(lambda _: hangs.wait(30)))
    await asyncio.sleep(0.05)
    await reader.close()
    assert not query.done()
    hangs.set()
    assert await query
    assert_all_closed(db)


@pytest.mark.anyio
async def test_opening_that_is_cancelled_leaves_nothing_open(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> object:
        connection = open_for_reading(path)
        opened.set()
        go_on.wait(30)
        return connection

    monkeypatch.setattr(async_reader, "open_for_reading", slow)
    reader = AsyncReader(db)
    query = asyncio.create_task(reader.read(Reader.version))
    await asyncio.to_thread(opened.wait, 30)
    query.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await query
    await reader.close()
    assert_all_closed(db)


def test_the_loop_goes_on_while_the_store_is_locked(db: Path) -> None:
    """A lock held by another process keeps no other task of the loop waiting."""
    import sqlite3

    other = sqlite3.connect(db, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")

    async def main() -> int:
        turns = 0
        async with AsyncReader(db) as reader:
            query = asyncio.create_task(reader.read(Reader.runs))
            for _ in range(20):
                await asyncio.sleep(0.002)
                turns += 1
            query.cancel()
        return turns

    assert asyncio.run(main()) == 20
    other.close()
    assert_all_closed(db)


def test_no_file_of_the_store_stays_open(db: Path) -> None:
    assert_all_closed(db)
    reader = Reader(db)
    if Path("/proc/self/fd").exists():
        with pytest.raises(AssertionError, match=r"deck\.db"):
            assert_all_closed(db, seconds=0.1)
    reader.close()
    assert_all_closed(db)
