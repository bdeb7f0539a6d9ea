"""A plan tells, before anything runs, what will run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agentdeck.agents.command import Command
from agentdeck.agents.http import Http
from agentdeck.agents.python import Python
from agentdeck.agents.simulate import Simulate
from agentdeck.documents.document import json_text
from agentdeck.insight.plan import plan, plan_document
from agentdeck.scheduler.order_search import FoundOrder
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.model import Agent, Approve, Definition, Dispatch, Limits, Prompt, SubWorkflow, Work


def order() -> Definition:
    takes = {"extract": 2.0, "payment": 1.5, "inventory": 2.0, "shipping": 1.0, "confirm": 1.0}
    needs = {"extract": (), "confirm": ("payment", "inventory", "shipping")}
    return Definition(
        "order", {n: Agent(n, Simulate(takes=s), needs=needs.get(n, ("extract",))) for n, s in takes.items()}
    )


def test_the_order() -> None:
    made = plan(order(), workers=16, tasks=1)
    assert made.levels == (("extract",), ("payment", "inventory", "shipping"), ("confirm",))
    assert made.critical_path == ("extract", "inventory", "confirm")
    assert made.path_seconds == made.lower_bound == 5.0
    assert {deed.agent: deed.slack for deed in made.deeds} == {
        "extract": 0.0,
        "payment": 0.5,
        "inventory": 0.0,
        "shipping": 1.0,
        "confirm": 0.0,
    }
    assert made.assumed == ()


def test_many_tasks_share_the_workers() -> None:
    made = plan(order(), workers=16, tasks=200)
    assert made.lower_bound == 200 * 7.5 / 16
    assert made.sequential == 1500.0


@pytest.mark.parametrize(
    ("workers", "tasks", "bound"), [(16, 1, 7.5), (16, 8, 7.5), (2, 8, 30.0), (None, 3, 7.5)]
)
def test_with_one_step_of_each_task_at_a_time_more_workers_than_tasks_help_nobody(
    workers: int | None, tasks: int, bound: float
) -> None:
    one_by_one = replace(order(), mode="sequential", limits=Limits(workers=None))
    assert plan(one_by_one, workers=workers, tasks=tasks).lower_bound == bound


def test_what_was_seen_wins_and_guesses_are_marked() -> None:
    agents = {"a": Agent("a", Python("m:a")), "b": Agent("b", Python("m:b"), needs=("a",))}
    made = plan(Definition("d", agents), seconds={"a": 3.0})
    assert [(deed.seconds, deed.source) for deed in made.deeds] == [(3.0, "seen"), (1.0, "assumed")]
    assert made.assumed == ("b",)
    assert made.lower_bound == 4.0


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (Python("shop:extract"), "shop:extract"),
        (Command(("git", "log", "two words")), "git log 'two words'"),
        (Http("https://user:secret@api.example.org/v1?key=secret", "POST"), "POST api.example.org"),
        (Http("${inputs.url}"), "GET ${inputs.url}"),
        (Prompt("Hello"), "tier execution"),
        (Prompt("Hello", model="opus"), "opus"),
        (SubWorkflow("review.yaml"), "review.yaml"),
        (Dispatch("triage.kind"), "triage.kind"),
        (Approve("Block it?"), "Block it?"),
        (Simulate(), ""),
    ],
)
def test_targets(does: Work, says: str) -> None:
    agent = Agent("a", does)
    assert kind_of(agent).target(agent) == says


def test_it_is_json() -> None:
    agents = {
        "a": Agent("a", Command(("git", "status"))),
        "b": Agent("b", Command(("git", "status")), needs=("a",)),
        "c": Agent("c", Python("m:c"), spare=True),
    }
    order = FoundOrder(reason="the tasks of a run start by age")
    made = json.loads(
        json_text(plan_document(plan(Definition("d", agents), workers=2, tasks=3), (0.0, ""), order, ()))
    )
    assert made["runs"]["commands"] == ["git status"]
    assert made["levels"] == [["a"], ["b"]]
    assert made["agents"]["c"]["spare"] is True


def test_an_empty_graph() -> None:
    assert plan(Definition("d", {})).lower_bound == 0.0
