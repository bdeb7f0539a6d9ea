"""`open_store`: what is recorded of runs, and the handles of runs that other processes may execute."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import agentdeck
from agentdeck import RunFailed, StoreError, UsageError, open_store
from tests.api.shop import shop, slow
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def recorded(db: Path) -> list[str]:
    """Three runs, of which the last has failed tasks; their ids, the oldest first."""
    ids = []
    for number, tag in enumerate(("first", "second")):
        ids.append((await shop().run(text=f"{number}", db=db, tags=[tag])).run)
    failed = await shop({"b", "c"}).run(tasks=[{"text": t} for t in "abcd"], db=db, check=False)
    return [*ids, failed.run]


async def test_runs_are_found(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    first, second, failed = await recorded(db)
    async with open_store(db) as store:
        everything = await store.runs()
        assert [row.run for row in everything] == [failed, second, first]
        assert [row.run for row in await store.runs(1, before=everything[0])] == [second]
        assert [row.run for row in await store.runs(tag="first")] == [first]
        assert [row.run for row in await store.runs(state="failed")] == [failed]
        assert [row.run for row in await store.runs(text="SECOND")] == [second]
        assert await store.runs(workflow="other") == []
        assert (await store.run()).id == failed
        with pytest.raises(UsageError, match="no run nothing in"):
            await store.run("nothing")
        assert (everything[0].tasks.done, everything[0].tasks.failed) == (2, 2)


async def test_what_is_recorded_of_a_run(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    failed = (await recorded(db))[-1]
    async with open_store(db) as store:
        assert [task.state async for task in store.results()] == ["done", "failed", "failed", "done"]
        letters = [letter async for letter in store.dead_letters()]
        assert [(one.run, one.task, one.step, one.error.message) for one in letters] == [
            (failed, "2", "payment", "ValueError: no money for b"),
            (failed, "3", "payment", "ValueError: no money for c"),
        ]
        assert [one async for one in store.dead_letters(state="dropped")] == []
        assert len([one async for one in store.dead_letters(failed, state=None)]) == 2
        summary = await store.summary()
        assert (summary.state, summary.letters, summary.tasks.failed) == ("failed", 2, 2)
        steps = await store.steps(failed, "2")
        assert {name: step.state for name, step in steps.items()} == {"extract": "done", "payment": "failed"}
        step = await store.step(failed, "2", "payment")
        assert [attempt.state for attempt in step.attempts] == ["failed"]
        assert step.inputs["extract"] == {"text": "b"}
        with pytest.raises(UsageError, match=f"{failed} has no task 9"):
            await store.task(failed, "9")
        with pytest.raises(UsageError, match="did you mean payment"):
            await store.step(failed, "2", "paymnet")
        events = [event async for event in store.events(failed)]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.seq async for event in store.events(failed, after=events[-3].seq)] == [
            event.seq for event in events[-2:]
        ]
        run = await store.run(failed)
        assert [event async for event in run.events()] == events


async def test_pages_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.api.store.PAGE", 3)
    made = shop(set("abcdefgh"))

    @made.agent
    def noisy(text: str) -> None:
        print(text)

    result = await made.run(tasks=[{"text": t} for t in "abcdefghij"], db=tmp_path / "runs.db", check=False)
    async with open_store(tmp_path / "runs.db") as store:
        assert len([letter async for letter in store.dead_letters()]) == 8
        lines = [line async for line in store.logs(agent="noisy")]
        assert sorted(line.text for line in lines) == list("abcdefghij")
        assert {line.run for line in lines} == {result.run}
        assert len([line async for line in store.logs(agent="noisy", after=lines[6].id)]) == 3
        assert [line.text async for line in store.logs(task="2", agent="noisy")] == ["b"]
        events = [event.seq async for event in store.events()]
        assert events == list(range(1, len(events) + 1))


async def test_a_file_that_is_not_there_is_a_store_without_runs(tmp_path: Path) -> None:
    async with open_store(tmp_path / "later.db") as store:
        assert await store.runs() == []
        with pytest.raises(UsageError, match="no runs yet"):
            await store.run()
        await shop().run(text="x", db=tmp_path / "later.db")
        assert len(await store.runs()) == 1  # the same store sees it


async def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no store at all, but a text that is long enough to be looked at")
    async with open_store(tmp_path / "text") as store:
        with pytest.raises(StoreError, match="text"):
            await store.runs()


async def test_without_a_path_it_is_the_store_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTDECK_DB", str(tmp_path / "named.db"))
    await shop().run(text="x", db=tmp_path / "named.db")
    async with open_store() as store:
        assert len(await store.runs()) == 1


async def test_a_run_of_the_store_has_a_result(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    first, _, failed = await recorded(db)
    async with open_store(db) as store:
        assert (await (await store.run(first)).result()).output == {"paid": "0"}
        run = await store.run(failed)
        with pytest.raises(RunFailed, match="payment: ValueError: no money for b") as raised:
            await run.result()
        assert len([task async for task in raised.value.result.tasks()]) == 4
        assert len([task async for task in run.results()]) == 4
        assert await run.questions() == []
        await run.cancel()  # it is over: nothing happens
        with pytest.raises(UsageError, match="has ended"):
            await run.pause()


async def test_a_run_of_the_store_is_retried_in_this_process(tmp_path: Path) -> None:
    """With the functions of the workflow, as the run has no file that holds them."""
    db = tmp_path / "runs.db"
    failed = (await recorded(db))[-1]
    async with open_store(db) as store:
        run = await store.run(failed, functions=shop().functions)
        assert await run.retry_failed(agent="payment") == 2
        result = await run.result()
        assert [task.output async for task in result.tasks()] == [{"paid": t} for t in "abcd"]
        assert await run.retry_failed() == 0


async def test_an_interrupted_run_of_the_store_is_resumed_by_a_workflow(tmp_path: Path) -> None:
    db, gate = tmp_path / "runs.db", asyncio.Event()
    work = slow(gate)
    run = await work.start(tasks=[{"n": n} for n in range(5)], db=db)
    await run.stop()
    assert (await run.status()).state == "interrupted"
    async with open_store(db) as store:
        stored = await store.run()
        with pytest.raises(RunFailed, match=r"was interrupted before its end; continue with run.resume\(\)"):
            await stored.result()
    gate.set()
    async with work.resume(run.id, db=db) as again:
        result = await again.result()
    assert sorted([task.output async for task in result.tasks()]) == list(range(5))


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path / "runs.db")
    await store.close()
    with pytest.raises(StoreError, match="this reader is closed"):
        await store.runs()


async def test_results_can_be_read_twice_at_once(tmp_path: Path) -> None:
    failed = (await recorded(tmp_path / "runs.db"))[-1]
    async with open_store(tmp_path / "runs.db") as store:
        one, two = store.results(failed), store.results(failed)
        assert [(await anext(one)).task, (await anext(two)).task] == ["1", "1"]
        assert [task.task async for task in one] == [task.task async for task in two] == ["2", "3", "4"]


def test_public_names_have_a_help_with_an_example() -> None:
    for thing in (agentdeck.Workflow.run, agentdeck.Workflow.start, agentdeck.Run, agentdeck.open_store):
        assert "    " in str(thing.__doc__)
        assert "await " in str(thing.__doc__) or "async " in str(thing.__doc__)
    for name in (
        "answer",
        "cancel",
        "drain",
        "events",
        "result",
        "results",
        "retry_failed",
        "set_limit",
        "status",
    ):
        assert getattr(agentdeck.Run, name).__doc__


async def test_a_reader_that_stops_in_the_middle_leaves_no_thread(tmp_path: Path) -> None:
    def connections() -> int:
        return sum(thread.name == "agentdeck-aiosqlite" for thread in threading.enumerate())

    await recorded(tmp_path / "runs.db")
    async with open_store(tmp_path / "runs.db") as store:
        run = await store.run()
    result, before = await run.wait(), connections()
    for _ in range(3):
        async for _ in run.events():
            break
        async for _ in run.results():
            break
        async for _ in result.tasks():
            break
    await anyio.to_thread.run_sync(until, lambda: connections() <= before)
