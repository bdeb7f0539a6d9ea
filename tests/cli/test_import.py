"""`agentdeck import`: a file that loads, plans and runs, or the reason why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Deck

CREWS = ROOT / "tests" / "data" / "crewai"


def test_a_crew_is_imported_checked_planned_and_run(deck: Deck) -> None:
    done = deck("import", "crewai", CREWS / "engineering_team", "-o", "team.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert "llm of the agent test_engineer is not carried over: openai/gpt-5.4-mini" in done.stderr
    assert "wrote team.yaml (6 warnings); agentdeck plan team.yaml shows what it does" in done.stderr
    assert deck("check", "team.yaml").stdout == "team.yaml: ok\n"
    assert "level 3  frontend_task, test_task" in deck("plan", "team.yaml").stdout
    ran = deck("run", "team.yaml", "-i", "requirements=A calculator", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["state"] == "done"


def test_without_a_file_the_workflow_goes_to_stdout(deck: Deck) -> None:
    done = deck("import", "crewai", CREWS / "recruitment")
    assert done.returncode == 0
    deck.write("recruitment.yaml", done.stdout)
    assert deck("check", "recruitment.yaml").returncode == 0
    assert "warning: tasks name no agent here" in done.stderr


def test_a_file_is_replaced_only_with_force(deck: Deck) -> None:
    deck.write("team.yaml", "mine")
    asked = ("import", "crewai", CREWS / "recruitment", "-o", "team.yaml")
    done = deck(*asked)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "agentdeck: -o team.yaml: this file exists; --force replaces it\n"
    assert (deck.folder / "team.yaml").read_text() == "mine"
    assert deck(*asked, "--force").returncode == 0
    assert (deck.folder / "team.yaml").read_text().startswith("# The CrewAI crew recruitment")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["crewai", "nowhere"], "nowhere: no such folder; check the name"),
        (["crewai", "."], "there is no crew in this folder"),
        (["crewai", CREWS / "recruitment", "-o", "."], "-o .: this is a folder; name a file in it"),
        (["crewai", CREWS / "recruitment", "-o", "no/where.yaml"], "-o no/where.yaml: No such file or directory"),
        (["crew", "x"], "No such command 'crew'"),
        (["langgraph", "nowhere:graph"], "there is no module nowhere here"),
        (["flow", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["flow", CREWS / "recruitment" / "tasks.yaml"], "this is no flow"),
        (["langgraph", "graph"], "write module:name, or FILE.py:name"),
    ],
)
def test_what_cannot_be_imported(deck: Deck, words: list[str | Path], said: str) -> None:
    done = deck("import", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


GRAPH = """
import operator
from typing import Annotated, TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict):
    topic: str
    log: Annotated[list, operator.add]

def one(state):
    return {"log": ["one " + state["topic"]]}

def two(state):
    return {"log": ["two"]}

graph = StateGraph(State).add_node(one).add_node(two).add_edge(START, "one").add_edge("one", "two").compile()
"""


def test_a_graph_is_imported_checked_planned_and_run(deck: Deck) -> None:
    deck.write("review.py", GRAPH)
    done = deck("import", "langgraph", "review:graph", "-o", "review.yaml")
    assert done.returncode == 0, done.stderr
    assert deck("check", "review.yaml").stdout == "review.yaml: ok\n"
    assert "critical path  one → two → state" in deck("plan", "review.yaml").stdout
    ran = deck("run", "review.yaml", "-i", "topic=stoves")
    assert json.loads(ran.stdout) == {"topic": "stoves", "log": ["one stoves", "two"]}
    assert deck("import", "langgraph", "review:graph", "--run-code").returncode == 0
    (deck.folder / "elsewhere").mkdir()
    deck.write("elsewhere/other.py", GRAPH)
    done = deck("import", "langgraph", "elsewhere/other.py:graph")
    assert "other is not found from" in done.stderr
    assert (
        deck("import", "langgraph", "elsewhere/other.py:graph", "-o", "elsewhere/o.yaml").stderr.count("found")
        == 0
    )


FLOW = """
schema: crewai.flow/v1
name: research
state: { type: dict, default: { topic: stoves } }
methods:
  look:
    start: true
    do: { call: agent, with: { role: R, goal: G, backstory: B, input: "Look at ${state.topic}" } }
  decide:
    listen: look
    router: true
    emit: [long, short]
    do: { call: expression, expr: "size(outputs.look.raw) > 1 ? 'long' : 'short'" }
  cut: { listen: long, do: { call: expression, expr: "'cut ' + state.topic" } }
"""


def test_a_flow_is_imported_checked_planned_and_run(deck: Deck) -> None:
    deck.write("flow.yaml", FLOW)
    done = deck("import", "flow", "flow.yaml", "-o", "research.yaml")
    assert done.returncode == 0, done.stderr
    assert deck("check", "research.yaml").stdout == "research.yaml: ok\n"
    assert "critical path  look → decide → cut" in deck("plan", "research.yaml").stdout
    assert json.loads(deck("run", "research.yaml", "--json").stdout)["output"] == "cut stoves"
    done = deck("import", "flow", "flow.yaml", "-o", "flow.yaml", "--force")
    assert done.returncode == 2
    assert "this is the flow itself" in done.stderr


def test_the_model_of_the_deck_is_named(deck: Deck) -> None:
    deck.write(
        "deck.yaml",
        "agentdeck: 1\nproviders: { fake: { type: simulated } }\n"
        "models: { mini: { provider: fake, id: gpt-5.4-mini } }\ntiers: { execution: [mini] }\n",
    )
    done = deck("import", "crewai", CREWS / "engineering_team", "-o", "team.yaml")
    assert done.stderr.count("llm of the agent") == 1
    assert (deck.folder / "team.yaml").read_text().count("model: mini") == 3
    assert deck("check", "team.yaml").returncode == 0
