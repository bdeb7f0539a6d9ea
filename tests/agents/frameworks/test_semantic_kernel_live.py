"""Semantic Kernel itself, in an interpreter of its own. `make test-frameworks`."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.scheduler import events as ev
from tests.agents.frameworks.own_interpreter import OwnInterpreter
from tests.agents.frameworks.test_crewai_live import LONG, tree
from tests.agents.test_inner_steps import Recorded

pytestmark = [pytest.mark.live, pytest.mark.anyio]


@pytest.fixture
def apart(tmp_path: Path) -> OwnInterpreter:
    return OwnInterpreter("semantic-kernel", tmp_path, "kernels")


async def test_functions_and_models_are_inner_steps_with_text_and_tokens(apart: OwnInterpreter) -> None:
    made = apart.workflow("kernel", **LONG, **{"with": {"function": "writer.calls"}})
    assert (await made.run(db=apart.db)).output == "answer to 3"
    run = Recorded(made, apart.db)
    assert tree(run) == ["model made-up", "function text-count", "model made-up"]
    first, function, last = run.of(ev.InnerEnded)
    assert first.output == [{"function": "text-count", "arguments": '{"text": "tea"}'}]
    assert (function.output, last.output) == (3, "answer to 3")
    assert [(one.usage.tokens_in, one.usage.tokens_out) for one in (first, last)] == [(10, 4), (10, 4)]
    assert run.view.agents["review"].tokens_in == 20
    assert "made-up: answer to 3" in run.lines


async def test_an_agent_streams_and_its_function_calls_are_inner_steps(apart: OwnInterpreter) -> None:
    made = apart.workflow("assistant", **LONG, **{"with": {"text": "how long?"}})
    assert (await made.run(db=apart.db)).output == "answer to 3 "
    run = Recorded(made, apart.db)
    assert tree(run) == ["model made-up", "function text-count", "model made-up"]
    assert run.view.agents["review"].tokens_out == 8


async def test_one_kernel_is_called_many_times_at_once_and_a_function_alone(apart: OwnInterpreter) -> None:
    many = apart.workflow("kernel", **LONG, **{"with": {"function": "short"}})
    result = await many.run(db=apart.db, tasks=[{"topic": "x" * n} for n in range(1, 5)])
    found = [task.output async for task in result.tasks()]
    assert found == [f"answer to Shorten {'x' * n} of {n}" for n in range(1, 5)]
    alone = apart.workflow("count", **LONG, **{"with": {"text": "four"}})
    assert (await alone.run(db=apart.folder / "alone.db")).output == 4


@pytest.mark.parametrize(
    ("target", "function", "message"),
    [
        ("kernel", "text.fail", "ValueError: no such text"),
        ("broken", "writer.short", "ConnectionError: no quota left"),
        (
            "kernel",
            "none",
            "the kernel has no functions named none; name one in `with: { function: … }`: text.count",
        ),
    ],
)
async def test_a_failure_is_its_cause(apart: OwnInterpreter, target: str, function: str, message: str) -> None:
    made = apart.workflow(target, **LONG, **{"with": {"function": function, "text": "x"}})
    result = await made.run(db=apart.db, check=False)
    assert result.error is not None
    assert message in result.error.message


async def test_a_function_that_blocks_ends_with_its_process(apart: OwnInterpreter) -> None:
    made = apart.workflow("kernel", **LONG, **{"with": {"function": "writer.slow"}})
    await apart.cancelled_within(made, "text-wait")
