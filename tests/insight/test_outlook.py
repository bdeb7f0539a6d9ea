"""What a launch would be like."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.insight.launch_forecast import Prompting, forecast_launch
from agentdeck.workflow.loader import load, loads

ORDER = load(Path(__file__).parents[2] / "workflows" / "order.yaml").definition


def test_one_order_takes_its_critical_path() -> None:
    seen = forecast_launch(ORDER, 8)
    assert (seen.seconds, seen.first, seen.holds) == (5.0, 5.0, "path")
    assert seen.plan.critical_path == ("extract", "inventory", "confirm")


def test_many_orders_take_their_work_over_the_workers() -> None:
    seen = forecast_launch(ORDER, 15, 10_000)
    assert seen.seconds == pytest.approx(10_000 * 7.5 / 15, rel=0.02)
    assert seen.holds == "workers"
    assert seen.seconds >= seen.plan.lower_bound
    assert forecast_launch(ORDER, 30, 10_000).seconds == pytest.approx(seen.seconds / 2, rel=0.02)


@pytest.mark.parametrize(
    ("limit", "holds"), [("max_parallel: 4", "a.max_parallel"), ("uses: { gpu: 1 }", "gpu"), ("retry: 2", "path")]
)
def test_a_limit_that_all_wait_for_holds_up_the_run(limit: str, holds: str) -> None:
    text = f"agentdeck: 1\nname: w\nlimits: {{ gpu: 4 }}\nagents:\n  a: {{ command: [ls], {limit} }}\n"
    seen = forecast_launch(
        loads(text + "  b: { command: [ls], needs: a, uses: { gpu: 0.01 } }\n").definition, 50, 40
    )
    assert seen.holds == holds
    assert (seen.seconds >= 10.0) == (holds != "path")


def test_what_rates_take_holds_up_the_run() -> None:
    assert forecast_launch(ORDER, 8).usd is None
    held = forecast_launch(ORDER, 8, 100, asks=Prompting(1000.0, "it.requests", (2.0, 5.0)))
    assert (held.seconds, held.holds, held.usd) == (1000.0, "it.requests", (2.0, 5.0))
    assert held.busy < forecast_launch(ORDER, 8, 100).busy
    assert (
        forecast_launch(ORDER, 8, 100, asks=Prompting(1.0, "it.requests")).holds
        == forecast_launch(ORDER, 8, 100).holds
    )


def test_durations_seen_before_count() -> None:
    one = loads("agentdeck: 1\nname: w\nagents:\n  a: { command: [ls] }\n").definition
    assert forecast_launch(one, 1, 4, {"a": 2.5}).seconds == 10.0
