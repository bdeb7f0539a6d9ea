"""AutoGen AgentChat, with a model client that plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, BaseChatAgent, UserProxyAgent
from autogen_agentchat.base import Handoff, Response
from autogen_agentchat.conditions import HandoffTermination, MaxMessageTermination, TextMentionTermination
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_agentchat.teams import DiGraphBuilder, GraphFlow, RoundRobinGroupChat, Swarm
from autogen_core import CancellationToken, FunctionCall
from autogen_core.model_context import BufferedChatCompletionContext
from autogen_core.models import ChatCompletionClient, CreateResult, ModelInfo, RequestUsage, UserMessage
from pydantic import BaseModel

from agentdeck import Workflow
from agentdeck.agents.frameworks.autogen import AutoGen
from agentdeck.agents.frameworks.framework import CallInput, Ended, Started, Text, Used
from agentdeck.agents.frameworks.turns import WAITS
from agentdeck.operations import bundled_files
from agentdeck.scheduler import events as ev
from agentdeck.testing import FrameworkContract
from tests.agents.frameworks import killed
from tests.agents.test_inner_steps import Recorded

pytestmark = pytest.mark.anyio
HERE = "tests.agents.frameworks.test_autogen"
AUTOGEN = AutoGen()


class Playing(ChatCompletionClient):
    """Answers by how often it has answered in this conversation, with text or calls of tools. Text is given word
    by word; `{0}` is the last thing that was said to it."""

    def __init__(self, *answers: str | tuple[str, str] | Exception) -> None:
        self._answers = answers
        self._create_args = {"model": "play-1"}

    async def create(self, messages: Sequence[Any], **options: Any) -> CreateResult:
        number = sum(one.type == "AssistantMessage" for one in messages)
        answer = self._answers[min(number, len(self._answers) - 1)]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, tuple):
            content: Any = [FunctionCall(id=f"call {number}", name=answer[0], arguments=answer[1])]
        else:
            content = answer.replace("{0}", str(messages[-1].content))
        reason: Any = "stop" if isinstance(content, str) else "function_calls"
        return CreateResult(finish_reason=reason, content=content, usage=RequestUsage(10, 3), cached=False)

    async def create_stream(self, messages: Sequence[Any], **options: Any) -> AsyncGenerator[Any, None]:
        result = await self.create(messages)
        if isinstance(result.content, str):
            for word in result.content.split(" "):
                yield f"{word} "
        yield result

    async def close(self) -> None: ...

    def actual_usage(self) -> RequestUsage:
        return RequestUsage(0, 0)

    def total_usage(self) -> RequestUsage:
        return RequestUsage(0, 0)

    def count_tokens(self, messages: Sequence[Any], **options: Any) -> int:
        return 0

    def remaining_tokens(self, messages: Sequence[Any], **options: Any) -> int:
        return 1000

    @property
    def capabilities(self) -> Any:
        raise NotImplementedError

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=False, function_calling=True, json_output=True, family="x", structured_output=True
        )


async def price(item: str) -> int:
    killed.note(f"price-of-{item}")
    return 3


def agent(name: str, *answers: Any, **options: Any) -> AssistantAgent:
    return AssistantAgent(name, Playing(*answers), **options)


def team() -> RoundRobinGroupChat:
    writer = agent("writer", ("price", '{"item": "tea"}'), "costs {0}", tools=[price])
    return RoundRobinGroupChat([writer, agent("critic", "fine")], max_turns=2)


async def events_of(found: Any, text: str = "hello") -> list[Any]:
    return [event async for event in AUTOGEN.call(found, CallInput({"text": text}))]


class TestAutoGen(FrameworkContract):
    name = "autogen"

    @pytest.fixture
    def objects(self) -> list[Any]:
        return [agent("one", "hi"), team()]


async def test_turns_and_tools_are_inner_steps_with_text_and_tokens(tmp_path: Path) -> None:
    made = killed.workflow(f"{HERE}:team")
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == {
        "content": "fine",
        "messages": [
            {"source": "writer", "type": "ToolCallSummaryMessage", "content": "3"},
            {"source": "critic", "type": "TextMessage", "content": "fine"},
        ],
        "stop_reason": "Maximum number of turns 2 reached.",
    }
    run = Recorded(made, tmp_path / "a.db")
    assert [(one.parent, one.name, one.kind, one.inputs) for one in run.of(ev.InnerStarted)] == [
        (0, "writer", "agent", None),
        (1, "price", "tool", {"item": "tea"}),
        (0, "critic", "agent", None),
    ]
    assert {one.inner: one.output for one in run.of(ev.InnerEnded)} == {1: "3", 2: "3", 3: "fine"}
    totals = run.view.agents["review"]
    assert (totals.tokens_in, totals.tokens_out) == (20, 6)
    assert "critic: fine" in run.lines


async def test_text_is_streamed_and_usage_names_the_model() -> None:
    events = await events_of(agent("one", "a b c", model_client_stream=True))
    assert [one.delta for one in events if isinstance(one, Text)] == ["a ", "b ", "c "]
    assert [one for one in events if isinstance(one, Used)] == [Used("one 1", "play-1", 10, 3)]
    assert events[-1].value == "a b c"


async def test_structured_results_are_data() -> None:
    class Bill(BaseModel):
        total: int

    found = agent("one", '{"total": 3}', output_content_type=Bill)
    assert (await events_of(found))[-1].value == {"total": 3}


async def test_each_call_begins_with_what_was_known_before_the_first_one() -> None:
    context = BufferedChatCompletionContext(9, initial_messages=[UserMessage(content="known", source="user")])
    found = agent("one", "first", "second", model_context=context)
    for _ in range(2):
        assert (await events_of(found))[-1].value == "first"
    messages = await context.get_messages()
    assert [one.content for one in messages] == ["known", "hello", "first"]


async def test_a_second_call_of_the_same_object_waits_and_says_so() -> None:
    found = team()
    first, second = await asyncio.gather(events_of(found), events_of(found))
    assert second[0] == Text("", WAITS)
    assert second[1:] == first


async def test_nodes_of_a_graph_may_speak_at_the_same_time() -> None:
    members = [agent(name, f"{name} done") for name in ("a", "b", "c")]
    builder = DiGraphBuilder()
    for one in members:
        builder.add_node(one)
    builder.add_edge(members[0], members[1]).add_edge(members[0], members[2])
    flow = GraphFlow([*members], builder.build())
    for _ in range(2):
        events = await events_of(flow)
        started = [one.name for one in events if isinstance(one, Started)]
        assert started[0] == "a"
        assert set(started[1:3]) == {"b", "c"}
        assert {one["content"] for one in events[-1].value["messages"]} >= {"a done", "b done", "c done"}


async def test_a_failure_names_the_speaker_and_the_team_can_be_called_again() -> None:
    broken = agent("critic", ValueError("no tea"), "never")
    found = RoundRobinGroupChat([agent("writer", "hi"), broken], max_turns=2)
    for _ in range(2):
        events: list[Any] = []
        with pytest.raises(RuntimeError, match=r"^critic: ValueError: no tea$"):  # noqa: PT012
            async for event in AUTOGEN.call(found, CallInput({"text": "hello"})):
                events.append(event)
        assert events[-1] == Ended("critic 2", error="ValueError: no tea")


class Slow(BaseChatAgent):
    """Waits for something that is linked to the token, as AutoGen wants it."""

    def __init__(self) -> None:
        super().__init__("slow", "waits")
        self.running = asyncio.Event()
        self.ended = list[str]()

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return (TextMessage,)

    async def on_messages(self, messages: Sequence[Any], cancellation_token: CancellationToken) -> Response:
        waiting = asyncio.ensure_future(asyncio.sleep(60))
        cancellation_token.link_future(waiting)
        self.running.set()
        try:
            await waiting
        finally:
            self.ended.append("cancelled" if cancellation_token.is_cancelled() else "by force")
        raise AssertionError

    async def on_reset(self, cancellation_token: CancellationToken) -> None: ...

    async def save_state(self) -> Mapping[str, Any]:
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None: ...


@pytest.mark.parametrize("within", [True, False])
async def test_its_own_token_is_cancelled_first(within: bool) -> None:
    slow = Slow()
    alone: list[Slow] = [slow]
    task = asyncio.ensure_future(events_of(RoundRobinGroupChat([*alone], max_turns=1) if within else slow))
    await slow.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.ended == ["cancelled"]


# Questions ------------------------------------------------------------------------------------------------------


def with_person() -> RoundRobinGroupChat:
    """Two agents and a person, who speak in turn until the person says yes."""
    writer = agent("writer", ("price", '{"item": "tea"}'), "again: {0}", tools=[price])
    members: list[Any] = [writer, UserProxyAgent("ada"), agent("critic", "heard {0}")]
    return RoundRobinGroupChat(
        members, termination_condition=MaxMessageTermination(6) | TextMentionTermination("yes")
    )


async def test_a_person_in_a_team_survives_kill_9_and_nobody_speaks_twice(tmp_path: Path) -> None:
    db, asked = tmp_path / "a.db", list[Any]()
    killed.killed_while_it_asks(f"{HERE}:with_person", db)
    assert killed.effects() == ["price-of-tea"]

    def answers(question: Any) -> Any:
        asked.append(question.text)
        return {"answer": "no" if len(asked) == 1 else "yes"}

    result = await killed.resumed(f"{HERE}:with_person", db, answers)
    said = [(one["source"], one["content"]) for one in result.output["messages"]]
    assert said == [
        ("writer", "3"),
        ("ada", "no"),
        ("critic", "heard no"),
        ("writer", "again: heard no"),
        ("ada", "yes"),
    ]
    assert "yes" in result.output["stop_reason"]
    assert asked == ["writer to ada: 3", "writer to ada: again: heard no"]
    assert killed.effects() == ["price-of-tea"]


async def test_messages_before_a_question_count_for_the_end(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:with_person").run(
        db=tmp_path / "a.db", answers=lambda question: {"answer": "no"}
    )
    assert "Maximum number of messages 6 reached" in result.output["stop_reason"]
    assert len(result.output["messages"]) == 5, "with the task"


def swarm() -> Swarm:
    """Hands off to a person, who is not one of the team."""
    clerk = agent("clerk", ("transfer_to_user", "{}"), "thanks for {0}", handoffs=[Handoff(target="user")])
    return Swarm([clerk], termination_condition=HandoffTermination("user") | TextMentionTermination("thanks"))


async def test_a_hand_off_to_a_person_survives_kill_9(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    killed.killed_while_it_asks(f"{HERE}:swarm", db)
    result = await killed.resumed(f"{HERE}:swarm", db, lambda question: {"answer": "the order"})
    assert result.output["content"] == "thanks for the order"
    assert [one["type"] for one in result.output["messages"]] == ["HandoffMessage", "TextMessage"]


def clerk() -> AssistantAgent:
    return agent("clerk", ("transfer_to_user", "{}"), "thanks for {0}", handoffs=[Handoff(target="user")])


async def test_an_agent_may_hand_off_to_a_person(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:clerk").run(
        db=tmp_path / "a.db", answers=lambda question: {"answer": "all"}
    )
    assert result.output == "thanks for all"


async def test_a_proxy_with_a_function_of_its_own_is_left_alone() -> None:
    proxy = UserProxyAgent("ada", input_func=lambda prompt: "mine")
    found = RoundRobinGroupChat([proxy], max_turns=1)
    assert (await events_of(found))[-1].value["content"] == "mine"


async def test_a_proxy_that_cannot_ask_fails_and_does_not_wait_for_the_terminal() -> None:
    inner = RoundRobinGroupChat([UserProxyAgent("ada")], max_turns=1)
    with pytest.raises(RuntimeError, match="ada cannot ask inside this team; use a hand-off"):
        await events_of(RoundRobinGroupChat([inner], max_turns=1))


async def test_a_proxy_waits_until_its_siblings_have_spoken(tmp_path: Path) -> None:
    result = await killed.workflow(f"{HERE}:fork").run(
        db=tmp_path / "a.db", answers=lambda question: {"answer": "ok"}
    )
    said = sorted((one["source"], one["content"]) for one in result.output["messages"])
    assert said == [("a", "go"), ("ada", "ok"), ("b", "b done")]


def fork() -> GraphFlow:
    first, person, other = agent("a", "go"), UserProxyAgent("ada"), agent("b", "b done")
    builder = DiGraphBuilder().add_node(first).add_node(person).add_node(other)
    builder.add_edge(first, person).add_edge(first, other)
    return GraphFlow([first, person, other], builder.build())


async def test_the_example_is_valid_and_runs() -> None:
    made = Workflow.from_file(bundled_files.workflows() / "frameworks" / "team.yaml")
    result = await made.run()
    assert result.output == {"said": "APPROVE", "messages": 4}
