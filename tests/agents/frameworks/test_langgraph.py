"""LangGraph: graphs with subgraphs, models, interrupts and checkpoints, killed and resumed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Send, interrupt
from pydantic import BaseModel

from agentdeck import Question, Workflow
from agentdeck.agents.frameworks import langgraph_saver
from agentdeck.agents.frameworks.framework import Asked, CallInput, Ended, Result, Started
from agentdeck.agents.frameworks.langgraph import LangGraph
from agentdeck.engine import launch
from agentdeck.operations import bundled_files
from agentdeck.scheduler import events as ev
from agentdeck.testing import FrameworkContract
from tests.agents.frameworks import graphs, killed
from tests.agents.test_inner_steps import Recorded

pytestmark = pytest.mark.anyio
GRAPHS = "tests.agents.frameworks.graphs"


@pytest.fixture(autouse=True)
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(killed.EFFECTS, str(tmp_path / "effects"))


@pytest.fixture
def checkpoints(tmp_path: Path) -> str:
    return str(tmp_path / "checkpoints.db")


async def events_of(found: Any, checkpoints: str = "", answers: Any = None, **values: Any) -> list[Any]:
    given = CallInput(
        values or {"text": "tea"}, thread="r/1/a/1-x", checkpoints=checkpoints, answers=answers or {}
    )
    return [event async for event in LangGraph().call(found, given)]


def of(events: list[Any], *kinds: type) -> list[Any]:
    return [one for one in events if isinstance(one, kinds)]


def threads_in(path: str | Path) -> dict[str, int]:
    """The threads in a file of checkpoints, if there is one, with their number of checkpoints."""
    if not Path(path).exists():
        return {}
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("select thread_id, count(*) from checkpoints group by 1").fetchall())


class TestLangGraph(FrameworkContract):
    name = "langgraph"

    @pytest.fixture
    def objects(self) -> list[Any]:
        @entrypoint()  # type: ignore[untyped-decorator]
        async def plain(values: dict[str, Any]) -> str:
            return str(values["text"]).upper()

        return [graphs.talk, graphs.chain_of(graphs.Article, graphs.draft, graphs.publish).compile(), plain]


# Inside ---------------------------------------------------------------------------------------------------------


async def test_nodes_and_subgraphs_are_nested(tmp_path: Path) -> None:
    made = killed.workflow(f"{GRAPHS}:review")
    result = await made.run(db=tmp_path / "a.db", answers=lambda question: {"approved": True})
    assert result.output == {
        "text": "about hello",
        "notes": ["draft", "draft", "check", "True", "published"],
    }
    run = Recorded(made, tmp_path / "a.db")
    started = run.of(ev.InnerStarted)
    assert [(one.attempt, one.name, one.parent, one.kind) for one in started] == [
        (1, "draft", 0, "node"),
        (1, "review", 0, "node"),
        (1, "check", 2, "node"),
        (1, "gate", 2, "node"),
        (2, "review", 0, "node"),
        (2, "gate", 1, "node"),
        (2, "publish", 0, "node"),
    ]
    assert started[0].inputs == {"text": "hello", "notes": []}
    assert run.of(ev.InnerEnded)[0].output == {"text": "about hello", "notes": ["draft"]}
    assert "review/review/gate" in run.view.inner


async def test_text_and_tokens_belong_to_the_node_that_called_the_model(tmp_path: Path) -> None:
    made = killed.workflow(f"{GRAPHS}:talk")
    result = await made.run(db=tmp_path / "a.db")
    assert result.output == {
        "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hot water"}],
        "topic": "one two",
    }
    run = Recorded(made, tmp_path / "a.db")
    say, twice = run.of(ev.InnerEnded)
    assert (say.usage.tokens_in, say.usage.tokens_out, say.usage.cached_in) == (10, 3, 4)
    assert (twice.usage.tokens_in, twice.usage.model) == (20, "counter-1"), "also one that is not streamed"
    assert run.view.agents["review"].tokens_in == 30
    assert run.lines == ["say: thinking", 'say: {"done": 0.5}', "say: Hot water", "twice: one"]


async def test_nodes_that_are_sent_many_times_are_inner_steps_each() -> None:
    class State(TypedDict):
        items: list[int]

    builder = StateGraph(State)
    builder.add_node("one", lambda item: {})
    builder.add_conditional_edges(START, lambda state: [Send("one", n) for n in state["items"]])
    events = await events_of(builder.compile(), items=[1, 2, 3])
    assert [(one.name, one.input) for one in of(events, Started)] == [("one", 1), ("one", 2), ("one", 3)]
    assert len(of(events, Ended)) == 3


async def test_tasks_of_a_function_are_inner_steps() -> None:
    @task  # type: ignore[untyped-decorator]
    async def double(n: int) -> int:
        return n * 2

    @entrypoint()  # type: ignore[untyped-decorator]
    async def add(numbers: list[int]) -> int:
        return sum([await double(n) for n in numbers])

    events = await events_of(add, input=[1, 2])
    names = {one.id: one.name for one in of(events, Started)}
    assert [(one.name, names.get(one.parent, "")) for one in of(events, Started)] == [
        ("add", ""),
        ("double", ""),
        ("double", ""),
    ]
    assert events[-1] == Result(6)


async def test_a_failure_names_the_node_also_in_a_subgraph(tmp_path: Path) -> None:
    async def broken(state: graphs.Article) -> None:
        raise ValueError("no tea")

    inner = graphs.chain_of(graphs.Article, broken).compile(name="inner")
    made = Workflow("inside", inputs={"text": {"type": "string", "default": "tea"}})
    made.agent(graphs.chain_of(graphs.Article, inner).compile(), name="review", retry=1)
    result = await made.run(db=tmp_path / "a.db", check=False)
    assert result.error is not None
    assert result.error.message == "ValueError: no tea"
    run = Recorded(made, tmp_path / "a.db")
    ended = [(one.inner, one.fault.message) for one in run.of(ev.InnerEnded)]
    assert ended == [(2, "ValueError: no tea"), (1, "ValueError: no tea")], "the innermost node first"


async def test_a_loop_without_an_end_is_an_error() -> None:
    class State(TypedDict):
        n: int

    builder = StateGraph(State)
    builder.add_node("loop", lambda state: {"n": state["n"] + 1})
    builder.add_edge(START, "loop").add_edge("loop", "loop")
    with pytest.raises(RecursionError, match="Recursion limit of 10"):
        await events_of(builder.compile().with_config(recursion_limit=10), n=0)


async def test_a_cancellation_ends_a_graph_at_once(checkpoints: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stay(state: graphs.Article) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    graph = graphs.chain_of(graphs.Article, graphs.draft, stay).compile()
    call = asyncio.ensure_future(events_of(graph, checkpoints))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


# Input and result -----------------------------------------------------------------------------------------------


class Form(BaseModel):
    text: str
    n: int = 1


async def test_the_input_is_the_state_and_the_result_its_end() -> None:
    def shout(state: Any) -> dict[str, Any]:
        return {"text": state.text.upper()}

    graph = graphs.chain_of(Form, shout).compile()
    assert (await events_of(graph, text="tea", other=1))[-1] == Result({"text": "TEA", "n": 1})

    def count(state: Any) -> int:
        return len(state)

    root = StateGraph(list).add_node("count", count).add_edge(START, "count").compile()
    assert (await events_of(root, input=[1, 2]))[-1] == Result(2)


@pytest.mark.parametrize(
    "values",
    [{"text": "hi"}, {"anything": "hi"}, {"prompt": "hi", "topic": "x"}, {"messages": [("user", "hi")]}],
)
async def test_a_text_becomes_a_message_where_the_state_has_messages(values: dict[str, Any]) -> None:
    result = (await events_of(graphs.talk, **values))[-1].value
    assert result["messages"][0] == {"role": "user", "content": "hi"}


async def test_an_output_schema_is_kept() -> None:
    class Out(TypedDict):
        text: str

    builder = StateGraph(graphs.Article, output_schema=Out)
    builder.add_node("draft", graphs.draft)
    builder.add_edge(START, "draft")
    assert (await events_of(builder.compile()))[-1] == Result({"text": "about tea"})


async def test_callbacks_of_a_graph_stay(checkpoints: str) -> None:
    from langchain_core.callbacks import BaseCallbackHandler

    class Counter(BaseCallbackHandler):
        models = 0

        def on_chat_model_start(self, *args: Any, **more: Any) -> None:
            self.models += 1

    counter = Counter()
    await events_of(graphs.talk.with_config(callbacks=[counter]), checkpoints)
    assert counter.models == 3


# Questions ------------------------------------------------------------------------------------------------------


async def test_a_graph_that_is_killed_while_it_asks_goes_on_there(tmp_path: Path) -> None:
    db, asked = tmp_path / "a.db", list[Question]()
    killed.killed_while_it_asks(f"{GRAPHS}:review", db)
    assert killed.effects() == ["draft", "check"]

    def answers(question: Question) -> Any:
        asked.append(question)
        return {"approved": True, "comment": "fine"}

    result = await killed.resumed(f"{GRAPHS}:review", db, answers)
    assert killed.effects() == ["draft", "check", "gate", "publish"]
    assert result.output["notes"][-2:] == ["True fine", "published"]
    (question,) = asked
    assert (question.text, question.shown) == ("Publish this?", {"draft": "about hello"})
    assert question.fields["approved"].required
    assert not question.fields["comment"].required


async def test_only_the_owner_can_read_what_a_graph_keeps(checkpoints: str) -> None:
    await events_of(graphs.paused, checkpoints)
    files = list(Path(checkpoints).parent.glob(f"{Path(checkpoints).name}*"))
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_a_plain_no_is_the_field_of_that_name(tmp_path: Path) -> None:
    made = killed.workflow(f"{GRAPHS}:review")
    result = await made.run(db=tmp_path / "a.db", answers=lambda question: False)
    assert result.output["notes"][-2:] == ["False", "published"]


async def test_yes_to_everything_answers_a_field_of_that_name(tmp_path: Path) -> None:
    made = killed.workflow(f"{GRAPHS}:review")
    given = launch.Launch(made.definition, tmp_path, functions=made.functions, db=tmp_path / "a.db", yes=True)
    assert (await launch.run(given)).state == "done"


async def test_several_interrupts_are_several_questions(checkpoints: str) -> None:
    def left(state: graphs.Article) -> dict[str, Any]:
        return {"notes": [f"left {interrupt('Left?')}", f"more {interrupt('More?')}"]}

    def right(state: graphs.Article) -> dict[str, Any]:
        return {"notes": [f"right {interrupt({'n': 1})}"]}

    builder = StateGraph(graphs.Article)
    builder.add_node("left", left).add_node("right", right)
    graph = builder.add_edge(START, "left").add_edge(START, "right").compile()
    asked = of(await events_of(graph, checkpoints), Asked)
    assert {(one.question, str(one.shows)) for one in asked} == {
        ("Left?", "None"),
        ("The graph asks for a value", "{'n': 1}"),
    }
    answers = {one.id: one.question[0] for one in asked}
    events = await events_of(graph, checkpoints, answers)
    (more,) = of(events, Asked)
    assert more.question == "More?"
    assert more.id not in answers
    # The attempt is lost before its question is recorded: the old answers come again, and answer nothing.
    (again,) = await events_of(graph, checkpoints, answers)
    assert again.id == more.id
    events = await events_of(graph, checkpoints, {**answers, more.id: "M"})
    assert events[-1].value["notes"] == ["left L", "more M", "right T"]
    assert [one.name for one in of(events, Started)] == ["left"], "the other one has ended before"


async def test_an_answer_that_the_graph_refuses_fails_the_attempt(checkpoints: str) -> None:
    (asked,) = of(await events_of(graphs.review, checkpoints), Asked)
    with pytest.raises(ValueError, match="approved"):
        await events_of(graphs.review, checkpoints, {asked.id: {"approved": "perhaps"}})
    events = await events_of(graphs.review, checkpoints, {asked.id: {"approved": False}})
    assert isinstance(events[-1], Result)


async def test_a_breakpoint_is_a_question(checkpoints: str) -> None:
    builder = graphs.chain_of(graphs.Article, graphs.draft, graphs.publish)
    graph = builder.compile(interrupt_before=["publish"])
    (asked,) = of(await events_of(graph, checkpoints), Asked)
    assert (asked.question, asked.schema) == ("Go on with publish?", {"type": "boolean"})
    with pytest.raises(RuntimeError, match="the answer at the breakpoint before publish was no"):
        await events_of(graph, checkpoints, {asked.id: False})
    assert isinstance((await events_of(graph, checkpoints, {asked.id: True}))[-1], Result)
    assert killed.effects() == ["draft", "publish"]


async def test_without_the_package_for_checkpoints_only_questions_are_an_error(
    checkpoints: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, langgraph_saver.__name__, None)
    assert isinstance((await events_of(graphs.talk, checkpoints))[-1], Result)
    with pytest.raises(RuntimeError, match=r"pip install 'agentdeck\[langgraph\]'"):
        await events_of(graphs.review, checkpoints)


# Checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", [1, 2])
async def test_a_graph_that_is_killed_in_the_middle_goes_on_after_what_was_recorded(
    tmp_path: Path, ended: int
) -> None:
    db = tmp_path / "a.db"
    killed.killed_after(ended, f"{GRAPHS}:paused", db)
    result = await killed.resumed(f"{GRAPHS}:paused", db, lambda question: None)
    assert result.output["notes"][-2:] == ["pause", "published"]
    done = [one for one in killed.effects() if one != "pause"]
    assert done[:ended] == ["draft", "check"][:ended]
    assert done.count("draft") == done.count("publish") == 1
    assert ended == 1 or done.count("check") == 1


async def test_a_retry_goes_on_where_the_attempt_failed(tmp_path: Path) -> None:
    made = Workflow("inside", inputs={"text": {"type": "string", "default": "tea"}})
    made.add("review", python=f"{GRAPHS}:retried", retry={"attempts": 2, "delay": "1ms"})
    result = await made.run(db=tmp_path / "a.db")
    assert killed.effects() == ["draft", "flaky", "flaky", "publish"]
    assert result.output["notes"] == ["draft", "flaky", "published"]


async def test_a_result_that_is_refused_is_made_anew(tmp_path: Path) -> None:
    made = Workflow("inside", inputs={"text": {"type": "string", "default": "tea"}})
    made.add(
        "review", python=f"{GRAPHS}:retried", retry={"attempts": 4, "delay": "1ms"}, expect="output.text == 'x'"
    )
    result = await made.run(db=tmp_path / "a.db", check=False)
    assert result.state == "failed"
    assert killed.effects().count("draft") > 1


async def test_a_result_that_was_not_recorded_is_not_made_twice(checkpoints: str) -> None:
    first = await events_of(graphs.review, checkpoints, None)
    answers = {first[-1].id: {"approved": True}}
    async with langgraph_saver.open_saver(checkpoints) as saver:
        done = await events_of(graphs.review, checkpoints, answers)
        saver._ended.clear()  # as in a process that was killed then
    again = await events_of(graphs.review, checkpoints, answers)
    assert again == done[-1:]
    assert killed.effects() == ["draft", "check", "gate", "publish"]


async def test_the_checkpoints_of_a_graph_that_has_ended_are_deleted(tmp_path: Path) -> None:
    made = killed.workflow(f"{GRAPHS}:talk")
    made.add("other", python=f"{GRAPHS}:review", retry=1)
    async with made.start(db=tmp_path / "a.db") as run:
        async for event in run.events():
            if event.kind == "step_succeeded" and event.step == "review":
                break
        await run.cancel()
    file = tmp_path / "a.db-checkpoints"
    async with langgraph_saver.open_saver(str(file)) as saver:
        await saver.finish()
    assert all("/other/" in name for name in threads_in(file))


async def test_many_graphs_share_one_connection(checkpoints: str) -> None:
    async def one(number: int) -> Any:
        given = CallInput({"text": str(number)}, thread=f"r/{number}", checkpoints=checkpoints)
        return [event async for event in LangGraph().call(graphs.review, given)]

    everything = await asyncio.gather(*[one(number) for number in range(30)])
    assert all(isinstance(events[-1], Asked) for events in everything)
    assert len(threads_in(checkpoints)) == 30
    (files,) = [files for files in langgraph_saver._open.values() if checkpoints in files]
    assert (len(files), files[checkpoints].users) == (1, 0)


async def test_a_file_is_closed_when_no_graph_has_used_it_for_a_while(
    checkpoints: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(langgraph_saver, "IDLE", 0.0)
    await events_of(graphs.talk, checkpoints)
    (file,) = [files[checkpoints] for files in langgraph_saver._open.values() if checkpoints in files]
    await asyncio.wait_for(file.task, 10)
    assert threads_in(checkpoints) == {}
    await events_of(graphs.talk, checkpoints)


async def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.db"
    file.write_text("no database " * 100)
    with pytest.raises(OSError, match=r"no checkpoints can be kept in .*c\.db: file is not a database"):
        await events_of(graphs.talk, str(file))


async def test_a_graph_keeps_its_own_checkpointer_and_is_not_changed(checkpoints: str) -> None:
    saver = InMemorySaver()
    graph = graphs.chain_of(graphs.Article, graphs.draft, graphs.gate).compile(checkpointer=saver)
    (asked,) = of(await events_of(graph, checkpoints), Asked)
    assert not threads_in(checkpoints)
    events = await events_of(graph, checkpoints, {asked.id: {"approved": True}})
    assert [one.name for one in of(events, Started)] == ["gate"]
    assert list(saver.storage) == ["r/1/a/1-x"]
    assert of(await events_of(graph, checkpoints), Asked), "what has ended begins anew"
    await events_of(graphs.review, checkpoints)
    assert graphs.review.checkpointer is None


# The examples ---------------------------------------------------------------------------------------------------


def deck(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "agentdeck", *words, "--db", str(folder / "a.db")]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_example_asks_and_goes_on_in_another_process(tmp_path: Path) -> None:
    """`agentdeck run`, then `resume`, killed with SIGKILL while it waits, then `answer` and the end."""
    file = str(bundled_files.workflows() / "frameworks" / "review.yaml")
    assert "asks: Publish this notice?" in deck(tmp_path, "run", file).stderr
    call = [sys.executable, "-m", "agentdeck", "resume", "last", "--wait", "--db", str(tmp_path / "a.db")]
    waiting = subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr is not None
    while "nothing can continue" not in waiting.stderr.readline():
        assert waiting.poll() is None
    waiting.kill()
    waiting.communicate()
    waiting = subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr is not None
    while "nothing can continue" not in waiting.stderr.readline():
        assert waiting.poll() is None
    answered = deck(tmp_path, "answer", "last", "review", "yes", "comment=thank you")
    assert answered.returncode == 0, answered.stderr
    output, _ = waiting.communicate(timeout=60)
    assert json.loads(output)["remarks"][-1] == "thank you"
    events = deck(tmp_path, "events", "last", "--json").stdout
    assert events.count('"name": "write"') + events.count('"name":"write"') == 1, "it was written once"


async def test_the_example_of_a_fan_out_runs() -> None:
    made = Workflow.from_file(bundled_files.workflows() / "frameworks" / "fanout.yaml")
    result = await made.run()
    assert [one["subject"] for one in result.output["answers"]] == ["a complaint"] * 4
