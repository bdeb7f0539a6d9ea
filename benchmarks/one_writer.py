"""Group commit by the writer's thread, against aiosqlite with a commit for each record.

    python -m benchmarks.one_writer [--records 4000]

Both write the same events into the same schema, with `synchronous = FULL`. Some tasks of one event loop record
an event, wait until it is on disk, and record the next, as the steps of a workflow do. Prints records per second,
and the time until a record is on disk. docs/adr/0001-one-writer.md has ratios of these rows.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import aiosqlite

from agentdeck.scheduler.events import Event, StepSucceeded
from agentdeck.store.codec import encode
from agentdeck.store.schema import open_for_writing
from agentdeck.store.writer import Writer

TASKS = (1, 16, 64, 256)
INSERT = "INSERT INTO event_log (id, at, kind, task, step, data, result) VALUES (?, ?, 1, ?, ?, ?, ?)"


def event(number: int) -> Event:
    return StepSucceeded(float(number), str(number), "extract", 1, {"id": number, "text": "x" * 200})


class GroupCommit:
    """Hands records to the writer; a future of each is done when the writer reports it committed."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._committed = self._count = 0
        self._writer = Writer(path, self._committed_up_to)

    def _committed_up_to(self, _run: str, seq: int) -> None:
        self._loop.call_soon_threadsafe(self._done, seq)

    def _done(self, last: int) -> None:
        for seq in range(self._committed + 1, last + 1):
            self._waiting.pop(seq).set_result(None)
        self._committed = last

    async def record(self) -> None:
        self._count += 1
        future = self._waiting[self._count] = self._loop.create_future()
        self._writer.append("r", self._count, [event(self._count)])
        await future

    async def close(self) -> None:
        await asyncio.to_thread(self._writer.close)


class CommitEach:
    """Inserts and commits each record through aiosqlite: two calls into its thread, one sync of the disk."""

    def __init__(self, path: Path) -> None:
        self._connection = aiosqlite.Connection(lambda: open_for_writing(path), 64)
        self._opened = False
        self._lock = asyncio.Lock()
        self._count = 0

    async def record(self) -> None:
        self._count += 1
        seq, one = self._count, event(self._count)
        async with self._lock:  # as statements of another record would be committed with this one
            if not self._opened:
                await self._connection
                self._opened = True
            await self._connection.execute("BEGIN IMMEDIATE")
            await self._connection.execute_fetchall(INSERT, (seq, one.at, *encode(one)[1:]))
            await self._connection.execute("COMMIT")

    async def close(self) -> None:
        await self._connection.close()


async def measure(
    make: Callable[[Path], GroupCommit | CommitEach], records: int, tasks: int
) -> tuple[float, float, float]:
    """Records per second, and the median and 95th percentile of the milliseconds until one is on disk."""
    took: list[float] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        store = make(Path(folder) / "bench.db")
        await store.record()

        async def work(record: Callable[[], Awaitable[None]]) -> None:
            while len(took) + tasks <= records:
                since = time.perf_counter()
                await record()
                took.append((time.perf_counter() - since) * 1000)

        since = time.perf_counter()
        await asyncio.gather(*(work(store.record) for _ in range(tasks)))
        seconds = time.perf_counter() - since
        await store.close()
    took.sort()
    return len(took) / seconds, median(took), took[int(len(took) * 0.95)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4000)
    records: int = parser.parse_args().records
    print("| tasks | | records/s | until on disk, p50 | p95 |")
    print("|---|---|---|---|---|")
    for tasks in TASKS:
        for name, make in (("group commit", GroupCommit), ("aiosqlite", CommitEach)):
            most = records if make is GroupCommit or tasks > 1 else records // 4
            rate, middle, high = asyncio.run(measure(make, most // (4 if tasks == 1 else 1), tasks))
            print(f"| {tasks} | {name} | {rate:,.0f} | {middle:.2f} ms | {high:.2f} ms |", flush=True)


if __name__ == "__main__":
    main()
