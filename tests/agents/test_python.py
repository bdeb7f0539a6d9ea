"""Python agents: what they get, what they return, how they fail."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest

from agentdeck.agents.function_call import Context
from agentdeck.agents.output_capture import capture
from agentdeck.agents.python import Python
from agentdeck.agents.python_runner import PythonVerb
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import Fault, Permanent, StepError, UsageError
from agentdeck.workflow.model import Agent, Definition

pytestmark = pytest.mark.anyio
SCOPE: dict[str, Any] = {
    "inputs": {"name": "n", "task": "mine", "b": "input"},
    "b": {"out": 1},
    "needs": {"b": {"out": 1}},
    "item": 7,
    "previous": None,
    "run": "r",
    "task": "t",
}


def verb(function: Any, needs: tuple[str, ...] = ("b",)) -> tuple[PythonVerb, Agent]:
    agent = Agent("a", Python("mod:f"), needs=needs)
    return PythonVerb(
        agent, WorkflowContext(Definition("w", {"a": agent}), Path(), anyio.sleep, {"a": function})
    ), agent


async def call(
    function: Any, *, needs: tuple[str, ...] = ("b",), said: list[Any] | None = None, **with_: Any
) -> Any:
    made, agent = verb(function, needs)
    lines: list[Any] = [] if said is None else said

    def log(text: str, level: str = "info") -> None:
        lines.append((text, level))

    return await made.run(AttemptContext("r", "t", "a", 2, agent, SCOPE, with_, log, lambda: None, deadline=9.0))


async def fault(function: Any) -> Fault:
    with pytest.raises(StepError) as caught:
        await call(function)
    return caught.value.fault


def both(function: Callable[..., Any]) -> list[Any]:
    """A function and the same one as a coroutine."""

    @functools.wraps(function)
    async def later(*args: Any, **given: Any) -> Any:
        return function(*args, **given)

    return [function, later]


async def test_parameters_go_by_name() -> None:
    def f(name: str, b: Any, item: int, needs: Any, inputs: Any, previous: Any, missing: int = 3) -> Any:
        return [name, b, item, needs, inputs["name"], previous, missing]

    for function in both(f):
        assert await call(function) == ["n", {"out": 1}, 7, {"b": {"out": 1}}, "n", None, 3]
        assert (await call(function, b="given", missing=4))[1::5] == ["given", 4]


async def test_an_input_called_task_is_not_hidden_by_the_tasks_name() -> None:
    assert await call(lambda task, run: [task, run]) == ["mine", "r"]


async def test_parameters_without_names_and_keywords_only() -> None:
    def f(name: str, /, item: int, *more: Any, b: Any) -> Any:
        return [name, item, list(more), b]

    for function in (f, both(f)[1]):
        assert await call(function) == ["n", 7, [], {"out": 1}]


async def test_the_rest_is_with_and_for_roots_the_inputs() -> None:
    def f(item: int, **rest: Any) -> Any:
        return rest

    assert await call(f, x=1, item=2) == {"x": 1}
    assert await call(f, needs=(), x=1) == {**SCOPE["inputs"], "x": 1}


async def test_what_is_not_there_is_told() -> None:
    assert await fault(lambda nobody: 1) == Fault(
        "setup", "mod:f takes nobody, which is neither an input nor a need nor in `with`"
    )


async def test_the_context() -> None:
    def f(ctx: Context) -> Any:
        ctx.log("hello", "warning")
        ctx.log("bye")
        return [ctx.run, ctx.task, ctx.step, ctx.attempt, ctx.deadline, ctx.id, ctx.cancelled()]

    for function in both(f):
        said: list[Any] = []
        assert await call(function, said=said) == ["r", "t", "a", 2, 9.0, "r/t/a#2", False]
        assert said == [("hello", "warning"), ("bye", "info")]


class Called:
    def __call__(self, name: str) -> str:
        return name

    def run(self) -> str:
        return "not this"


class CalledLater:
    async def __call__(self, name: str) -> str:
        return name


class Graph:
    async def ainvoke(self, state: dict[str, Any], config: Any = None) -> Any:
        return [state, config]

    def invoke(self, state: Any) -> Any:
        raise AssertionError


class Crew:
    def kickoff(self, inputs: dict[str, Any]) -> Any:
        return inputs


async def test_objects() -> None:
    everything = {**SCOPE["inputs"], "b": {"out": 1}, "x": 1}
    assert await call(Called()) == "n"
    assert await call(CalledLater()) == "n"
    assert await call(Graph(), x=1) == [everything, None]
    assert await call(Crew(), x=1) == everything
    assert await call(functools.partial(lambda name, other: [name, other], other=2)) == ["n", 2]
    with pytest.raises(StepError, match="a int cannot be called"):
        await call(3)


def _raiser(error: BaseException) -> Callable[[], Any]:
    def f() -> None:
        raise error

    return f


@pytest.mark.parametrize("kind", [0, 1], ids=["thread", "async"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("bad"), ("exception", "ValueError: bad")),
        (KeyError(), ("exception", "KeyError")),
        (SystemExit(3), ("exception", "raised SystemExit: 3")),
        (KeyboardInterrupt(), ("exception", "raised KeyboardInterrupt")),
        (GeneratorExit(), ("exception", "raised GeneratorExit")),
        (Permanent("never"), ("permanent", "never")),
        (StepError("quota", "used up"), ("quota", "used up")),
        (UsageError("wrong"), ("exception", "UsageError: wrong")),
        (asyncio.CancelledError(), ("exception", "raised CancelledError")),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_is_raised_is_a_fault(kind: int, error: BaseException, told: tuple[str, str]) -> None:
    found = await fault(both(_raiser(error))[kind])
    assert found[:2] == told


async def test_an_end_of_iteration_in_a_thread_is_itself() -> None:
    assert (await fault(lambda: next(iter([]))))[:2] == ("exception", "StopIteration")


async def test_the_traceback_shows_only_the_agents_own_frames() -> None:
    for function in both(_raiser(ValueError("bad"))):
        detail = (await fault(function)).detail
        assert "test_python.py" in detail
        assert "ValueError: bad" in detail
        assert "agentdeck/agents" not in detail


async def test_large_results_become_data_beside_the_loop() -> None:
    threads: list[int] = []

    class Telling(dict[str, Any]):
        def items(self) -> Any:
            threads.append(threading.get_ident())
            return super().items()

    value = Telling({str(i): i for i in range(10_000)})

    async def later() -> Any:
        return value

    for function in (lambda: value, later):
        threads.clear()
        assert await call(function) == dict(value)
        # A coroutine's result is looked at in the loop, as far as it takes to see that it is large.
        assert threads[-1] != threading.get_ident()


async def test_a_result_that_is_no_data_is_invalid() -> None:
    assert (await fault(lambda: object())).kind == "invalid"


async def test_cancellation_passes_and_a_thread_can_ask_for_it() -> None:
    seen, started = threading.Event(), threading.Event()

    def slow(ctx: Context) -> None:
        started.set()
        while not ctx.cancelled():
            time.sleep(0.005)
        seen.set()

    async def forever() -> None:
        await anyio.sleep_forever()

    for function in (slow, forever):
        with anyio.fail_after(60), anyio.move_on_after(0.1) as scope:
            await call(function)
        assert scope.cancelled_caught
    assert started.is_set()
    assert await asyncio.to_thread(seen.wait, 2)


async def test_many_threads_at_once() -> None:
    together = threading.Barrier(100, timeout=5)
    made, agent = verb(lambda: together.wait() >= 0)
    work = AttemptContext("r", "t", "a", 1, agent, SCOPE, {}, lambda text, level="info": None, lambda: None)
    assert await asyncio.gather(*(made.run(work) for _ in range(100))) == [True] * 100


async def test_prints_go_to_the_attempts_own_log() -> None:
    async def later(item: int) -> None:
        print(f"one {item}")
        await asyncio.sleep(0)
        print("err", file=sys.stderr)
        print("part", end="")

    def thread(item: int) -> None:
        print(f"one {item}\nerr", end="\npart")

    with capture():
        said: list[Any] = []
        await call(later, said=said)
        assert said == [("one 7", "out"), ("err", "err"), ("part", "out")]
        said = []
        await call(thread, said=said)
        assert said == [("one 7", "out"), ("err", "out"), ("part", "out")]


async def test_a_bare_coroutine_costs_little() -> None:
    async def f() -> None:
        return None

    made, agent = verb(f)
    work = AttemptContext("r", "t", "a", 1, agent, SCOPE, {}, lambda text, level="info": None, lambda: None)
    await made.run(work)
    called: list[str] = []

    def profile(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            called.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        await made.run(work)
    finally:
        sys.setprofile(None)
    assert called.count("f") == 1
    assert len(called) <= 8, called


async def test_a_function_of_a_module_in_the_workflows_folder(tmp_path: Path) -> None:
    (tmp_path / "own_agents_of_test_python.py").write_text("def f(name):\n    return name * 2\n")
    agent = Agent("a", Python("own_agents_of_test_python:f"))
    setting = WorkflowContext(Definition("w", {"a": agent}), tmp_path, anyio.sleep)
    before = list(sys.path)
    try:
        made = PythonVerb(agent, setting)
    finally:
        sys.path[:] = before
    work = AttemptContext("r", "t", "a", 1, agent, SCOPE, {}, lambda text, level="info": None, lambda: None)
    assert await made.run(work) == "nn"
