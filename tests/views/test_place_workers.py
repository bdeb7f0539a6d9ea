"""The workers of places: which one has which attempt, and how the attempts of each ended."""

from __future__ import annotations

import json

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views.place_workers import MOST_WORKERS, OTHERS
from agentdeck.views.run_view import RunView
from agentdeck.views.view_snapshot import restored_view, snapshot_of
from tests.scheduler.driver import agent, definition

OF = definition(agent("a"), agent("b"))


def folded(*events: ev.Event) -> RunView:
    view = RunView(OF)
    for event in (ev.TaskOpened(0.0, "1", {}), *events):
        view.apply(view.seq + 1, event)
    return view


def begun(step: str, worker: str, attempt: int = 1, at: float = 1.0) -> list[ev.Event]:
    return [
        ev.StepStarted(at, "1", step, step, attempt, at),
        ev.AttemptPlaced(at, "1", step, attempt, worker),
    ]


def counts(view: RunView) -> dict[str, list[int]]:
    return {
        name: [one.running, one.done, one.failed, one.lost, one.cancelled]
        for name, one in view.place_workers.totals.items()
    }


def test_a_step_has_the_worker_of_its_last_attempt() -> None:
    view = folded(*begun("a", "w1"), ev.AttemptLost(2.0, "1", "a", 1, None, "w1 is gone"))
    step = view.open["1"].steps["a"]
    assert step.worker == "w1"
    view.apply(4, ev.StepStarted(3.0, "1", "a", "a", 2, 2.0))
    assert step.worker == ""
    view.apply(5, ev.AttemptPlaced(3.0, "1", "a", 2, "w2"))
    view.apply(6, ev.StepSucceeded(4.0, "1", "a", 2))
    assert step.worker == "w2"
    assert counts(view) == {"w1": [0, 0, 0, 1, 0], "w2": [0, 1, 0, 0, 0]}


def test_attempts_are_counted_as_they_ended() -> None:
    view = folded(
        *begun("a", "w1"),
        *begun("b", "w1"),
        ev.AttemptFailed(2.0, "1", "a", 1, Fault("exception", "no")),
        ev.StepFailed(2.0, "1", "a", Fault("exception", "no")),
        ev.AttemptPlaced(3.0, "1", "b", 1, "w2"),  # it has gone on elsewhere
    )
    assert counts(view) == {"w1": [0, 0, 1, 0, 0], "w2": [1, 0, 0, 0, 0]}
    again = restored_view(OF, json.loads(json.dumps(snapshot_of(view))))
    for one in (view, again):
        one.apply(one.seq + 1, ev.TaskEnded(4.0, "1", "failed"))
        assert counts(one) == {"w1": [0, 0, 1, 0, 0], "w2": [0, 0, 0, 0, 1]}
        assert not one.place_workers.live
        assert {name: agent.workers for name, agent in one.agents.items()} == {
            "a": {"w1": 1},
            "b": {"w1": 1, "w2": 1},
        }


def test_the_number_of_names_is_bounded() -> None:
    view = folded()
    for number in range(1, MOST_WORKERS + 20):
        for event in (*begun("a", f"w{number}", number), ev.AttemptLost(2.0, "1", "a", number)):
            view.apply(view.seq + 1, event)
    totals = view.place_workers.totals
    assert len(totals) == MOST_WORKERS + 1
    assert totals[OTHERS].lost == 19
    assert view.agents["a"].workers[OTHERS] == 19


def test_a_log_that_names_no_attempt_is_no_error() -> None:
    assert counts(folded(ev.AttemptPlaced(1.0, "1", "a", 1, "w1"))) == {}
