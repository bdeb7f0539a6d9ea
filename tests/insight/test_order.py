"""The order of a plan is the one that a launch would search, with what it takes."""

from __future__ import annotations

from agentdeck.insight.forecast import forecast
from agentdeck.insight.order import PlannedOrder, plan_order
from tests.scheduler.test_order_search import SECONDS, rounds, samples, workflow


def test_a_planned_order_takes_what_it_says() -> None:
    found = plan_order(workflow(), samples(), 2, 1, rounds(30))
    assert (found.seconds, found.path_seconds, found.reason) == (17.5, 22.0, "")
    assert forecast(workflow(), 2, 1, SECONDS, found.agents).seconds == found.seconds


def test_without_a_faster_order_a_plan_says_why() -> None:
    assert plan_order(workflow(), samples(), 2, 2, rounds(30)) == PlannedOrder(
        reason="the tasks of a run start by age"
    )
    assert plan_order(workflow(), {}, 2, 1, rounds(30)).reason == "fewer than 3 attempts of a were measured"
    assert plan_order(workflow(), samples(), 2, 1, rounds(0)) == PlannedOrder(
        (), 22.0, 22.0, "no faster order was found"
    )
