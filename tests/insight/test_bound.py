"""The critical path goes over the need that lets a join go, and no number beside it contradicts it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentdeck.console.graph.card import attempt_seconds, slack_note
from agentdeck.console.state_style import RoleStyles
from agentdeck.console.summary_text import launch as describe
from agentdeck.insight.forecast import forecast
from agentdeck.insight.launch_forecast import Prompting, forecast_launch
from agentdeck.insight.lower_bound import critical_steps, schedule
from agentdeck.insight.plan import plan
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.views.task_timeline import task_timeline
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Definition, Join
from tests.scheduler.driver import agent, definition

TAKES = {"fast": 1.0, "second": 2.0, "slow": 20.0, "sum": 0.1}


def polled(join: Join) -> Definition:
    needs = ("fast", "second", "slow")
    return definition(*map(agent, needs), agent("sum", *needs, join=join))


@pytest.mark.parametrize(
    ("join", "goes", "seconds"),
    [
        (Join(), ("slow", "sum"), 20.1),
        (Join("quorum", quorum=2, rest="cancel"), ("second", "sum"), 2.1),
        (Join("any", rest="cancel"), ("fast", "sum"), 1.1),
        (Join(within=5.0, rest="cancel"), ("second", "sum"), 5.1),
        (Join("quorum", quorum=2), ("slow",), 20.0),  # the rest finishes, and the task with it
    ],
)
def test_the_path_goes_over_the_need_that_satisfied_the_join(
    join: Join, goes: tuple[str, ...], seconds: float
) -> None:
    best = schedule(polled(join), TAKES)
    assert best.path == goes
    assert best.seconds == pytest.approx(seconds)
    made = plan(polled(join), 8, seconds=TAKES)
    assert made.critical_path == goes
    assert made.lower_bound == pytest.approx(made.path_seconds)
    assert slack_note(best.slack[goes[-1]]) == "critical"


def test_a_path_that_was_run_goes_over_the_arrival_that_was_enough() -> None:
    log: list[ev.Event] = [
        ev.TaskOpened(0.0, "1", {}),
        *(ev.StepStarted(0.0, "1", name, name, 1, 0.0) for name in ("fast", "second", "slow")),
        ev.StepSucceeded(1.0, "1", "fast", 1),
        ev.StepSucceeded(2.0, "1", "second", 1),
        ev.StepStarted(2.5, "1", "sum", "sum", 1, 2.0),
        ev.StepSucceeded(4.0, "1", "slow", 1),
        ev.StepSucceeded(5.0, "1", "sum", 1),
    ]
    needs = {"sum": ("fast", "second", "slow")}
    assert critical_steps(task_timeline(enumerate(log, 1), "1"), needs) == {"second", "sum"}


@given(
    st.lists(st.floats(0.1, 30.0), min_size=4, max_size=4),
    st.sampled_from(["all", "any", "quorum", "progressive"]),
    st.sampled_from([None, 0.5, 6.0]),
    st.sampled_from(["finish", "cancel"]),
)
def test_it_is_the_schedule_that_the_machine_plays(
    lengths: list[float], kind: str, within: float | None, rest: str
) -> None:
    if kind in ("any", "progressive"):
        within = None
    assume(within is None or min(lengths[:3]) < within)  # else nothing is there when the clock ends: it fails
    join = Join(kind, 2 if kind == "quorum" else None, within, None, rest)  # type: ignore[arg-type]
    spent = dict(zip(TAKES, lengths, strict=True))
    played = forecast(polled(join), 100, 1, spent).seconds
    best = schedule(polled(join), spent).seconds
    assert best <= played + 1e-6
    if kind != "progressive":
        assert best == pytest.approx(played)


EACH = """
agentdeck: 1
name: files
agents:
  list: { simulate: { takes: 1s, returns: [1, 2, 3] } }
  read: { needs: list, each: "list", simulate: { takes: 2s } }
  sum: { needs: read, simulate: { takes: 1s } }
"""


def test_items_are_counted_where_they_are_known_and_told_as_unknown_where_not() -> None:
    files = loads(EACH).definition
    seen = forecast_launch(files, 4, 1)
    assert seen.plan.uncounted == ("read",)
    assert seen.seconds >= seen.plan.lower_bound >= seen.plan.path_seconds == 4.0
    told = describe(seen, RoleStyles({})).plain
    assert "expected    at least 4.0 s" in told
    assert "sequential  unknown" in told
    assert "of read: known only in the run" in told
    known = forecast_launch(files, 4, 1, asks=Prompting(items={"read": 8.0}))
    assert known.plan.uncounted == ()
    assert known.plan.sequential == 1.0 + 8 * 2.0 + 1.0
    assert known.seconds == pytest.approx(1.0 + 4.0 + 1.0)
    assert known.plan.sequential >= known.seconds >= known.plan.lower_bound


def test_a_step_that_was_cancelled_because_it_was_too_slow_is_not_on_the_path() -> None:
    of = polled(Join("quorum", quorum=2, rest="cancel"))
    log: list[ev.Event] = [
        ev.RunStarted(0.0, "r", "w", "", {}, {}),
        ev.TaskOpened(0.0, "1", {}),
        *(ev.StepStarted(0.0, "1", name, name, 1, 0.0) for name in ("slow", "fast", "second")),
        ev.StepSucceeded(1.5, "1", "fast", 1),
        ev.StepSucceeded(2.0, "1", "second", 1),
        ev.StepStarted(2.0, "1", "sum", "sum", 1, 2.0),
        ev.StepCancelled(2.0, "1", "slow", "sum started without it"),
        ev.StepSucceeded(3.0, "1", "sum", 1),
        ev.TaskEnded(3.0, "1", "done"),
    ]
    view = RunView(of)
    for seq, event in enumerate(log, 1):
        view.apply(seq, event)
    assert schedule(of, attempt_seconds(of, view.agents)).path == ("second", "sum")
    assert summary(view).critical_path == ["second", "sum"]
