"""Imported graphs end in the state in which LangGraph itself ends: both run here, with the real package."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentdeck import Workflow
from agentdeck.errors import InvalidFile
from agentdeck.importing.langgraph import import_langgraph
from agentdeck.importing.langgraph_node import _load
from agentdeck.importing.workflow_text import workflow_text

HEAD = """
import operator
from typing import Annotated, Literal, TypedDict
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt


class State(TypedDict, total=False):
    topic: str
    log: Annotated[list, operator.add]
    score: int


def node(name, **more):
    def call(state):
        return {"log": [f"{name} after {','.join(state.get('log', []))}"], **more}
    return call


"""
names = iter(f"imported_graph_{number}" for number in range(10_000))


class Module:
    """A module with graphs, in a folder of its own."""

    def __init__(self, folder: Path, code: str, head: str = HEAD) -> None:
        self.name = next(names)
        self.folder = folder
        self.file = folder / f"{self.name}.py"
        self.file.write_text(head + code, encoding="utf-8")

    def imported(self, name: str = "graph", *, run_code: bool = False) -> Workflow:
        workflow, _ = import_langgraph(f"{self.file}:{name}", run_code)
        file = self.folder / f"{self.name}_{run_code}.yaml"
        file.write_text(workflow_text(workflow), encoding="utf-8")
        return Workflow.from_file(file)

    def refused(self, name: str = "graph", *, run_code: bool = False) -> str:
        with pytest.raises(InvalidFile) as raised:
            import_langgraph(f"{self.file}:{name}", run_code)
        return str(raised.value)


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps put the folder of their workflow on the path."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def end_of(workflow: Workflow, given: Mapping[str, Any]) -> Any:
    return asyncio.run(workflow.run(given)).output


def check_same(module: Module, *inputs: Mapping[str, Any], name: str = "graph") -> None:
    """Both ways of the import end as the graph does."""
    for run_code in (False, True):
        workflow = module.imported(name, run_code=run_code)
        for given in inputs:
            ended = end_of(workflow, given)
            real = asyncio.run(_load(f"{module.name}:{name}").ainvoke(given))
            assert ended == json.loads(json.dumps(real))


BRANCHES = """
def route(state) -> Literal["good", "bad", "__end__"]:
    return {"x": "good", "y": "bad"}.get(state["topic"], END)


async def b_look(state: State):
    return {"log": [f"look {len(state['log'])}"]}


builder = StateGraph(State)
builder.add_node("plan", node("plan", score=1))
builder.add_node(b_look)
for_all = "write"
builder.add_node("a_read", node("read"))
builder.add_node(for_all, node("write"))
builder.add_node("good", node("good"))
builder.add_node("bad", node("bad"))
builder.add_node("polish", node("polish"))
builder.set_entry_point("plan")
builder.add_edge("plan", "b_look").add_edge("plan", "a_read")
builder.add_edge(["b_look", "a_read"], for_all)
builder.add_conditional_edges("write", route)
builder.add_edge("good", "polish")
builder.add_edge("bad", "polish")
builder.set_finish_point("polish")
graph = builder.compile()
"""


def test_parallel_nodes_and_conditional_edges(tmp_path: Path) -> None:
    module = Module(tmp_path, BRANCHES)
    check_same(module, {"topic": "x"}, {"topic": "y", "log": ["given"]}, {"topic": "z"})


def test_needs_and_conditions(tmp_path: Path) -> None:
    workflow, findings = import_langgraph(f"{Module(tmp_path, BRANCHES).file}:graph", False)
    agents = {agent.name: agent.keys for agent in workflow.agents}
    assert findings.issues == []
    assert workflow.inputs["topic"] == {"type": "string", "default": None}
    assert list(workflow.inputs) == ["topic", "log", "score"]
    assert {name: keys.get("needs") for name, keys in agents.items()} == {
        "plan": None, "b_look": "plan", "a_read": "plan", "write": ["b_look", "a_read"], "good": "write",
        "bad": "write", "polish": ["good", "bad"], "state": ["polish", "write"],
    }  # fmt: skip
    assert agents["good"]["when"] == "'good' in write.next"
    assert "when" not in agents["polish"]  # it is skipped where both are
    assert agents["write"]["with"]["before"][1:] == [["${plan}"], ["${a_read}", "${b_look}"]]


def test_send_and_commands_and_a_factory(tmp_path: Path) -> None:
    code = """
def fan(state):
    return [Send("work", {"item": letter}) for letter in state["topic"]]

def work(state):
    return {"log": ["did " + state["item"]]}

def side(state) -> Command[Literal["join", "__end__"]]:
    return Command(update={"log": ["side"]}, goto="join" if state["topic"] != "b" else END)

def make():
    return (
        StateGraph(State).add_node("split", node("split")).add_node(work).add_node(side)
        .add_node("join", node("join")).add_edge(START, "split").add_conditional_edges("split", fan, ["work"])
        .add_edge("split", "side").add_edge("work", "join").compile()
    )
"""
    module = Module(tmp_path, code)
    check_same(module, {"topic": "abc"}, {"topic": ""}, {"topic": "b"}, name="make")


def test_messages_and_models_in_the_state(tmp_path: Path) -> None:
    code = """
from pydantic import BaseModel
from langchain_core.messages import AIMessage, HumanMessage

class Plan(BaseModel):
    steps: list[str]

class State(BaseModel):
    messages: Annotated[list, add_messages] = []
    plan: Plan | None = None

def first(state: State):
    return {"messages": [AIMessage("hello", id="1")], "plan": Plan(steps=["a"])}

def second(state: State):
    last = state.messages[-1]
    assert isinstance(last, AIMessage) and isinstance(state.messages[0], HumanMessage)
    return {"messages": [("user", f"{last.content} {state.plan.steps[0]} {len(state.messages)}")]}

graph = StateGraph(State).add_sequence([first, ("then", second)]).add_edge(START, "first").compile()
"""
    module = Module(
        tmp_path, code.replace("class Plan", "from langgraph.graph import add_messages\n\nclass Plan")
    )
    given = {"messages": [{"role": "user", "content": "hi", "id": "0"}]}
    for run_code in (False, True):
        ended = end_of(module.imported(run_code=run_code), given)
        assert [message["content"] for message in ended["messages"]] == ["hi", "hello", "hello a 2"]
        assert ended["plan"] == {"steps": ["a"]}


def test_a_conditional_entry_a_deferred_node_and_a_subgraph(tmp_path: Path) -> None:
    code = """
inner = StateGraph(State).add_node("deep", node("deep")).add_edge(START, "deep").compile()

def enter(state) -> Literal["short", "long"]:
    return "short" if state["topic"] == "s" else "long"

builder = StateGraph(State)
builder.add_node("short", node("short")).add_node("long", inner).add_node("longer", node("longer"))
builder.add_node("last", node("last"), defer=True).add_node("after", node("after"))
builder.set_conditional_entry_point(enter)
builder.add_edge("short", "last").add_edge("long", "longer").add_edge("longer", "last").add_edge("last", "after")
builder.add_edge("long", "last")
graph = builder.compile()
"""
    check_same(Module(tmp_path, code), {"topic": "s"}, {"topic": "l"})


def test_a_node_that_repeats_itself(tmp_path: Path) -> None:
    code = """
def draft(state):
    return {"log": [f"draft {len(state['log'])}"], "score": state["score"] + 1}

def again(state) -> Literal["draft", "good", "bad"]:
    if state["score"] < len(state["topic"]):
        return "draft"
    return "good" if state["topic"] != "ab" else "bad"

builder = StateGraph(State).add_node("plan", node("plan", score=0)).add_node(draft)
builder.add_node("good", node("good")).add_node("bad", node("bad")).add_node("last", node("last"))
builder.add_edge(START, "plan").add_edge("plan", "draft").add_conditional_edges("draft", again)
builder.add_edge("good", "last").add_edge("bad", "last")
graph = builder.compile()
"""
    module = Module(tmp_path, code)
    check_same(module, {"topic": "abc"}, {"topic": "ab"}, {"topic": ""})
    workflow, _ = import_langgraph(f"{module.file}:graph", False)
    agents = {agent.name: agent.keys for agent in workflow.agents}
    assert agents["draft"]["repeat"] == {"until": "'draft' not in output.next", "max": 1000}
    for more, said in (
        ('add_node("x", node("x")).add_edge("draft", "x")', "draft repeats itself, and other edges leave it"),
        ('add_node("x", node("x")).add_edge("plan", "x")', "draft repeats itself, and x runs meanwhile"),
        (
            'add_node("x", node("x")).add_node("y", node("y")).add_edge(START, "x").add_edge("x", "y")',
            "draft repeats itself, and y runs meanwhile",
        ),
    ):
        changed = Module(tmp_path, code.replace("graph = ", f"builder.{more}\ngraph = "))
        assert said in changed.refused()


def test_a_node_that_runs_instead_of_one_that_repeats_itself(tmp_path: Path) -> None:
    code = """
def choose(state) -> Literal["once", "often"]:
    return "often" if state["topic"] else "once"

def again(state) -> Literal["often", "last"]:
    return "often" if len(state["log"]) <= len(state["topic"]) else "last"

builder = StateGraph(State).add_node("first", node("first")).add_node("once", node("once"))
builder.add_node("often", node("often")).add_node("last", node("last")).add_edge(START, "first")
builder.add_conditional_edges("first", choose).add_conditional_edges("often", again).add_edge("once", "last")
graph = builder.compile()
"""
    check_same(Module(tmp_path, code), {"topic": ""}, {"topic": "abc"})


def test_a_node_that_never_stops_repeating_itself_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.importing.langgraph.MAX_ROUNDS", 3)
    code = """
def again(state) -> Literal["a", "__end__"]:
    return "a"

graph = StateGraph(State).add_node("a", node("a")).add_edge(START, "a").add_conditional_edges("a", again)
"""
    result = asyncio.run(Module(tmp_path, code).imported().run({"topic": ""}, check=False))
    assert result.error is not None
    assert result.error.message.endswith("a has repeated itself 3 times, and still goes to itself")


def random_graph(seed: int) -> str:
    """A graph of a few nodes with plain, joined and conditional edges, without cycles."""
    pick = random.Random(seed)
    count = pick.randint(3, 7)
    lines = ["builder = StateGraph(State)"]
    lines += [f'builder.add_node("n{n}", node("n{n}"))' for n in range(count)]
    reached = {0}
    lines.append('builder.add_edge(START, "n0")')
    for n in range(count):
        later = list(range(n + 1, count))
        if not later or n not in reached:
            continue
        kind = pick.choice(["edge", "edge", "edges", "branch", "branch", "many", "loop", "end"])
        targets = pick.sample(later, min(len(later), {"edge": 1, "loop": 1, "end": 0}.get(kind, 2)))
        reached |= {*targets}
        if kind in ("edge", "edges"):
            lines += [f'builder.add_edge("n{n}", "n{target}")' for target in targets]
        elif kind != "end":
            names = [f"n{target}" for target in targets] + (["__end__"] if pick.random() < 0.3 else [])
            names += [f"n{n}"] if kind == "loop" else []
            returns = f"Literal{names}" if kind != "many" else f"list[Literal{names}]"
            choice = f"{names}[(len(state['topic']) + {n}) % {len(names)}]"
            choice = f"{names}[:1 + len(state['topic']) % 2]" if kind == "many" else choice
            if kind == "loop":
                rounds = f"len([one for one in state['log'] if one.startswith('n{n} ')])"
                choice = f"{names}[-1 if {rounds} <= len(state['topic']) else 0]"
            lines.append(f"def route{n}(state) -> {returns}:\n    return {choice}")
            lines.append(f'builder.add_conditional_edges("n{n}", route{n})')
    for n in range(count):
        if n not in reached:
            sources = pick.sample(
                sorted(one for one in reached if one < n), 1 if n < 2 else min(2, len(reached))
            )[:2]
            sources = [one for one in sources if one < n] or [0]
            shown = json.dumps([f"n{one}" for one in sources]) if len(sources) > 1 else f'"n{sources[0]}"'
            lines.append(f'builder.add_edge({shown}, "n{n}")')
            reached.add(n)
    return "\n".join([*lines, "graph = builder.compile()", ""])


def test_random_graphs_end_as_in_langgraph(tmp_path: Path) -> None:
    """Those that are refused are the ones of which LangGraph may run a node twice, or out of order. A thousand
    more seeds were compared once."""
    same = refused = 0
    for seed in range(16):
        module = Module(tmp_path, random_graph(seed))
        try:
            workflow = module.imported(run_code=seed % 2 == 1)
        except InvalidFile as error:
            said = str(error)
            refused += any(why in said for why in ("more than once", "depends on the path", "repeats itself"))
            continue
        for topic in ("", "a", "ab"):
            real = asyncio.run(_load(f"{module.name}:graph").ainvoke({"topic": topic}))
            assert end_of(workflow, {"topic": topic}) == real, module.file.read_text()
        same += 1
    assert same + refused == 16
    assert min(same - 5, refused) > 1


FIRST = 'builder = StateGraph(State).add_node("a", node("a")).add_edge(START, "a")\n'


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            FIRST + 'def again(s) -> Literal["a", "__end__"]: return END\n'
            'builder.add_node("b", node("b")).add_edge("a", "b").add_conditional_edges("b", again)\n'
            "graph = builder.compile()",
            "a cycle: a -> b -> a; its end is decided by code; run the graph as one agent: python: ",
        ),
        (
            FIRST + "builder.add_node('b', node('b')).add_edge('a', 'b').add_edge(START, 'b')\ngraph = builder",
            "LangGraph can run b more than once, in step 2 and in step 1",
        ),
        (
            FIRST + "for n in 'bc':\n    builder.add_node(n, node(n))\ngraph = builder",
            "built in a statement (for)",
        ),
        (FIRST + "extend(builder)\ngraph = builder.compile()", "extend may change the graph"),
        (FIRST + "builder.add_node(f'{x}', node('b'))\ngraph = builder", "the name of this node cannot be read"),
        (
            FIRST + "builder.add_node('a', node('b'))\ngraph = builder",
            "the node a is here twice, first in line 20",
        ),
        (FIRST + "builder.add_edge('a', 'bee')\ngraph = builder", "there is no node bee; there are a"),
        (FIRST + "builder.add_edge(name(), 'a')\ngraph = builder", "the nodes of this edge cannot be read"),
        (FIRST + "builder.add_node('b', node('b'))\ngraph = builder", "nothing leads to the node b"),
        (
            FIRST + 'def r(s) -> Literal["b", "c"]: return "b"\n'
            "builder.add_node('b', node('b')).add_node('c', node('c')).add_node('d', node('d'))\n"
            "builder.add_conditional_edges('a', r).add_edge(['b', 'c'], 'd')\ngraph = builder",
            "no run reaches the node d",
        ),
        (
            FIRST + "def r(s): return END\nbuilder.add_conditional_edges('a', r)\ngraph = builder",
            "known only to the code",
        ),
        (FIRST + "builder.add_conditional_edges('a', lambda s: END)\ngraph = builder", "known only to the code"),
        (
            FIRST + "def b(s): return Command(goto='a')\nbuilder.add_node(b).add_edge('a', 'b')\ngraph = builder",
            "its annotation does not say to which nodes",
        ),
        (
            FIRST + "def b(s): return interrupt('?')\nbuilder.add_node(b).add_edge('a', 'b')\ngraph = builder",
            "waits for an answer of the operator",
        ),
        (
            FIRST + "graph = builder.compile(interrupt_before=['a'])",
            "interrupt_before: the graph stops there and waits for an answer",
        ),
        (FIRST + "builder.add_node(**given)\ngraph = builder", "**given cannot be read without running it"),
        (
            "graph = StateGraph(Missing).add_node('a', node('a')).add_edge(START, 'a')",
            "the fields of Missing cannot be read",
        ),
        ("graph = StateGraph(State)", "the graph has no nodes"),
        ("graph = build()", "graph is not made by a StateGraph here"),
        ("def graph(name):\n    return StateGraph(State)", "graph takes arguments"),
        ("grapf = 1", "has no graph; did you mean grapf?"),
        ("def (", "not Python"),
    ],
)
def test_graphs_that_are_not_imported(code: str, said: str, tmp_path: Path) -> None:
    module = Module(tmp_path, code)
    text = module.refused()
    assert said in text
    assert f"{module.name}.py:" in text


def test_what_reading_refuses_running_the_code_imports(tmp_path: Path) -> None:
    code = FIRST + "for n in 'bc':\n    builder.add_node(n, node(n)).add_edge('a', n)\ngraph = builder.compile()"
    module = Module(tmp_path, code)
    assert "use --run-code" in module.refused()
    assert end_of(module.imported(run_code=True), {"topic": "t"})["log"][0] == "a after "
    broken = Module(tmp_path, "raise RuntimeError('no key')")
    assert "cannot be imported: RuntimeError: no key" in broken.refused(run_code=True)
    assert "is a str, not a StateGraph" in Module(tmp_path, "graph = 'x'").refused(run_code=True)
    assert "graph raises KeyError" in Module(tmp_path, "def graph(): return {}['x']").refused(run_code=True)


def test_reading_executes_nothing(tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n{FIRST}graph = builder.compile(checkpointer=Saver())"
    module = Module(tmp_path, code)
    _, findings = import_langgraph(f"{module.file}:graph", False)
    assert ["checkpointer is not carried over: Saver()" in str(issue) for issue in findings.issues] == [True]
    assert not (tmp_path / "ran").exists()
    assert module.name not in sys.modules


def test_nodes_of_other_files_and_several_graphs_in_one(tmp_path: Path) -> None:
    (tmp_path / "steps_of_imports.py").write_text(
        f"{HEAD}def choose(state) -> Command[Literal['b', 'c']]:\n    return Command(goto='c')\n",
        encoding="utf-8",
    )
    code = """
from steps_of_imports import State as Shared, choose as pick
other = StateGraph(State).add_node("x", node("x")).add_edge(START, "x").compile()
builder = StateGraph(Shared)
builder.add_node(pick).add_node("b", node("b")).add_node("c", node("c")).add_edge(START, "choose")
graph = builder.compile()
"""
    module = Module(tmp_path, code)
    workflow, _ = import_langgraph(f"{module.file}:graph", False)
    assert [agent.name for agent in workflow.agents] == ["choose", "b", "c", "state"]
    assert list(workflow.inputs) == ["topic", "log", "score"]
    workflow, _ = import_langgraph(f"{module.file}:other", False)
    assert [agent.name for agent in workflow.agents] == ["x", "state"]


def test_targets_that_name_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for target, said in {
        "graph": "write module:name",
        "nowhere.at_all:graph": "there is no module nowhere.at_all here",
        "nowhere.py:graph": "nowhere.py: no such file",
        "a:b:c d": "write module:name",
    }.items():
        with pytest.raises(InvalidFile) as raised:
            import_langgraph(target, False)
        assert said in str(raised.value)


def test_a_graph_that_has_changed_is_noticed(tmp_path: Path) -> None:
    """What a node chooses and the workflow does not have fails the step, with what to do."""
    code = """
def pick(state) -> Literal["b", "c"]:
    return state["topic"].split(",") if state["topic"] else "d"

builder = StateGraph(State).add_node("a", node("a")).add_node("b", node("b")).add_node("c", node("c"))
builder.add_node("d", node("d"))
builder.add_edge(START, "a").add_conditional_edges("a", pick, {"b": "b", "c": "c", "d": "d"})
graph = builder.compile()
"""
    workflow = Module(
        tmp_path, code.replace(', "d": "d"})', "})").replace('builder.add_node("d", node("d"))\n', "")
    ).imported()
    result = asyncio.run(workflow.run({"topic": "b,c"}, check=False))
    assert result.error is not None
    assert "a goes to b, c at once, and the workflow was made for one of them" in result.error.message
