"""Shared resources in answers: why a step waits, what a change would do, plans, bounds and forecasts."""

from __future__ import annotations

import pytest

from agentdeck.insight.forecast import forecast, without_items
from agentdeck.insight.limits import Limit, limits
from agentdeck.insight.plan import plan
from agentdeck.insight.resources import resource_waits, resources
from agentdeck.insight.summary import summary
from agentdeck.insight.what_if import predict_change, snapshot_run
from agentdeck.insight.why import explain
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads

WORK = """
agentdeck: 1
name: share
limits: { workers: 8, gpu: 4, mem: 10 }
agents:
  train: { simulate: 4s, uses: { gpu: 2, mem: 4.5 } }
  eval: { simulate: 2s, uses: { gpu: 1 } }
  small: { simulate: 1s, uses: { mem: 0.5 } }
"""
DEFINITION = loads(WORK).definition


def seen(*events: ev.Event, tasks: int = 4) -> RunView:
    """A run in which nothing has started yet, and what happened then."""
    view = RunView(DEFINITION)
    log: list[ev.Event] = [ev.RunStarted(0.0, "r", "share", "", {}, {"workers": 8, "gpu": 4, "mem": 10})]
    log += [ev.TaskOpened(0.0, str(n), {}) for n in range(1, tasks + 1)]
    for seq, event in enumerate([*log, *events], 1):
        view.apply(seq, event)
    return view


def started(task: str, step: str, at: float = 1.0) -> ev.StepStarted:
    return ev.StepStarted(at, task, step, step, 1, 0.0, uses=dict(DEFINITION.agents[step].uses))


FULL = (started("1", "train"), started("1", "eval"), started("2", "eval"))


def why(view: RunView, task: str, step: str) -> tuple[str, str]:
    found = explain(view, DEFINITION, task, step, 3.0)
    return found.reason, found.text.partition("; ")[2]


def test_a_step_that_lacks_a_resource_says_who_uses_it_and_what_would_be_enough() -> None:
    view = seen(*FULL)
    assert why(view, "2", "train") == (
        "resources",
        "waits for gpu: 4 of 4 in use by train 2, eval 2; it uses 2, and gpu=6 would be enough now",
    )
    assert why(view, "3", "small") == ("starting", "workers are free (3/8): it starts next")


def test_a_limit_that_was_lowered_below_what_a_step_uses_is_named() -> None:
    view = seen(*FULL, ev.LimitChanged(2.0, "gpu", 4, 1, "ada"))
    told = "it uses 2 of gpu, and the limit is 1: it starts when gpu is raised to 2"
    assert why(view, "2", "train") == ("resources", told)
    assert next(one for one in limits(view, 3.0) if one.name == "gpu").over


def test_a_step_that_others_may_not_pass_and_those_that_wait_for_it_are_told_apart() -> None:
    claim = ev.StepWaited(2.0, "2", "train", "resources", "mem: what becomes free is kept for it, 4.5 in all")
    view = seen(started("1", "train"), started("1", "small"), started("3", "train"), claim)
    assert why(view, "2", "train")[1].endswith("; what becomes free is kept for it")
    kept = "what becomes free of mem is kept for train of task 2, which is first"
    assert why(view, "3", "small") == ("resources", kept)
    assert resource_waits(view)["mem"] == {"train": 2}  # that of task 4, and the one that it is kept for


def test_each_resource_is_a_limit_with_its_use_and_what_waits() -> None:
    view = seen(*FULL)
    found = {one.name: one for one in limits(view, 3.0, waits=resource_waits(view))}
    assert list(found)[:3] == ["workers", "gpu", "mem"]
    assert found["gpu"] == Limit("gpu", 4, 4.0, 5, 4.0)
    assert found["mem"] == Limit("mem", 10, 4.5, 0, 10.0)
    assert resources(view)["gpu"].text == "4 of 4 in use by train 2, eval 2"


def test_what_a_nested_task_uses_is_counted() -> None:
    nested = ev.StepStarted(1.0, "1/review[2]", "scan", "scan", 1, 0.0, uses={"gpu": 1.5})
    view = seen(ev.TaskOpened(1.0, "1/review[2]", {}, ("1", "eval")), nested)
    assert resources(view)["gpu"].by_agent == {"review/scan": 1500}


def test_what_a_change_would_do() -> None:
    view = seen(*FULL, tasks=100)
    for seq, step in enumerate(("train", "eval"), view.seq + 1):
        view.apply(seq, ev.StepSucceeded(5.0 if step == "train" else 3.0, "1", step, 1))
    run = snapshot_run(view, DEFINITION, 100)
    assert "limited by 4 of gpu" in predict_change(run, "workers", 9)
    assert "limited by 10 of mem" in predict_change(run, "gpu", 6)
    assert (
        predict_change(run, "gpu", 1) == "train would start no more steps: 2 of gpu is used; running steps finish"
    )
    assert predict_change(run, "gpu", 0).startswith("train, eval would start no more steps")


def test_plans_and_forecasts_know_what_is_shared() -> None:
    made = plan(DEFINITION, 100, tasks=10)
    assert made.lower_bound == pytest.approx(10 * (4 * 2 + 2 * 1) / 4)
    gpu, mem = made.resources
    assert (gpu.name, gpu.limit, dict(gpu.agents), gpu.seconds) == ("gpu", 4, {"train": 2, "eval": 1}, 25.0)
    assert mem.seconds == pytest.approx(10 * (4 * 4.5 + 0.5) / 10)
    assert forecast(DEFINITION, 100, tasks=10).seconds >= made.lower_bound


def test_the_items_of_an_each_are_forecast_as_many_at_once_as_the_resource_allows() -> None:
    text = WORK.replace("eval: { simulate: 2s", 'eval: { simulate: 2s, each: "[1, 2, 3, 4, 5, 6, 7, 8]"')
    played, known = without_items(loads(text).definition, {"eval": 2.0}, {"eval": 8.0}, 100)
    assert known["eval"] == 2.0 * 8 / 4
    assert played.agents["eval"].uses == {"gpu": 4}


def test_the_bound_of_a_summary_counts_resources() -> None:
    view = seen(*(started(str(n), "train", 0.0) for n in range(1, 5)))
    for seq, n in enumerate(range(1, 5), view.seq + 1):
        view.apply(seq, ev.StepSucceeded(4.0, str(n), "train", 1))
    assert summary(view, DEFINITION).lower_bound_seconds == pytest.approx(4 * 4 * 2 / 4)
