"""The OpenAI Agents SDK, with its own model for tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, MaxTurnsExceeded, ModelSettings, RunContextWrapper, function_tool
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call
from agents.tracing import add_trace_processor, set_trace_processors
from agents.tracing.processor_interface import TracingProcessor
from agents.usage import Usage
from openai.types.responses.response_usage import InputTokensDetails
from pydantic import BaseModel

from agentdeck.agents.frameworks.framework import CallInput, Ended, Started, Text, Used
from agentdeck.agents.frameworks.openai_agents import OpenAIAgents
from agentdeck.scheduler import events as ev
from agentdeck.testing import FrameworkContract
from tests.agents.frameworks import killed
from tests.agents.test_inner_steps import Recorded

pytestmark = pytest.mark.anyio
HERE = "tests.agents.frameworks.test_openai_agents"


def used(tokens_in: int = 10) -> Usage:
    details = InputTokensDetails(cached_tokens=4, cache_write_tokens=0)
    return Usage(1, tokens_in, details, 3, total_tokens=tokens_in + 3)


class Playing(ScriptedModel):
    """Answers by what has been said before, so that every call and every process gets the same: calls the tools
    one after the other, then gives the outputs of all."""

    def __init__(self, *steps: Any) -> None:
        super().__init__(default_usage=used())
        self._play = steps

    async def _next_resolved_step(self, call: ModelCall) -> ModelStep:
        given = [one for one in call.input if isinstance(one, dict)] if isinstance(call.input, list) else []
        outputs = [one["output"] for one in given if one.get("type") == "function_call_output"]
        step = self._play[min(len(outputs), len(self._play) - 1)]
        if isinstance(step, Exception):
            return ModelStep.raise_error(step)
        if isinstance(step, str):
            return ModelStep([assistant_message(step.format(*outputs))], usage=used())
        name, arguments = step
        return ModelStep([function_call(name, arguments, call_id=f"call {len(outputs)}")], usage=used())


@function_tool
async def price(item: str) -> int:
    killed.note("price")
    return 3


@function_tool(needs_approval=True)
async def pay(amount: int) -> str:
    killed.note("pay")
    return "paid"


@function_tool(failure_error_function=None)
async def broken() -> int:
    raise ValueError("no stock")


def shop() -> Agent[Any]:
    return Agent(name="shop", model=Playing(("price", {"item": "tea"}), "it is {0}"), tools=[price])


def cashier() -> Agent[Any]:
    """Hands off to an agent that needs an approval."""
    play = Playing(("price", {"item": "tea"}), ("transfer_to_cashier", {}), ("pay", {"amount": 3}), "{0} {2}")
    second: Agent[Any] = Agent(name="cashier", model=play, tools=[pay])
    return Agent(name="shop", model=play, tools=[price], handoffs=[second])


async def events_of(agent: Any, **values: Any) -> list[Any]:
    return [event async for event in OpenAIAgents().call(agent, CallInput(values or {"text": "hello"}))]


class TestOpenAIAgents(FrameworkContract):
    name = "openai_agents"

    @pytest.fixture
    def objects(self) -> list[Any]:
        return [shop()]


async def test_agents_requests_and_tools_are_inner_steps_with_text_and_tokens(tmp_path: Path) -> None:
    made = killed.workflow(f"{HERE}:shop")
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == "it is 3"
    run = Recorded(made, tmp_path / "a.db")
    assert [(one.parent, one.name, one.kind) for one in run.of(ev.InnerStarted)] == [
        (0, "shop", "agent"),
        (1, "Playing", "model"),
        (1, "price", "tool"),
        (1, "Playing", "model"),
    ]
    assert [one.inputs for one in run.of(ev.InnerStarted)] == [None, "hello", {"item": "tea"}, "3"]
    outputs = {one.inner: one.output for one in run.of(ev.InnerEnded)}
    assert outputs == {2: {"tool": "price", "arguments": {"item": "tea"}}, 3: 3, 4: "it is 3", 1: "it is 3"}
    totals = run.view.agents["review"]
    assert (totals.tokens_in, totals.tokens_out, totals.cached_in) == (20, 6, 8)
    assert "Playing: it is 3" in run.lines


async def test_a_hand_off_is_an_inner_step_of_the_agent_that_makes_it() -> None:
    play = Playing(("transfer_to_second", {}), "done")
    second: Agent[Any] = Agent(name="second", model=play)
    events = await events_of(Agent(name="first", model=play, handoffs=[second]))
    steps = [(one.parent, one.name, one.kind) for one in events if isinstance(one, Started)]
    assert ("agent 1", "second", "handoff") in steps
    assert ("", "second", "agent") in steps
    assert Ended("agent 1", {"handed off to": "second"}) in events


async def test_text_comes_before_the_end_of_its_request() -> None:
    events = await events_of(shop())
    text = events.index(Text("request 2", "it is 3"))
    assert events.index(Ended("request 2", "it is 3")) > text > events.index(Ended("call 0", 3))


class Bill(BaseModel):
    item: str
    total: int


async def test_structured_results_are_data() -> None:
    agent: Agent[Any] = Agent(name="shop", model=Playing('{{"item": "tea", "total": 3}}'), output_type=Bill)
    assert (await events_of(agent))[-1].value == Bill(item="tea", total=3)


async def test_tools_can_read_the_values() -> None:
    @function_tool
    async def read(context: RunContextWrapper[Any]) -> str:
        return str(context.context["colour"])

    events = await events_of(
        Agent(name="a", model=Playing(("read", {}), "{0}"), tools=[read]), text="x", colour="red"
    )
    assert events[-1].value == "red"


async def test_tokens_of_an_agent_that_is_a_tool_are_counted() -> None:
    inner: Agent[Any] = Agent(name="inner", model=Playing("deep"))
    tool = inner.as_tool("ask", "asks")
    agent: Agent[Any] = Agent(name="outer", model=Playing(("ask", {"input": "x"}), "{0}"), tools=[tool])
    assert [one for one in await events_of(agent) if isinstance(one, Used)][-1] == Used("", "", 10, 3, 4)


async def failing(agent: Agent[Any], kind: type[Exception]) -> list[Any]:
    events: list[Any] = []
    with pytest.raises(kind):  # noqa: PT012
        async for event in OpenAIAgents().call(agent, CallInput({"text": "hello"})):
            events.append(event)
    return events


async def test_a_failure_names_the_tool() -> None:
    tool, agent = (await failing(Agent(name="a", model=Playing(("broken", {})), tools=[broken]), Exception))[-2:]
    assert (tool.id, agent.id) == ("call 0", "agent 1")
    assert "no stock" in tool.error


async def test_a_failure_of_a_model_is_that_of_the_request() -> None:
    events = await failing(Agent(name="a", model=Playing(ConnectionError("nobody there"))), ConnectionError)
    assert Ended("request 1", error="ConnectionError: nobody there") in events


async def test_too_many_turns_fail_and_keep_what_they_used() -> None:
    class Endless(ScriptedModel):
        async def _next_resolved_step(self, call: ModelCall) -> ModelStep:
            made = function_call("price", {"item": "tea"}, call_id=f"call {len(call.input)}")
            return ModelStep([made], usage=used())

    agent: Agent[Any] = Agent(name="a", model=Endless(), tools=[price])
    events = await failing(agent, MaxTurnsExceeded)
    assert sum(one.tokens_in or 0 for one in events if isinstance(one, Used)) == 100


async def test_usage_is_asked_for_unless_the_agent_says_so_and_nothing_is_traced() -> None:
    seen: list[Any] = []

    class Seen(Playing):
        async def _next_resolved_step(self, call: ModelCall) -> ModelStep:
            seen.append((call.model_settings.include_usage, call.tracing.is_disabled()))
            return await super()._next_resolved_step(call)

    class Traces(TracingProcessor):
        def on_trace_start(self, trace: Any) -> None:
            seen.append("trace")

        def on_trace_end(self, trace: Any) -> None: ...

        def on_span_start(self, span: Any) -> None: ...

        def on_span_end(self, span: Any) -> None: ...

        def shutdown(self) -> None: ...

        def force_flush(self) -> None: ...

    set_trace_processors([])
    add_trace_processor(Traces())
    await events_of(Agent(name="a", model=Seen("hi")))
    await events_of(Agent(name="a", model=Seen("hi"), model_settings=ModelSettings(include_usage=False)))
    set_trace_processors([])
    assert seen == [(True, True), (False, True)]


async def test_a_cancelled_call_ends_its_tools() -> None:
    running, ended = asyncio.Event(), list[str]()

    @function_tool
    async def wait() -> None:
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("tool")

    task = asyncio.ensure_future(events_of(Agent(name="a", model=Playing(("wait", {})), tools=[wait])))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["tool"]


# Questions ------------------------------------------------------------------------------------------------------


async def test_an_approval_survives_kill_9_and_nothing_runs_twice(tmp_path: Path) -> None:
    db, asked = tmp_path / "a.db", list[Any]()
    killed.killed_while_it_asks(f"{HERE}:cashier", db)
    assert killed.effects() == ["price"]

    def answers(question: Any) -> bool:
        asked.append((question.text, question.shown))
        return True

    result = await killed.resumed(f"{HERE}:cashier", db, answers)
    assert result.output == "3 paid"
    assert killed.effects() == ["price", "pay"]
    assert asked == [("May cashier call pay?", {"agent": "cashier", "tool": "pay", "arguments": {"amount": 3}})]
    totals = Recorded(killed.workflow(f"{HERE}:cashier"), db).view.agents["review"]
    assert (totals.tokens_in, totals.questions) == (40, 0), "what was used before is not counted again"


async def test_a_tool_that_a_person_refuses_is_not_called(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:cashier").run(db=tmp_path / "a.db", answers=lambda question: False)
    assert "not approved" in str(result.output)
    assert killed.effects() == ["price"]
