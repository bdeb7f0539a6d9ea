"""Runs inside a program: several at once, cancelled from outside, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from agentdeck import AgentdeckError, Run, RunFailed, StoreError, UsageError, Workflow, open_store
from agentdeck.engine.observers import EventBatch
from tests.api.shop import shop, slow
from tests.waiting import until

pytestmark = pytest.mark.anyio


def own_threads() -> set[str]:
    """Threads that a run may start, but those that wait in a pool of the loop."""
    return {one.name for one in threading.enumerate() if one.name.startswith("agentdeck")}


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = own_threads()
    yield
    until(lambda: own_threads() <= before)


# Several at once ------------------------------------------------------------------------------------------------


async def test_two_runs_in_one_loop_keep_apart(tmp_path: Path) -> None:
    """One with a store and one without, whose agents print and log at the same time."""
    made = Workflow("printing")

    @made.agent
    async def work(n: int) -> int:
        await asyncio.sleep(0.001)
        print(f"printed {n}")
        return n

    async def outputs(first: int, db: Path | None) -> list[int]:
        async with made.start(tasks=[{"n": first + n} for n in range(50)], db=db) as run:
            return sorted([task.output async for task in run.results()])

    db = tmp_path / "runs.db"
    found = await asyncio.gather(outputs(0, db), outputs(100, None), outputs(200, db))
    assert list(found) == [list(range(50)), list(range(100, 150)), list(range(200, 250))]
    async with open_store(db) as store:
        printed = [sorted([line.text async for line in store.logs(row.run)]) for row in await store.runs()]
    assert sorted(printed) == [sorted(f"printed {first + n}" for n in range(50)) for first in (0, 200)]


async def test_a_result_can_be_awaited_from_many_places() -> None:
    gate = asyncio.Event()
    async with slow(gate).start(n=3) as run:
        waiting = [asyncio.create_task(run.result()) for _ in range(5)]
        waiting[0].cancel()
        with suppress(asyncio.CancelledError):
            await waiting[0]
        gate.set()  # one that was cancelled did not stop the run
        assert [one.state for one in await asyncio.gather(*waiting[1:])] == ["done"] * 4


# Cancelled from outside -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("how", ["task", "scope", "timeout"])
async def test_cancelling_the_task_that_awaits_a_run_stops_it(tmp_path: Path, how: str) -> None:
    """A command that runs then is ended too, and the run can be resumed."""
    db, mark = tmp_path / "runs.db", tmp_path / "mark"
    made = Workflow("long", inputs={"mark": "string"})
    made.add("sleep", command=["sh", "-c", 'echo $$ > "$0.new"; mv "$0.new" "$0"; sleep 600', "${inputs.mark}"])

    if how == "task":
        task = asyncio.create_task(made.run(mark=str(mark), db=db))
        await anyio.to_thread.run_sync(until, mark.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif how == "scope":
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: made.run(mark=str(mark), db=db))
            await anyio.to_thread.run_sync(until, mark.exists)
            group.cancel_scope.cancel()
    else:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.run(mark=str(mark), db=db), 2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    async with open_store(db) as store:
        assert (await store.runs())[0].state == "interrupted"


@pytest.mark.usefixtures("nothing_left")
async def test_an_error_in_the_block_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with slow(asyncio.Event()).start(db=tmp_path / "runs.db") as run:
            raise ZeroDivisionError
    assert (await run.status()).state == "interrupted"
    with pytest.raises(AgentdeckError, match=f"{run.id} was stopped before its end"):
        await run.result()


@pytest.mark.usefixtures("nothing_left")
async def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no store")
    with pytest.raises(StoreError):
        await shop().run(text="x", db=tmp_path / "file")


def test_a_run_that_is_left_alone_does_not_keep_the_program(tmp_path: Path) -> None:
    program = (
        "import asyncio\nfrom agentdeck import Workflow\n"
        "made = Workflow('made')\n"
        "made.add('wait', simulate={'takes': '600s'})\n"
        "async def main():\n    run = await made.start(db='runs.db')\n    print((await run.status()).state)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "running\n", "")


# Other than asyncio ---------------------------------------------------------------------------------------------


def test_another_event_loop_than_that_of_asyncio_is_refused() -> None:
    with pytest.raises(UsageError, match="agentdeck runs on asyncio's event loop"):
        shop().run(text="x").send(None)  # as trio's loop does


# Observers ------------------------------------------------------------------------------------------------------


class Collected:
    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.closed = 0
        self.thread = ""

    def observe(self, batch: EventBatch) -> None:
        self.seqs += [seq for seq, _ in batch.numbered()]
        self.thread = threading.current_thread().name

    def close(self) -> None:
        self.closed += 1


async def test_observers_get_each_event_in_a_thread_of_their_own(tmp_path: Path) -> None:
    broken = {"x"}
    observer = Collected()
    async with shop(broken).start(text="x", db=tmp_path / "runs.db", observers=[observer]) as run:
        with pytest.raises(RunFailed):
            await run.result()
        assert observer.seqs == [event.seq async for event in run.events()]
        assert observer.closed == 1
        assert observer.thread.startswith("agentdeck-observer")
        broken.clear()
        assert await run.retry_failed() == 1
        await run.result()
    assert observer.closed == 1  # it belongs to the first execution


# What others do meanwhile ---------------------------------------------------------------------------------------


async def test_a_run_in_another_process_is_followed_and_steered(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    (tmp_path / "long.yaml").write_text(
        "agentdeck: 1\nname: long\n"
        "agents: { one: { simulate: { takes: 60s } }, two: { simulate: { takes: 1ms } } }\n"
    )
    arguments = ["run", "long.yaml", "--db", str(db), "--run-id", "otherrun01"]
    command = [sys.executable, "-m", "agentdeck.cli.main", *arguments]
    async with await anyio.open_process(command, cwd=tmp_path, stdout=None, stderr=None) as process:
        try:
            await _follow_and_cancel(db)
        finally:
            if process.returncode is None:
                process.terminate()


async def _follow_and_cancel(db: Path) -> None:
    async with open_store(db) as store:
        while not await store.runs():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.05)
        run: Run = await store.run("otherrun01")
    assert (await run.status()).state == "running"
    await run.set_limit("workers", 3)
    with pytest.raises(UsageError, match="there is no limit speed"):
        await run.set_limit("speed", 3)
    with pytest.raises(UsageError, match="is running in process"):
        await run.resume()
    kinds = []
    async for event in run.events():
        kinds.append(event.kind)
        if event.kind == "limit_changed":
            await run.cancel()
    assert kinds[-1] == "run_ended"
    result = await run.wait()
    assert result.state == "cancelled"
    assert result.steps["two"].state == "done"
