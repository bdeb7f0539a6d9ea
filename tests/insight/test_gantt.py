from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.insight.lower_bound import critical_steps
from agentdeck.scheduler import events as ev
from agentdeck.views.agent_activity import BUCKETS, AgentActivity, agent_activity
from agentdeck.views.run_view import RunView
from agentdeck.views.task_timeline import TimelineRow, TimelineSpan, task_timeline, update_rows

REFUSED = Fault(kind="error", message="refused")
TASK: list[ev.Event] = [
    ev.TaskOpened(100.0, "A", {}),
    ev.StepStarted(101.0, "A", "extract", "extract", 1, 100.0),
    ev.StepStarted(101.0, "B", "extract", "extract", 1, 100.0),
    ev.StepSucceeded(103.0, "A", "extract", 1),
    ev.StepStarted(104.0, "A", "payment", "payment", 1, 103.0),
    ev.StepStarted(106.0, "A", "shipping", "shipping", 1, 103.0, {"requests": 2.0}),
    ev.AttemptFailed(105.0, "A", "payment", 1, REFUSED),
    ev.StepRetrying(105.0, "A", "payment", 107.0),
    ev.StepStarted(108.0, "A", "payment", "payment", 2, 103.0),
    ev.StepSucceeded(109.0, "A", "shipping", 1),
]


def rows(events: list[ev.Event], task: str = "A") -> dict[str, TimelineRow]:
    return {row.step: row for row in task_timeline(enumerate(events, 1), task)}


def test_waits_come_before_attempts_by_reason() -> None:
    found = rows(TASK)
    assert list(found) == ["extract", "payment", "shipping"]
    assert found["extract"].spans == (TimelineSpan("pool", 100.0, 101.0), TimelineSpan("done", 101.0, 103.0, 1))
    assert found["shipping"].spans == (
        TimelineSpan("needs", 100.0, 103.0),
        TimelineSpan("requests", 103.0, 105.0),
        TimelineSpan("pool", 105.0, 106.0),
        TimelineSpan("done", 106.0, 109.0, 1),
    )


def test_a_retry_shows_both_attempts_and_its_backoff() -> None:
    assert rows(TASK)["payment"].spans == (
        TimelineSpan("needs", 100.0, 103.0),
        TimelineSpan("pool", 103.0, 104.0),
        TimelineSpan("failed", 104.0, 105.0, 1),
        TimelineSpan("backoff", 105.0, 107.0),
        TimelineSpan("pool", 107.0, 108.0),
        TimelineSpan("running", 108.0, None, 2),
    )


def test_what_held_it_back_is_known_to_the_moment() -> None:
    found = rows(
        [
            ev.TaskOpened(0.0, "A", {}),
            ev.StepWaited(1.0, "A", "ask", "requests"),
            ev.StepWaited(4.0, "A", "ask", "tokens"),
            ev.StepStarted(6.0, "A", "ask", "ask", 1, 0.0, {"requests": 3.0, "tokens": 2.0}),
        ]
    )
    assert found["ask"].spans[:3] == (
        TimelineSpan("pool", 0.0, 1.0),
        TimelineSpan("requests", 1.0, 4.0),
        TimelineSpan("tokens", 4.0, 6.0),
    )


def test_the_end_of_a_task_ends_what_runs() -> None:
    found = rows([*TASK, ev.TaskEnded(110.0, "A", "cancelled")])
    assert found["payment"].spans[-1] == TimelineSpan("cancelled", 108.0, 110.0, 2)
    assert found["payment"].state == "cancelled"


def test_a_wait_that_was_cut_short_ends_with_its_step() -> None:
    found = rows([*TASK[:8], ev.StepCancelled(106.0, "A", "payment")])
    assert found["payment"].spans[-1] == TimelineSpan("backoff", 105.0, 106.0)


@pytest.mark.parametrize("known", range(len(TASK) + 1))
def test_what_was_read_early_is_brought_up_to_the_view(known: int) -> None:
    view = RunView()
    for seq, event in enumerate(TASK, 1):
        view.apply(seq, event)
    fresh = {row.step: row for row in update_rows(task_timeline(enumerate(TASK[:known], 1), "A"), view.open["A"])}
    for step, row in rows(TASK).items():
        assert fresh[step].spans[-1] == row.spans[-1]
        assert fresh[step].state == row.state


def test_the_critical_path_goes_back_over_the_latest_needs() -> None:
    needs = {"extract": (), "payment": ("extract",), "shipping": ("extract",), "confirm": ("payment", "shipping")}
    ended = [
        *TASK,
        ev.StepSucceeded(120.0, "A", "payment", 2),
        ev.StepStarted(121.0, "A", "confirm", "confirm", 1, 120.0),
    ]
    assert critical_steps(task_timeline(enumerate(ended, 1), "A"), needs) == {"extract", "payment", "confirm"}
    assert critical_steps([], needs) == set()


def test_activity_counts_attempts_at_once_and_failures() -> None:
    found = agent_activity(enumerate(TASK, 1))
    assert found.along("extract", 101.0, 2.0, 1)[0][0] == pytest.approx(2.0)  # B's goes on
    assert found.along("payment", 104.0, 1.0, 1)[0][0] == pytest.approx(1.0)
    payment = found.along("payment", 103.0, 2.0, 3)
    assert [many for many, _ in payment] == pytest.approx([0.5, 0.0, 0.5])
    assert [failures for _, failures in payment] == [0, 1, 0]
    assert found.along("nobody", 0.0, 200.0, 1) == [(0.0, 0)]


def test_activity_stays_bounded_and_loses_no_work() -> None:
    found = AgentActivity()
    for second in range(0, 100_000, 10):
        found.add("a", second, second + 5)
        found.fail("a", second)
    found.add("a", -1000.0, -999.0)
    assert len(found.work["a"]) <= BUCKETS
    assert sum(found.work["a"]) == pytest.approx(50_001.0)
    assert sum(found.failed["a"]) == 10_000
    assert found.along("a", 20_000, 40_000, 1)[0][0] == pytest.approx(0.5, rel=0.02)


def test_a_cancelled_attempt_is_no_work_any_more() -> None:
    later: list[ev.Event] = [*TASK, ev.StepCancelled(110.0, "B", "extract"), ev.RunPaused(130.0)]
    found = agent_activity(enumerate(later, 1))
    assert sum(found.work["extract"]) == pytest.approx(2.0 + 9.0)
