"""pydantic-ai, with its own models for tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext
from pydantic_ai.exceptions import CallDeferred
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel as FakeModel
from pydantic_ai.usage import RequestUsage

from agentdeck.agents.frameworks.framework import CallInput, Ended, Started, Text, Used
from agentdeck.agents.frameworks.pydantic_ai import PydanticAI
from agentdeck.scheduler import events as ev
from agentdeck.testing import FrameworkContract
from tests.agents.frameworks import killed
from tests.agents.test_inner_steps import Recorded

pytestmark = pytest.mark.anyio
HERE = "tests.agents.frameworks.test_pydantic_ai"


class Bill(BaseModel):
    item: str
    total: int


def shop(**options: Any) -> Agent[None, Any]:
    """Calls its tools, then says what they returned."""
    agent = Agent(FakeModel(), name="shop", **options)

    @agent.tool_plain
    def price(item: str) -> int:
        killed.note("price")
        return 3

    return agent


def seller() -> Agent[None, Any]:
    return shop()


def cashier() -> Agent[None, Any]:
    """Needs an approval for one tool, and a result for another."""
    agent = shop()

    @agent.tool_plain(requires_approval=True)
    async def pay(amount: int) -> str:
        killed.note("pay")
        return "paid"

    @agent.tool_plain
    async def weigh(item: str) -> int:
        raise CallDeferred(metadata={"scale": 2})

    return agent


async def events_of(agent: Any, **values: Any) -> list[Any]:
    return [event async for event in PydanticAI().call(agent, CallInput(values or {"text": "hello"}))]


class TestPydanticAI(FrameworkContract):
    name = "pydantic_ai"

    @pytest.fixture
    def objects(self) -> list[Any]:
        return [shop(), shop(output_type=Bill), Agent(FakeModel(custom_output_text="hi"))]


async def test_requests_and_tools_are_inner_steps_with_text_and_tokens(tmp_path: Path) -> None:
    made = killed.workflow(f"{HERE}:seller")
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == '{"price":3}'
    run = Recorded(made, tmp_path / "a.db")
    started = run.of(ev.InnerStarted)
    assert [(one.name, one.kind) for one in started] == [("test", "model"), ("price", "tool"), ("test", "model")]
    assert (started[0].inputs, started[1].inputs) == ("hello", {"item": "a"})
    first, tool, last = run.of(ev.InnerEnded)
    assert first.output == {"tool": "price", "arguments": {"item": "a"}}
    assert (tool.output, last.output) == (3, '{"price":3}')
    assert run.view.agents["review"].tokens_in == first.usage.tokens_in + last.usage.tokens_in > 50
    assert 'test: {"price":3}' in run.lines


async def test_text_is_streamed_and_structured_results_are_data() -> None:
    said = [
        one.delta
        for one in await events_of(Agent(FakeModel(custom_output_text="one two three")))
        if type(one) is Text
    ]
    assert "".join(said) == "one two three"
    assert len(said) > 1
    assert (await events_of(shop(output_type=Bill)))[-1].value == Bill(item="a", total=0)


def plain_answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse(
        [TextPart("hi")], usage=RequestUsage(input_tokens=9, output_tokens=1, cache_read_tokens=4)
    )


async def test_a_model_that_cannot_stream_is_called_without_and_cached_tokens_are_known() -> None:
    events = await events_of(Agent(FunctionModel(plain_answer, model_name="plain")))
    assert Text("request 1", "hi") in events
    assert Used("request 1", "plain", 9, 1, 4) in events


async def test_tokens_of_agents_that_tools_call_are_counted() -> None:
    inner, outer = Agent(FunctionModel(plain_answer)), Agent(FakeModel())

    @outer.tool
    async def delegate(context: RunContext[object]) -> str:
        return str((await inner.run("go", usage=context.usage)).output)

    assert Used("", "", 9, 1, 4) in await events_of(outer)


async def test_a_failure_names_the_tool_that_failed() -> None:
    agent = shop()

    @agent.tool_plain
    async def broken(x: int) -> int:
        raise ValueError("no stock")

    ended: list[Ended] = []
    with pytest.raises(ValueError, match="no stock"):  # noqa: PT012
        async for event in PydanticAI().call(agent, CallInput({"text": "hello"})):
            if isinstance(event, Ended) and event.error:
                ended.append(event)
    assert [(one.id, one.error) for one in ended] == [("pyd_ai_tool_call_id__broken", "ValueError: no stock")]


async def test_a_failure_of_a_model_is_that_of_the_request() -> None:
    async def broken(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        raise ConnectionError("nobody there")
        yield ""

    events: list[Any] = []
    with pytest.raises(ConnectionError):  # noqa: PT012
        async for event in PydanticAI().call(
            Agent(FunctionModel(stream_function=broken)), CallInput({"text": "x"})
        ):
            events.append(event)
    assert events[-1] == Ended("request 1", error="ConnectionError: nobody there")


async def test_a_tool_that_asks_for_another_try_does_not_fail_the_agent() -> None:
    agent, tries = Agent(FakeModel()), list[int]()

    @agent.tool_plain
    def pick(n: int) -> str:
        tries.append(n)
        if len(tries) == 1:
            raise ModelRetry("not that one")
        return "good"

    events = await events_of(agent)
    tools = {one.id for one in events if isinstance(one, Started) and one.name == "pick"}
    ended = [one for one in events if isinstance(one, Ended) and one.id in tools]
    assert [(bool(one.error), one.output) for one in ended] == [(True, None), (False, "good")]
    assert "not that one" in ended[0].error


async def test_dependencies_are_a_value() -> None:
    agent: Agent[Bill, Any] = Agent(FakeModel(), deps_type=Bill)

    @agent.tool
    def total(context: RunContext[Bill]) -> int:
        return context.deps.total

    events = await events_of(agent, text="hi", deps={"item": "tea", "total": 7})
    assert events[-1].value == '{"total":7}'
    assert events[0] == Started("request 1", "", "test", "model", "hi")


async def test_a_plain_tool_does_not_delay_a_cancellation() -> None:
    agent, running, release = Agent(FakeModel()), threading.Event(), threading.Event()

    @agent.tool_plain
    def wait() -> None:
        running.set()
        release.wait(10)

    async def in_thread(call: Any) -> Any:
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)

    async def call() -> None:
        async for _ in PydanticAI().call(agent, CallInput({"text": "hello"}, in_thread)):
            pass

    task = asyncio.ensure_future(call())
    await asyncio.to_thread(running.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not release.is_set(), "the call has ended before its thread"
    release.set()


# Questions ------------------------------------------------------------------------------------------------------


async def test_tools_that_wait_for_a_person_survive_kill_9_and_nothing_runs_twice(tmp_path: Path) -> None:
    db, asked = tmp_path / "a.db", list[Any]()
    killed.killed_while_it_asks(f"{HERE}:cashier", db)
    assert killed.effects() == ["price"]

    def answers(question: Any) -> Any:
        asked.append((question.text, question.shown))
        return True if "May" in question.text else {"answer": 12}

    result = await killed.resumed(f"{HERE}:cashier", db, answers)
    assert result.output == '{"price":3,"pay":"paid","weigh":12}'
    assert killed.effects() == ["price", "pay"]
    assert asked == [
        ("May shop call pay?", {"tool": "pay", "arguments": {"amount": 0}}),
        (
            "shop has called weigh: what is the result?",
            {"tool": "weigh", "arguments": {"item": "a"}, "metadata": {"scale": 2}},
        ),
    ]


async def test_a_tool_that_a_person_refuses_is_not_called(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:cashier").run(
        db=tmp_path / "a.db", answers=lambda question: {"answer": 1} if "weigh" in question.text else False
    )
    assert '"pay":"The tool call was denied."' in str(result.output)
    assert killed.effects() == ["price"]


async def test_an_agent_may_ask_more_than_once(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:twice").run(db=tmp_path / "a.db", answers=lambda question: True)
    assert result.output == "done"
    assert killed.effects() == ["first", "second"]


def twice() -> Agent[None, Any]:
    async def play(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        tool = {1: "first", 3: "second"}.get(len(messages))
        yield {0: DeltaToolCall(tool, "{}")} if tool else "done"

    agent = Agent(FunctionModel(stream_function=play))

    @agent.tool_plain(requires_approval=True)
    async def first() -> None:
        killed.note("first")

    @agent.tool_plain(requires_approval=True)
    async def second() -> None:
        killed.note("second")

    return agent
