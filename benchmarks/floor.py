"""The floor: what bare asyncio and bare SQLite can do, with nothing recorded, limited, retried or shown."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

from benchmarks.graphs import Needs


async def _task(needs: Needs, slots: asyncio.Semaphore, takes: dict[str, float]) -> None:
    """One task: each agent is a coroutine that starts when all it needs has ended."""
    ended = {name: asyncio.Event() for name in needs}

    async def step(name: str) -> None:
        for need in needs[name]:
            await ended[need].wait()
        async with slots:
            if takes:
                await asyncio.sleep(takes[name])
        ended[name].set()

    async with asyncio.TaskGroup() as group:
        for name in needs:
            group.create_task(step(name))


async def _run(needs: Needs, tasks: int, workers: int, takes: dict[str, float]) -> None:
    slots = asyncio.Semaphore(workers)
    left = iter(range(tasks))

    async def feed() -> None:
        for _ in left:
            await _task(needs, slots, takes)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(tasks, workers + 1)):
            group.create_task(feed())


def run(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    """Seconds for so many tasks. With `db`, one row per step is then written in groups and committed."""
    begin = time.perf_counter()
    asyncio.run(_run(needs, tasks, workers, takes))
    if db is not None:
        _write(db, tasks * len(needs), group=workers)
    return time.perf_counter() - begin


def _write(db: Path, rows: int, group: int) -> None:
    with sqlite3.connect(db, isolation_level=None) as store:
        store.execute("pragma journal_mode = wal")
        store.execute("pragma synchronous = full")
        store.execute("create table log (seq integer primary key, body text)")
        for at in range(0, rows, group):
            store.execute("begin")
            store.executemany("insert into log (body) values (?)", [("done",)] * min(group, rows - at))
            store.execute("commit")


def commit_seconds(db: Path, commits: int = 200) -> float:
    """One commit on this disk, at the median."""
    spent: list[float] = []
    with sqlite3.connect(db, isolation_level=None) as store:
        store.execute("pragma journal_mode = wal")
        store.execute("pragma synchronous = full")
        store.execute("create table log (seq integer primary key, body text)")
        for _ in range(commits):
            begin = time.perf_counter()
            store.execute("insert into log (body) values ('done')")
            spent.append(time.perf_counter() - begin)
    return sorted(spent)[commits // 2]
