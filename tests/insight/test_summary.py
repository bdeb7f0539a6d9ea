"""The summary says what the log says, and its bound is one."""

from __future__ import annotations

import json

import pytest

from agentdeck.agents.python import Python
from agentdeck.agents.simulate import Simulate
from agentdeck.documents.document import json_text
from agentdeck.insight.lower_bound import lower_bound, schedule
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Definition, Join

TAKES = {"extract": 2.0, "payment": 1.5, "inventory": 2.0, "shipping": 1.0, "confirm": 1.0}
NEEDS = {"confirm": ("payment", "inventory", "shipping"), "extract": ()}
KEYS = {
    *(
        "run",
        "workflow",
        "state",
        "seconds",
        "simulated",
        "simulated_agents",
        "tasks",
        "steps",
        "attempts",
        "letters",
        "approvals",
        "critical_path",
    ),
    *("lower_bound_seconds", "sequential_seconds", "speedup", "agents", "inner", "place_workers", "output"),
    "closed_places",
    *("usd", "usd_all_reasoning", "saved"),
}
AGENT_KEYS = {
    *("steps", "done", "failed", "attempts", "success_rate", "p50", "p95", "input_bytes", "waiting"),
    *(
        "tokens_in",
        "tokens_out",
        "cached_in",
        "usage_missing",
        "eased",
        "estimated",
        "usd",
        "usd_all_reasoning",
        "saved",
    ),
}


def order(join: Join | None = None) -> Definition:
    agents = {n: Agent(n, Simulate(takes=s), needs=NEEDS.get(n, ("extract",))) for n, s in TAKES.items()}
    if join:
        agents["confirm"] = Agent("confirm", Simulate(takes=1.0), needs=NEEDS["confirm"], join=join)
    return Definition("order", agents)


def one_order(workers: int = 8) -> RunView:
    view = RunView(order())
    begin = {"extract": 0.0, "payment": 2.0, "inventory": 2.0, "shipping": 2.0, "confirm": 4.0}
    events: list[ev.Event] = [
        ev.RunStarted(0.0, "r1", "order", "x", {}, {"workers": workers}),
        ev.TaskOpened(0.0, "1", {}),
        ev.TasksExhausted(0.0, 1),
    ]
    for name, at in begin.items():
        events.append(ev.StepStarted(at, "1", name, name, 1, at))
        events.append(ev.StepSucceeded(at + TAKES[name], "1", name, 1, name))
    events += [ev.TaskEnded(5.0, "1", "done", {"ok": True}), ev.RunEnded(5.0, "done")]
    for seq, event in enumerate(events, 1):
        view.apply(seq, event)
    return view


def test_one_order() -> None:
    made = json.loads(json_text(summary(one_order(), order())))
    assert set(made) == KEYS
    assert set(made["agents"]["payment"]) == AGENT_KEYS
    assert made["seconds"] == 5.0
    assert made["lower_bound_seconds"] == 5.0
    assert made["sequential_seconds"] == 7.5
    assert made["speedup"] == 1.5
    assert made["critical_path"] == ["extract", "inventory", "confirm"]
    assert made["simulated"] is True
    assert made["tasks"] == {"total": 1, "done": 1, "failed": 0, "cancelled": 0, "never_started": 0}
    assert made["agents"]["confirm"]["p50"] == 1.0
    assert made["agents"]["confirm"]["waiting"] == {"needs": 4.0}
    assert made["agents"]["confirm"]["usd"] is None
    assert made["usd"] is None
    assert made["output"] == {"ok": True}


def test_few_workers_raise_the_bound() -> None:
    assert summary(one_order(workers=1), order()).lower_bound_seconds == 7.5


def test_the_output_of_many_is_left_out() -> None:
    view = one_order()
    view.apply(99, ev.TaskOpened(5.0, "2", {}))
    assert summary(view).output is None


def test_nothing_happened_yet() -> None:
    made = json.loads(json_text(summary(RunView(order()), order())))
    assert made["speedup"] is None
    assert made["lower_bound_seconds"] == 0.0


def test_a_log_without_its_definition_still_has_a_summary() -> None:
    view = RunView()
    view.apply(1, ev.RunStarted(0.0, "r1", "order", "x", {}, {}))
    assert summary(view).critical_path == []


@pytest.mark.parametrize(
    ("join", "seconds"),
    [
        (Join(), 5.0),
        (Join("any"), 4.0),
        (Join("progressive"), 5.0),
        (Join("quorum", quorum=2), 4.5),
        (Join("quorum", quorum=0.5), 4.5),
        (Join("quorum", quorum=3, within=60.0, min=2), 5.0),
        (Join("quorum", quorum=3, within=0.1, min=2), 4.5),
        (Join(within=60.0), 5.0),
        (Join(within=0.1), 4.0),
    ],
)
def test_a_join_waits_only_for_enough(join: Join, seconds: float) -> None:
    assert schedule(order(join), TAKES).seconds == seconds


def test_spare_agents_delay_nobody() -> None:
    spare = Agent("linter", Python("m:lint"), spare=True)
    definition = Definition("d", {"a": Agent("a", Python("m:a")), "linter": spare})
    assert schedule(definition, {"a": 1.0, "linter": 9.0}).seconds == 1.0


def test_the_bound_is_the_larger_one() -> None:
    assert lower_bound(5.0, 1500.0, 16) == 93.75
    assert lower_bound(5.0, 7.5, 16) == 5.0
    assert lower_bound(5.0, 7.5, None) == 5.0


def test_what_was_saved_is_told_only_where_all_prices_are_known() -> None:
    def told(*usages: ev.Usage) -> dict[str, object]:
        view = RunView()
        view.apply(1, ev.TaskOpened(0.0, "1", {}))
        for n, usage in enumerate(usages):
            view.apply(2 + 2 * n, ev.StepStarted(0.0, "1", f"a{n}", "a", 1, 0.0))
            view.apply(3 + 2 * n, ev.StepSucceeded(1.0, "1", f"a{n}", 1, None, usage))
        made = summary(view)
        return {name: getattr(made, name) for name in ("usd", "usd_all_reasoning", "saved")}

    one = ev.Usage(10, 10, usd=0.25, usd_reasoning=1.0, model="m")
    assert told(one, one) == {"usd": 0.5, "usd_all_reasoning": 2.0, "saved": 1.5}
    assert told(one, one._replace(usd_reasoning=None)) == {"usd": 0.5, "usd_all_reasoning": None, "saved": None}
    unknown = one._replace(usd=None)
    assert told(one, unknown) == {"usd": None, "usd_all_reasoning": None, "saved": None}
    assert told() == {"usd": None, "usd_all_reasoning": None, "saved": None}
