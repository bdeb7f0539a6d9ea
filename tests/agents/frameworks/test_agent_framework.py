"""The Microsoft Agent Framework, with a chat client that plays."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent_framework import (
    Agent,
    AgentExecutor,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    Executor,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    response_handler,
    tool,
)
from agent_framework import step as inner_step
from agent_framework import workflow as functional
from pydantic import BaseModel

from agentdeck.agents.frameworks.agent_framework import AgentFramework
from agentdeck.agents.frameworks.framework import CallInput, Ended, Started, Text, Used
from agentdeck.agents.frameworks.turns import WAITS
from agentdeck.scheduler import events as ev
from agentdeck.testing import FrameworkContract
from tests.agents.frameworks import killed
from tests.agents.test_inner_steps import Recorded

pytestmark = pytest.mark.anyio
HERE = "tests.agents.frameworks.test_agent_framework"
FRAMEWORK = AgentFramework()


class Playing(FunctionInvocationLayer[Any], BaseChatClient[Any]):
    """Answers by how often it has answered in this conversation, with text or calls of tools."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = answers

    def _inner_get_response(self, *, messages: Sequence[Message], stream: bool, options: Any, **_: Any) -> Any:
        async def pieces() -> AsyncGenerator[ChatResponseUpdate, None]:
            number = sum(one.role == "assistant" for one in messages)
            answer = self.answers[min(number, len(self.answers) - 1)]
            if isinstance(answer, Exception):
                raise answer
            contents = [Content.from_text(answer)] if isinstance(answer, str) else []
            if not isinstance(answer, str):
                contents = [Content.from_function_call(f"call {number}", answer[0], arguments=answer[1])]
            used = {"input_token_count": 10, "output_token_count": 3, "cache_read_input_token_count": 4}
            contents.append(Content.from_usage(used))  # type: ignore[arg-type]
            yield ChatResponseUpdate(role="assistant", contents=contents, model="play-1")

        assert stream
        return ResponseStream(pieces(), finalizer=ChatResponse.from_updates)


@tool(approval_mode="never_require")
def price(item: str) -> int:
    killed.note("price")
    return 3


@tool(approval_mode="always_require")
def pay(amount: int) -> str:
    killed.note("pay")
    return "paid"


def shop() -> Agent[Any]:
    return Agent(Playing(("price", '{"item": "tea"}'), "it is three"), name="shop", tools=[price])


class Upper(Executor):
    @handler
    async def start(self, text: str, context: WorkflowContext[str]) -> None:
        killed.note(self.id)
        if text == "broken":
            raise ValueError("no tea")
        await context.send_message(text.upper())


class Last(Executor):
    @handler
    async def end(self, text: str, context: WorkflowContext[Any, str]) -> None:
        await context.yield_output(f"{text}!")


def shout() -> Workflow:
    first, last = Upper("upper"), Last("last")
    return WorkflowBuilder(start_executor=first, output_from=[last]).add_edge(first, last).build()


async def events_of(found: Any, **values: Any) -> list[Any]:
    return [event async for event in FRAMEWORK.call(found, CallInput(values or {"text": "hello"}))]


class TestAgentFramework(FrameworkContract):
    name = "agent_framework"

    @pytest.fixture
    def objects(self) -> list[Any]:
        return [shop(), shout()]


async def test_executors_are_inner_steps(tmp_path: Path) -> None:
    made = killed.workflow(f"{HERE}:shout")
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == "HELLO!"
    run = Recorded(made, tmp_path / "a.db")
    assert [(one.name, one.kind, one.inputs) for one in run.of(ev.InnerStarted)] == [
        ("upper", "executor", "hello"),
        ("last", "executor", "HELLO"),
    ]
    assert [one.output for one in run.of(ev.InnerEnded)] == ["HELLO", "HELLO!"]


async def test_tools_of_agents_are_inner_steps_with_text_and_tokens() -> None:
    used = Used("", "play-1", 10, 3, 4)
    assert [one for one in await events_of(shop()) if not isinstance(one, Text)][:-1] == [
        Started("call 0", "", "price", "tool", {"item": "tea"}),
        used,
        Ended("call 0", "3"),
        used,
    ]
    assert (await events_of(shop()))[-1].value == "it is three"


async def test_agents_in_workflows_show_what_they_do(tmp_path: Path) -> None:
    """Also one whose output is not one of the workflow."""
    made = killed.workflow(f"{HERE}:chain")
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == "well done"
    run = Recorded(made, tmp_path / "a.db")
    steps = [(one.inner, one.parent, one.name) for one in run.of(ev.InnerStarted)]
    assert steps == [(1, 0, "shop"), (2, 1, "price"), (3, 0, "critic")]
    outputs = {one.inner: (one.output, one.usage and one.usage.tokens_in) for one in run.of(ev.InnerEnded)}
    assert outputs == {1: ("it is three", 20), 2: ("3", None), 3: ("well done", 10)}
    totals = run.view.agents["review"]
    assert (totals.tokens_in, totals.tokens_out, totals.cached_in) == (30, 9, 12)
    assert {"shop: it is three", "critic: well done"} <= set(run.lines)


def chain() -> Workflow:
    first, last = AgentExecutor(shop()), AgentExecutor(Agent(Playing("well done"), name="critic"))
    return WorkflowBuilder(start_executor=first, output_from=[last]).add_edge(first, last).build()


class Bill(BaseModel):
    item: str
    total: int


async def test_structured_results_are_data() -> None:
    agent: Agent[Any] = Agent(
        Playing('{"item": "tea", "total": 3}'), name="a", default_options={"response_format": Bill}
    )
    assert (await events_of(agent))[-1].value == Bill(item="tea", total=3)


@dataclass
class Order:
    item: str
    amount: int


class Takes(Executor):
    @handler
    async def order(self, order: Order, context: WorkflowContext[Any, str]) -> None:
        await context.yield_output(f"{order.amount} x {order.item}")


class TakesAll(Executor):
    @handler
    async def all(self, values: dict[str, Any], context: WorkflowContext[Any, list[str]]) -> None:
        await context.yield_output(sorted(values))


async def test_a_workflow_gets_what_its_start_executor_takes() -> None:
    typed = WorkflowBuilder(start_executor=Takes("a")).build()
    assert (await events_of(typed, item="tea", amount=2))[-1].value == "2 x tea"
    free = WorkflowBuilder(start_executor=TakesAll("a")).build()
    assert (await events_of(free, item="tea", amount=2))[-1].value == ["amount", "item"]


async def test_a_failure_names_the_executor_and_the_workflow_can_be_called_again() -> None:
    found = shout()
    for text in ("broken", "fine", "broken", "fine"):
        events: list[Any] = []
        try:
            async for event in FRAMEWORK.call(found, CallInput({"text": text})):
                events.append(event)
        except ValueError:
            assert text == "broken"
            assert events[-1] == Ended("upper 1", error="ValueError: no tea")
        else:
            assert events[-1].value == "FINE!"


async def test_a_failure_of_a_tool_that_is_not_for_the_model_names_it() -> None:
    agent = Agent(Playing(ConnectionError("nobody there")), name="a")
    with pytest.raises(Exception, match="nobody there"):
        await events_of(agent)


async def test_a_second_call_of_the_same_workflow_waits_and_says_so() -> None:
    found = shout()
    first, second = await asyncio.gather(events_of(found), events_of(found))
    assert second[0] == Text("", WAITS)
    assert second[1:] == first


class Waits(Executor):
    def __init__(self) -> None:
        super().__init__("waits")
        self.running = asyncio.Event()
        self.ended = list[str]()

    @handler
    async def wait(self, text: str, context: WorkflowContext[Any, str]) -> None:
        self.running.set()
        try:
            if text != "again":
                await asyncio.sleep(60)
        finally:
            self.ended.append(text)
        await context.yield_output(text)


async def test_a_cancelled_workflow_ends_its_executor_and_can_be_called_again() -> None:
    waits = Waits()
    found = WorkflowBuilder(start_executor=waits).build()
    task = asyncio.ensure_future(events_of(found))
    await waits.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waits.ended == ["hello"]
    assert (await events_of(found, text="again"))[-1].value == "again"


# Questions ------------------------------------------------------------------------------------------------------


@dataclass
class Draft:
    question: str
    words: int


@dataclass
class Verdict:
    good: bool
    note: str = ""


class Gate(Executor):
    @handler
    async def ask(self, text: str, context: WorkflowContext[str]) -> None:
        killed.note("gate")
        await context.request_info(Draft("Good enough?", len(text.split())), Verdict)

    @response_handler
    async def answered(self, draft: Draft, verdict: Verdict, context: WorkflowContext[str]) -> None:
        await context.send_message(f"{draft.words} {verdict.good} {verdict.note}")


def gated() -> Workflow:
    first, gate, last = Upper("upper"), Gate("gate"), Last("last")
    builder = WorkflowBuilder(start_executor=first, output_from=[last])
    return builder.add_edge(first, gate).add_edge(gate, last).build()


async def test_a_request_survives_kill_9_and_nothing_runs_twice(tmp_path: Path) -> None:
    db, asked = tmp_path / "a.db", list[Any]()
    killed.killed_while_it_asks(f"{HERE}:gated", db)
    assert killed.effects() == ["upper", "gate"]

    def answers(question: Any) -> Any:
        asked.append((question.text, question.shown, {name: one.type for name, one in question.fields.items()}))
        return {"good": True, "note": "fine"}

    result = await killed.resumed(f"{HERE}:gated", db, answers)
    assert result.output == "1 True fine!"
    assert killed.effects() == ["upper", "gate"]
    shown = {"question": "Good enough?", "words": 1}
    assert asked == [("Good enough?", shown, {"good": "boolean", "note": "string"})]


def cashier() -> Agent[Any]:
    return Agent(Playing(("pay", '{"amount": 3}'), "done"), name="cashier", tools=[pay])


async def test_an_approval_survives_kill_9(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    killed.killed_while_it_asks(f"{HERE}:cashier", db)
    assert killed.effects() == []
    result = await killed.resumed(f"{HERE}:cashier", db, lambda question: question.text == "May pay be called?")
    assert result.output == "done"
    assert killed.effects() == ["pay"]


def paying() -> Workflow:
    return WorkflowBuilder(start_executor=AgentExecutor(cashier())).build()


@pytest.mark.parametrize(("target", "yes"), [("paying", True), ("paying", False), ("cashier", False)])
async def test_a_tool_is_called_only_if_a_person_says_so(tmp_path: Path, target: str, yes: bool) -> None:
    result = await killed.workflow(f"{HERE}:{target}").run(db=tmp_path / "a.db", answers=lambda question: yes)
    assert result.output == "done"
    assert killed.effects() == ["pay"] * yes


def steps() -> Any:
    """A workflow that is a function, with two questions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        @inner_step
        async def upper(text: str) -> str:
            killed.note("upper")
            return text.upper()

        @functional
        async def pipeline(text: str, ctx: Any) -> str:
            made = await upper(text)
            first = await ctx.request_info("First?", bool)
            return f"{made} {first} {await ctx.request_info('Second?', bool)}"

    return pipeline


async def test_a_workflow_that_is_a_function_may_ask_more_than_once(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:steps").run(
        db=tmp_path / "a.db", answers=lambda question: question.text == "First?" or {"answer": False}
    )
    assert result.output == "HELLO True False"
    assert killed.effects() == ["upper"]
