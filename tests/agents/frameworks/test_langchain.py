"""LangChain: chains, prompts, models and functions, with its own fake models."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import tool

from agentdeck import Workflow
from agentdeck.agents.frameworks.framework import CallInput, Ended, Result, Started, Text, Used
from agentdeck.agents.frameworks.langchain import LangChain
from agentdeck.scheduler import events as ev
from agentdeck.testing import FrameworkContract
from tests.agents.frameworks.fake_models import CountingModel, WholeModel
from tests.agents.test_inner_steps import Recorded

pytestmark = pytest.mark.anyio


def shout(text: str) -> str:
    return text.upper()


async def shout_later(text: str) -> str:
    return text.upper()


def fail(value: Any) -> Any:
    raise ValueError("no tea")


def chain(model: Any = None) -> Any:
    prompt = ChatPromptTemplate.from_template("How to make {text}?")
    return prompt | (model or CountingModel()) | StrOutputParser() | RunnableLambda(shout_later)


async def events_of(found: Any, **values: Any) -> list[Any]:
    return [event async for event in LangChain().call(found, CallInput(values or {"text": "tea"}))]


async def result_of(found: Any, **values: Any) -> Any:
    return (await events_of(found, **values))[-1].value


class TestLangChain(FrameworkContract):
    name = "langchain"

    @pytest.fixture
    def objects(self) -> list[Any]:
        return [
            chain(FakeListChatModel(responses=["hi"])),
            FakeListChatModel(responses=["hi"]),
            RunnableLambda(shout),
            RunnableParallel(one=chain(), two=RunnablePassthrough()),
            ChatPromptTemplate.from_template("{text}"),
        ]


async def test_what_is_in_a_chain_is_recorded_with_text_and_tokens(tmp_path: Path) -> None:
    made = Workflow("inside", inputs={"text": {"type": "string", "default": "tea"}})
    made.agent(chain(), name="review", retry=1)
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == "HOT WATER"
    run = Recorded(made, tmp_path / "a.db")
    assert [(one.name, one.kind, one.parent) for one in run.of(ev.InnerStarted)] == [
        ("ChatPromptTemplate", "prompt", 0),
        ("CountingModel", "model", 0),
        ("StrOutputParser", "parser", 0),
        ("shout_later", "chain", 0),
    ]
    prompt, model, parser, last = run.of(ev.InnerEnded)
    assert prompt.output == [{"role": "user", "content": "How to make tea?"}]
    assert (model.usage.tokens_in, model.usage.tokens_out, model.usage.cached_in) == (10, 3, 4)
    assert model.usage.model == "counter-1"
    assert (parser.output, last.output) == ("Hot water", "HOT WATER")
    assert run.view.agents["review"].tokens_in == 10
    assert "CountingModel: Hot water" in run.lines


async def test_branches_of_a_parallel_are_nested_in_it() -> None:
    both: Any = RunnablePassthrough() | RunnableParallel(one=chain(), two=RunnableLambda(len))
    started = [one for one in await events_of(both) if isinstance(one, Started)]
    names = {one.id: one.name for one in started}
    assert {(names.get(one.parent, ""), one.name) for one in started} == {
        ("", "RunnablePassthrough"),
        ("", "RunnableParallel<one,two>"),
        ("RunnableParallel<one,two>", "ChatPromptTemplate"),
        ("RunnableParallel<one,two>", "CountingModel"),
        ("RunnableParallel<one,two>", "StrOutputParser"),
        ("RunnableParallel<one,two>", "shout_later"),
        ("RunnableParallel<one,two>", "len"),
    }


async def test_text_comes_in_pieces_where_a_model_streams_and_else_whole() -> None:
    assert [one for one in await events_of(CountingModel()) if type(one) is Text] == [
        Text("", "Hot"),
        Text("", " water"),
    ]
    events = await events_of(WholeModel())
    assert events == [
        Text("", "Hot water"),
        Used("", "counter-1", 10, 3, 4),
        Result({"role": "assistant", "content": "Hot water"}),
    ]


async def test_tokens_that_a_model_does_not_report_are_unknown() -> None:
    assert not [one for one in await events_of(FakeListChatModel(responses=["hi"])) if isinstance(one, Used)]


@pytest.mark.parametrize(
    ("found", "values", "got"),
    [
        (PromptTemplate.from_template("{input}!"), {"input": {"input": 1}}, "1!"),  # only `input`: its value
        (PromptTemplate.from_template("{input}{n}"), {"input": "a", "n": 2}, "a2"),
        (RunnableLambda(lambda value: sorted(value)), {"a": 1, "b": 2}, ["a", "b"]),
        (RunnableLambda(lambda value: [value]), {"input": 3}, [3]),
        (RunnableLambda(shout), {"n": 1, "text": "tea"}, "TEA"),  # it takes a text, by its annotation
        (FakeListLLM(responses=["hi"]), {"prompt": "hello"}, "hi"),
        (CountingModel() | StrOutputParser(), {"n": 1, "question": "hello"}, "Hot water"),
        (CountingModel().bind(stop=["x"]) | StrOutputParser(), {"messages": [["user", "a"]]}, "Hot water"),
    ],
)
async def test_what_an_object_gets(found: Any, values: dict[str, Any], got: Any) -> None:
    result = await result_of(found, **values)
    assert (result[0]["content"] if isinstance(result, list) and isinstance(result[0], dict) else result) == got


async def test_messages_are_plain_data() -> None:
    calls = [{"id": "c1", "name": "buy", "args": {"n": 2}, "type": "tool_call"}]

    def play(value: Any) -> Any:
        return {"all": [AIMessage("x", tool_calls=calls)], "docs": [Document("page")]}

    result = await result_of(RunnableLambda(play))
    said = {"role": "assistant", "content": "x", "tool_calls": [{"id": "c1", "name": "buy", "args": {"n": 2}}]}
    assert result["all"] == [said]


async def test_tools_are_inner_steps_and_can_be_agents() -> None:
    @tool
    async def price(item: str) -> int:
        """The price of an item."""
        return 3

    assert await result_of(price, item="tea") == 3
    events = await events_of(RunnablePassthrough() | price, item="tea")
    (started,) = [one for one in events if isinstance(one, Started) and one.kind == "tool"]
    assert started.name == "price"


async def test_a_failure_names_the_runnable_that_failed(tmp_path: Path) -> None:
    made = Workflow("inside", inputs={"text": {"type": "string", "default": "tea"}})
    made.agent(RunnableParallel(one=chain() | RunnableLambda(fail)), name="review", retry=1)
    result = await made.run(db=tmp_path / "a.db", check=False)
    assert result.error is not None
    assert result.error.message == "ValueError: no tea"
    run = Recorded(made, tmp_path / "a.db")
    failed = [one.inner for one in run.of(ev.InnerEnded) if one.fault]
    assert [one.name for one in run.of(ev.InnerStarted) if one.inner in failed] == ["fail"]
    assert run.of(ev.AttemptFailed)[0].usage.tokens_in == 10


async def test_a_runnable_that_is_retried_fails_inside_only() -> None:
    tries: list[int] = []

    def once(value: Any) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")
        return "done"

    retried = RunnableLambda(once).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    events = await events_of(RunnablePassthrough() | retried)
    ended = [one.error for one in events if isinstance(one, Ended)]
    assert "ValueError: not yet" in ended
    assert events[-1] == Result("done")


async def test_a_cancellation_ends_a_chain_at_once() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stay(value: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.ensure_future(events_of(chain() | RunnableLambda(stay)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_result_that_is_no_data_is_an_error(tmp_path: Path) -> None:
    made = Workflow("inside")
    made.agent(RunnableLambda(lambda value: object()), name="review", retry=1)
    result = await made.run(check=False)
    assert result.error is not None
    assert "is of type object, which is not plain data" in result.error.message
