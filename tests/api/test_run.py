"""`Workflow.start`: the handle of a run, with a store and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentdeck import InvalidFile, Run, RunFailed, StoreError, UsageError, Workflow, open_store
from agentdeck.api.memory import KEPT_EVENTS
from tests.api.shop import shop, slow

pytestmark = pytest.mark.anyio

STORES = pytest.mark.parametrize("stored", [False, True])


def store(folder: Path, stored: bool) -> Path | None:
    return folder / "runs.db" if stored else None


# Starting -------------------------------------------------------------------------------------------------------


async def test_a_run_has_begun_when_its_handle_is_there(tmp_path: Path) -> None:
    gate = asyncio.Event()
    run = await slow(gate).start(db=tmp_path / "runs.db", tags=["nightly"])
    async with open_store(tmp_path / "runs.db") as opened:
        (row,) = await opened.runs()
    assert (row.run, row.state, row.tags) == (run.id, "running", ["nightly"])
    gate.set()
    assert (await run.result()).state == "done"


async def test_bad_input_is_refused_before_anything_starts(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    with pytest.raises(UsageError, match=r"shop has no input txet; did you mean text\?"):
        await shop().start(txet="x", db=db)
    with pytest.raises(UsageError, match="shop needs the input text; give it as text=…"):
        await shop().run(db=db)
    with pytest.raises(UsageError, match="workers=0 is out of range: 1 to 10000"):
        await shop().run(text="x", workers=0, db=db)
    with pytest.raises(UsageError, match="keep=-1"):
        await shop().run(text="x", keep=-1)
    broken = Workflow("broken")
    broken.add("a", prompt="hi", needs="nothing")
    with pytest.raises(InvalidFile, match="nothing"):
        await broken.run(db=db)
    assert not db.exists()


class Odd:
    """No data."""


@STORES
@pytest.mark.parametrize(
    ("tasks", "what"),
    [
        (5, "tasks is a number; give a list of maps of inputs, one map for each task"),
        ({"text": "a"}, "tasks is a map; give a list of maps"),
        (["a"], "task 1 is text; a task is a map of inputs"),
        ([{"text": "a"}, {}], "task 2: shop needs the input text"),
        ([{"text": "a"}, {"text": "a", "more": 1}], "task 2: shop has no input more"),
        ([{"text": Odd()}], "task 1: the input text is of type Odd, which is not plain data; give a dict"),
        ([{"text": {"a": [float("nan")]}}], "task 1: the input text.a.0. is nan, which JSON cannot represent"),
        (({"text": 1 // n} for n in (1, 0)), "the iterator of the tasks failed at task 2: ZeroDivisionError"),
    ],
)
async def test_bad_tasks_are_named(tmp_path: Path, stored: bool, tasks: Any, what: str) -> None:
    given = tasks if not isinstance(tasks, Iterator) else ({"text": 1 // n} for n in (1, 0))  # once for each
    with pytest.raises(UsageError, match=what):
        await shop().run(tasks=given, db=store(tmp_path, stored))


async def test_inputs_have_the_types_that_the_workflow_declares() -> None:
    made = Workflow("made", inputs={"n": "integer", "who": {"type": "string", "default": None}}, output="${one}")

    @made.agent
    def one(n: int, who: str | None) -> list[object]:
        return [n, who]

    with pytest.raises(UsageError, match="the input n is 'many', not an integer"):
        await made.run(n="many")
    assert (await made.run(n=3, who=None)).output == [3, None]


async def test_models_and_dataclasses_are_inputs(tmp_path: Path) -> None:
    @dataclass
    class Order:
        sku: str

    made = Workflow("made", output="${one}")

    @made.agent
    def one(order: dict[str, str]) -> str:
        return order["sku"]

    result = await made.run(tasks=[{"order": Order("KB-87")}], db=tmp_path / "runs.db")
    assert [(task.inputs, task.output) async for task in result.tasks()] == [
        ({"order": {"sku": "KB-87"}}, "KB-87")
    ]


async def test_a_store_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="this is a folder"):
        await shop().start(text="x", db=tmp_path)
    with pytest.raises(StoreError, match="this is a folder"):
        async with open_store(tmp_path):
            pass


async def test_inputs_that_are_named_like_arguments() -> None:
    made = Workflow("made", output="${one}")

    @made.agent
    def one(db: str, tasks: int, given: int) -> list[object]:
        return [db, tasks, given]

    assert (await made.run({"db": "x", "tasks": 2}, given=3)).output == ["x", 2, 3]


@STORES
async def test_a_block_waits_for_the_run_and_raises_what_it_did_not_say(tmp_path: Path, stored: bool) -> None:
    async with shop().start(text="x", db=store(tmp_path, stored)) as run:
        pass
    assert (await run.status()).state == "done"
    with pytest.raises(RunFailed, match=r"shop: run \w+ ended failed: payment: ValueError: no money for x"):
        async with shop({"x"}).start(text="x", db=store(tmp_path, stored)):
            pass
    async with shop({"x"}).start(text="x", db=store(tmp_path, stored)) as run:
        assert (await run.wait()).state == "failed"  # the caller knows: nothing is raised at the end


async def test_a_workflow_in_a_file_is_run_by_a_program(tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    (tmp_path / "own_shop.py").write_text("def pay(text):\n    return text.upper()\n")
    file.write_text(
        "agentdeck: 1\nname: order\ninputs: { text: string }\noutput: ${pay}\n"
        "agents: { pay: { python: 'own_shop:pay' } }\n"
    )
    order = Workflow.from_file(file)
    result = await order.run(text="x", db=tmp_path / "runs.db")
    assert result.output == "X"
    with pytest.raises(ValueError, match="order was loaded from"):
        order.add("more", command=["true"])
    with pytest.raises(InvalidFile, match="no such file"):
        Workflow.from_file(tmp_path / "none.yaml")
    file.write_text(file.read_text().replace("own_shop:pay", "own_shop:gone"))
    with pytest.raises(InvalidFile, match="gone"):
        Workflow.from_file(file)


# What it is doing -----------------------------------------------------------------------------------------------


@STORES
async def test_status_while_it_runs_and_after(tmp_path: Path, stored: bool) -> None:
    gate = asyncio.Event()
    async with slow(gate).start(tasks=[{"n": n} for n in range(5)], workers=2, db=store(tmp_path, stored)) as run:
        status = await run.status()
        assert (status.run, status.workflow, status.state) == (run.id, "slow", "running")
        assert (status.tasks.total, status.tasks.done) == (5, 0)
        await run.pause()
        assert (await run.status()).state == "paused"
        await run.unpause()
        gate.set()
        await run.result()
        status = await run.status()
        assert (status.state, status.tasks.done) == ("done", 5)


@STORES
async def test_events_come_while_it_runs_each_once_and_in_order(tmp_path: Path, stored: bool) -> None:
    gate = asyncio.Event()
    async with slow(gate).start(tasks=[{"n": n} for n in range(50)], db=store(tmp_path, stored)) as run:
        seqs, kinds = [], []
        async for event in run.events():
            seqs.append(event.seq)
            kinds.append(event.kind)
            if event.kind == "step_started":
                gate.set()  # only an event that comes while it runs can open it
        assert seqs == list(range(1, len(seqs) + 1))
        assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")
        assert kinds.count("task_ended") == 50
        later = [event async for event in run.events(after=seqs[-3])]
        assert [event.seq for event in later] == seqs[-2:]
        outputs = {event.task: event.get("output") async for event in run.events() if event.kind == "task_ended"}
        assert outputs["7"] == 6


@STORES
async def test_a_reader_that_stops_early_leaves_the_run_alone(tmp_path: Path, stored: bool) -> None:
    async with shop().start(tasks=[{"text": f"{n}"} for n in range(20)], db=store(tmp_path, stored)) as run:
        async for event in run.events():
            if event.kind == "step_started":
                break
        async for task in run.results():
            assert task.state == "done"
            break
        assert (await run.result()).state == "done"


@pytest.mark.untraced
async def test_a_reader_that_is_too_far_behind_without_a_store_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.api.memory.UNREAD", 2 * KEPT_EVENTS)
    async with shop().start(tasks=[{"text": f"{n}"} for n in range(1000)]) as run:

        async def read_slowly() -> None:
            async for _ in run.events():
                await run.result()

        with pytest.raises(UsageError, match=r"events \d+ to \d+ of \w+ are lost.*Give the run a store"):
            await read_slowly()


@pytest.mark.untraced
async def test_a_slow_reader_of_a_run_with_a_store_loses_nothing(tmp_path: Path) -> None:
    async with shop().start(tasks=[{"text": f"{n}"} for n in range(1000)], db=tmp_path / "runs.db") as run:
        events = run.events()
        first = await anext(events)
        await run.result()
        rest = [event.seq async for event in events]
        assert [first.seq, *rest] == list(range(1, len(rest) + 2))
        assert len(rest) > 2 * KEPT_EVENTS


# Steering it ----------------------------------------------------------------------------------------------------


@STORES
async def test_limits_change_while_it_runs(tmp_path: Path, stored: bool) -> None:
    gate = asyncio.Event()
    async with slow(gate).start(tasks=[{"n": n} for n in range(9)], workers=1, db=store(tmp_path, stored)) as run:
        await run.set_limit("workers", 3)
        await run.set_limit("agents.work.timeout", "5s")
        with pytest.raises(UsageError, match="there is no limit speed; there are workers"):
            await run.set_limit("speed", 3)
        with pytest.raises(UsageError, match="workers=-1 is out of range: 0 to"):
            await run.set_limit("workers", -1)
        with pytest.raises(UsageError, match="'many' is not a whole number"):
            await run.set_limit("workers", "many")
        gate.set()
        await run.result()
    changed = {e.get("name"): e.get("new") async for e in run.events() if e.kind == "limit_changed"}
    assert changed == {"workers": 3, "agents.work.timeout": 5.0}


@STORES
async def test_cancelling_twice(tmp_path: Path, stored: bool) -> None:
    async with slow(asyncio.Event()).start(db=store(tmp_path, stored)) as run:
        await run.cancel()
        await run.cancel()
        with pytest.raises(RunFailed, match="ended cancelled"):
            await run.result()
        await run.cancel()
    assert (await run.status()).state == "cancelled"


@STORES
async def test_cancelling_one_task(tmp_path: Path, stored: bool) -> None:
    gate = asyncio.Event()
    async with slow(gate).start(tasks=[{"n": n} for n in range(3)], db=store(tmp_path, stored)) as run:
        async for event in run.events():
            if event.kind == "step_started" and event.task == "2":
                break
        await run.cancel("2")
        with pytest.raises(UsageError, match="task 9 is not open"):
            await run.cancel("9")
        gate.set()
        result = await run.wait()
        assert {task.task: task.state async for task in result.tasks()} == {
            "1": "done",
            "2": "cancelled",
            "3": "done",
        }


@STORES
async def test_a_run_that_is_over_takes_no_command(tmp_path: Path, stored: bool) -> None:
    async with shop().start(text="x", db=store(tmp_path, stored)) as run:
        await run.result()
        for command in (run.set_limit("workers", 3), run.answer("payment"), run.pause()):
            with pytest.raises(UsageError, match=f"{run.id} has ended"):
                await command


async def test_a_drained_run_is_resumed(tmp_path: Path) -> None:
    gate = asyncio.Event()
    work = slow(gate)
    async with work.start(tasks=[{"n": n} for n in range(9)], workers=1, db=tmp_path / "runs.db") as run:
        await run.drain()
        gate.set()
        result = await run.wait()
        assert result.state == "drained"
        with pytest.raises(RunFailed, match=r"was drained before its end; continue with run.resume\(\)"):
            await run.result()
        await run.resume()
        assert (await run.result()).summary["tasks"]["done"] == 9
        with pytest.raises(UsageError, match="has ended"):
            await run.resume()


# Retrying -------------------------------------------------------------------------------------------------------


async def test_what_failed_is_retried_after_the_end(tmp_path: Path) -> None:
    broken = {"b", "d"}
    async with shop(broken).start(tasks=[{"text": t} for t in "abcd"], db=tmp_path / "runs.db") as run:
        assert (await run.wait()).state == "failed"
        broken.clear()
        assert await run.retry_failed(task="2") == 1
        assert (await run.wait()).state == "failed"
        assert await run.retry_failed() == 1
        result = await run.result()
        assert [task.output async for task in result.tasks()] == [{"paid": t} for t in "abcd"]
        assert await run.retry_failed() == 0
    ends = [(task.task, task.state) async for task in run.results()]
    assert ends[-2:] == [("2", "done"), ("4", "done")]
    assert len(ends) == 6
    retried = [task async for task in run.results()][-1]
    assert retried.inputs == {"text": "d"}  # as it was before it was opened again
    assert retried.steps["extract"].output == {"text": "d"}


async def test_what_failed_is_retried_while_the_run_goes_on(tmp_path: Path) -> None:
    broken, gate = {"bad"}, asyncio.Event()
    made = shop(broken)

    @made.agent
    async def last(payment: object, text: str) -> str:
        if text == "slow":
            await gate.wait()
        return text

    async with made.start(tasks=[{"text": "slow"}, {"text": "bad"}], db=tmp_path / "runs.db") as run:
        states = []
        async for task in run.results():
            states.append((task.task, task.state))
            if task.state == "failed":
                broken.clear()
                assert await run.retry_failed() == 1
                assert (await run.status()).state == "running"
                gate.set()
        assert (await run.result()).state == "done"
    assert states[0] == ("2", "failed")
    assert sorted(states[1:]) == [("1", "done"), ("2", "done")]


async def test_a_run_of_which_nothing_has_failed_yet_has_nothing_to_retry(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with slow(gate).start(db=tmp_path / "runs.db") as run:
        assert await run.retry_failed() == 0
        with pytest.raises(UsageError, match=f"{run.id} is executing already"):
            await run.resume()
        gate.set()


async def test_a_retry_needs_a_store() -> None:
    run: Run = await shop({"x"}).start(text="x")
    await run.wait()
    with pytest.raises(UsageError, match=r"has no store, which is needed to retry it: start it with db="):
        await run.retry_failed()
    with pytest.raises(UsageError, match="needed to resume it"):
        await run.resume()
