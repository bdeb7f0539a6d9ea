"""Results of tasks and steps: outputs, errors, and where they are kept."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agentdeck import Permanent, Result, RunFailed, TaskResult, UsageError, Workflow, open_store
from agentdeck.store.final_states import final_states
from agentdeck.store.task_outcomes import PAGE
from tests.api.shop import shop

pytestmark = pytest.mark.anyio

STORES = pytest.mark.parametrize("stored", [False, True])


def store(folder: Path, stored: bool) -> Path | None:
    return folder / "runs.db" if stored else None


async def tasks_of(result: Result) -> list[TaskResult]:
    return [task async for task in result.tasks()]


# One task -------------------------------------------------------------------------------------------------------


@STORES
async def test_one_task_has_its_output_its_steps_and_its_summary(tmp_path: Path, stored: bool) -> None:
    result = await shop().run(text="x", db=store(tmp_path, stored))
    assert (result.state, result.output, result.error) == ("done", {"paid": "x"}, None)
    assert result.steps["extract"].output == {"text": "x"}
    assert result.steps["payment"].attempts == 1
    assert result.steps["payment"].seconds is not None
    assert result.summary["tasks"]["done"] == 1
    (task,) = await tasks_of(result)
    assert (task.inputs, task.output, task.steps) == ({"text": "x"}, {"paid": "x"}, result.steps)


@STORES
async def test_an_error_says_where_and_why(tmp_path: Path, stored: bool) -> None:
    result = await shop({"x"}).run(text="x", db=store(tmp_path, stored), check=False)
    assert result.error is not None
    assert (result.error.step, result.error.agent, result.error.kind) == ("payment", "payment", "exception")
    assert result.error.message == "ValueError: no money for x"
    assert "raise ValueError" in result.error.detail
    assert result.steps["payment"].error == result.error
    assert (result.steps["extract"].state, result.steps["payment"].state) == ("done", "failed")


async def test_a_result_is_written_and_read_as_json(tmp_path: Path) -> None:
    result = await shop({"x"}).run(text="x", db=tmp_path / "runs.db", check=False)
    read = Result.model_validate_json(result.model_dump_json())
    assert read.model_dump() == result.model_dump()
    with pytest.raises(ValidationError, match="summary\n  Field required"):
        Result.model_validate({key: value for key, value in result.model_dump().items() if key != "summary"})
    with pytest.raises(UsageError, match=f"this result of {result.run} has no tasks"):
        await tasks_of(read)


# Many tasks -----------------------------------------------------------------------------------------------------


@STORES
async def test_each_of_many_tasks_has_its_output_or_its_error(tmp_path: Path, stored: bool) -> None:
    count = 2 * PAGE + 7  # several pages
    bad = {str(n) for n in range(0, count, 10)}
    with pytest.raises(RunFailed, match=r"21 of 207 tasks failed; result.tasks\(\) has each") as raised:
        await shop(bad).run(tasks=[{"text": str(n)} for n in range(count)], db=store(tmp_path, stored))
    result = raised.value.result
    assert result.output is None
    assert result.error is not None
    assert result.error.message.startswith("ValueError: no money for")
    assert result.steps["payment"].state == "failed"
    tasks = await tasks_of(result)
    assert [task.task for task in tasks] == [str(n + 1) for n in range(count)]
    for n, task in enumerate(tasks):
        assert task.inputs == {"text": str(n)}
        if str(n) in bad:
            assert (task.state, task.output) == ("failed", None)
            assert task.error is not None
            assert (task.error.step, task.error.message) == ("payment", f"ValueError: no money for {n}")
        else:
            assert (task.state, task.output, task.error) == ("done", {"paid": str(n)}, None)
            assert task.steps["extract"].output == {"text": str(n)}


@STORES
async def test_results_come_as_tasks_end(tmp_path: Path, stored: bool) -> None:
    gates = {n: asyncio.Event() for n in range(3)}
    made = Workflow("gates")

    @made.agent
    async def work(n: int) -> int:
        await gates[n].wait()
        return n

    async with made.start(tasks=[{"n": n} for n in range(3)], db=store(tmp_path, stored)) as run:
        seen = []
        gates[2].set()
        async for task in run.results():
            seen.append(task.output)
            if len(seen) < 3:
                gates[2 - len(seen)].set()
        assert seen == [2, 1, 0]


@pytest.mark.untraced
async def test_without_a_store_the_last_results_are_kept() -> None:
    given = [{"text": str(n)} for n in range(30)]
    result = await shop().run(tasks=given, keep=10)
    with pytest.raises(UsageError, match=r"30 tasks of \w+ have ended.* the results of the last 10 are kept"):
        await tasks_of(result)
    many = await shop().run(tasks=[{"text": str(n)} for n in range(2000)], keep=2000)
    assert [task.output["paid"] for task in await tasks_of(many)] == [str(n) for n in range(2000)]
    nothing = await shop().run(text="x", keep=0)
    assert nothing.output == {"paid": "x"}
    with pytest.raises(UsageError, match="keep=1"):
        await tasks_of(nothing)


@pytest.mark.untraced
async def test_without_a_store_a_reader_that_keeps_up_gets_all_results() -> None:
    """Also of steps that take no time, which leave the loop little to read."""
    count = 0
    async with shop().start(tasks=[{"text": str(n)} for n in range(3000)], keep=10, workers=64) as run:
        async for _ in run.results():
            count += 1
    assert count == 3000


async def test_without_a_store_a_reader_that_is_too_far_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.api.memory.UNREAD", 20)
    async with shop().start(tasks=[{"text": str(n)} for n in range(200)], keep=10) as run:

        async def read_slowly() -> None:
            async for _ in run.results():
                await run.result()

        with pytest.raises(UsageError, match=r"\d+ tasks of \w+ have ended.*the last 10 are kept"):
            await read_slowly()


async def most_held(results: AsyncIterator[TaskResult], expected: int) -> int:
    """The most bytes that are held while results are read, each of which has 40 kB."""
    held, count = 0, 0
    async for task in results:
        assert len(task.output) == 40_000
        count += 1
        if count % 20 == 0:
            gc.collect()
            held = max(held, tracemalloc.get_traced_memory()[0])
    assert count == expected
    return held


def large() -> Workflow:
    made = Workflow("large")

    @made.agent
    async def work(n: int) -> str:
        return f"{n:040000}"

    return made


def numbers(count: int) -> Iterator[Mapping[str, int]]:
    for n in range(count):
        yield {"n": n}


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


#: The outputs of so many tasks more are 20 MB more.
FEW, MANY, MUCH_LESS = 100, 600, 8_000_000


@pytest.mark.untraced
@pytest.mark.usefixtures("traced")
async def test_without_a_store_memory_does_not_grow_with_the_tasks() -> None:
    async def most(tasks: int) -> int:
        async with large().start(tasks=numbers(tasks), keep=100, workers=4) as run:
            return await most_held(run.results(), tasks)

    await most(20)  # what is imported and cached by then is not counted
    few = await most(FEW)
    assert await most(MANY) < few + MUCH_LESS


@pytest.mark.untraced
async def test_reading_results_from_a_store_takes_the_same_memory_for_any_number(tmp_path: Path) -> None:
    async def most(tasks: int, db: Path) -> list[int]:
        async with large().start(tasks=numbers(tasks), db=db) as run:
            result = await run.result()
        tracemalloc.start()
        try:
            return [await most_held(run.results(), tasks), await most_held(result.tasks(), tasks)]
        finally:
            tracemalloc.stop()

    few, many = await most(FEW, tmp_path / "few.db"), await most(MANY, tmp_path / "many.db")
    assert all(more < less + MUCH_LESS for less, more in zip(few, many, strict=True))


# Steps of many kinds --------------------------------------------------------------------------------------------


def kinds(folder: Path) -> Workflow:
    """Items, a condition, a fallback, a tolerated failure, and a sub-workflow."""
    (folder / "below.yaml").write_text(
        "agentdeck: 1\nname: below\ninputs: { n: integer }\noutput: ${deep}\n"
        "agents: { deep: { command: ['sh', '-c', 'test $0 != 3 && echo $0', '${inputs.n}'] } }\n"
    )
    made = Workflow("kinds", defaults={"retry": 1}, inputs={"n": "integer"}, output="${[items, below, optional]}")
    made._folder = folder

    @made.agent
    def numbers(n: int) -> list[int]:
        return list(range(n))

    @made.agent(each="numbers")
    def items(item: int) -> int:
        if item == 4:
            raise Permanent("four is too many")
        return item * item

    @made.agent(spare=True)
    def plan_b() -> str:
        return "b"

    @made.agent(on_error={"then": "fail", "fallback": "plan_b"})
    def plan_a(n: int) -> str:
        raise Permanent("never")

    @made.agent(on_error="continue")
    def optional(n: int) -> int:
        if n == 2:
            raise Permanent("not two")
        return n

    made.add("never", when="inputs.n > 100", simulate={"takes": "1ms"})
    made.add("below", workflow="below.yaml", with_={"n": "${inputs.n}"})
    return made


async def test_steps_of_every_kind(tmp_path: Path) -> None:
    db = tmp_path / "runs.db"
    result = await kinds(tmp_path).run(tasks=[{"n": n} for n in range(1, 6)], db=db, check=False)
    tasks = {task.inputs["n"]: task for task in await tasks_of(result)}
    assert [tasks[n].state for n in range(1, 6)] == ["done", "done", "failed", "done", "failed"]

    two = tasks[2].steps
    assert two["items"].output == [0, 1]
    assert (two["items[1]"].state, two["items[1]"].output) == ("done", 1)
    assert (two["optional"].state, two["plan_a"].agent if hasattr(two["plan_a"], "agent") else "") == (
        "failed",
        "",
    )
    assert two["optional"].error is not None
    assert two["plan_a"].output == "b"
    assert two["never"].state == "skipped"
    assert str(two["below"].output).strip() == "2"
    assert two["below/deep"].state == "done"

    three = tasks[3].error
    assert three is not None
    assert (three.step, three.kind) == ("below/deep", "exit")
    five = tasks[5].error
    assert five is not None
    assert (five.step, five.message) == ("items[4]", "four is too many")

    states = {state.task: state for state in final_states(db, result.run)}
    for task in tasks.values():
        assert (task.state, task.inputs, task.output) == states[task.task][1:4]
        assert (task.error is None) == (states[task.task].error is None)
    live = {task.task: task for task in await live_results(db, result.run)}
    assert live == {task.task: task for task in tasks.values()}


async def live_results(db: Path, run: str) -> list[TaskResult]:
    """The results as a handle reads them, from the events in their order."""
    async with open_store(db) as opened:
        return [task async for task in (await opened.run(run)).results()]


async def test_an_output_that_cannot_be_evaluated_blames_no_step() -> None:
    made = Workflow("made", output="${one < 1}")

    @made.agent
    def one() -> dict[str, Any]:
        return {}

    result = await made.run(check=False)
    assert result.error is not None
    assert (result.error.step, result.error.kind) == ("", "expression")
    assert result.steps["one"].state == "done"
