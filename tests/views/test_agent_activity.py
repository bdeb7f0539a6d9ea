"""How busy each agent was over time."""

from __future__ import annotations

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views.agent_activity import BUCKETS, AgentActivity, agent_activity, worker_row

#: Two attempts of one agent, of which the first fails; an agent of a sub-workflow that still runs.
LOG: list[ev.Event] = [
    ev.TaskOpened(10.0, "1", {}),
    ev.StepStarted(10.0, "1", "pay", "pay", 1, 10.0),
    ev.AttemptFailed(11.0, "1", "pay", 1, Fault("exit", "no")),
    ev.StepStarted(12.0, "1", "pay", "pay", 2, 11.0),
    ev.StepSucceeded(14.0, "1", "pay", 2),
    ev.TaskOpened(14.0, "1/more[0]", {}, ("1", "more[0]")),
    ev.StepStarted(14.0, "1/more[0]", "read", "read", 1, 14.0),
    ev.TaskEnded(15.0, "1", "failed"),
    ev.TaskEnded(15.0, "1/more[0]", "cancelled"),
]


def test_attempts_at_once_and_failures_are_given_for_each_stretch() -> None:
    found = agent_activity(enumerate(LOG, 1))
    assert found.until == 15.0
    assert [(round(work, 6), failed) for work, failed in found.along("pay", 10.0, 1.0, 5)] == [
        (1.0, 0),
        (0.0, 1),
        (1.0, 0),
        (1.0, 0),
        (0.0, 0),
    ]
    assert [round(work, 6) for work, _ in found.along("more/read", 13.0, 1.0, 2)] == [0.0, 1.0]


def test_workers_have_rows_of_their_own() -> None:
    log: list[ev.Event] = [
        ev.StepStarted(10.0, "1", "pay", "pay", 1, 10.0),
        ev.AttemptPlaced(11.0, "1", "pay", 1, "w1"),
        ev.AttemptPlaced(12.0, "1", "pay", 1, "w2"),  # it took the attempt over
        ev.AttemptLost(13.0, "1", "pay", 1, None, "w2 is gone"),
        ev.StepStarted(13.0, "1", "pay", "pay", 2, 10.0),
        ev.AttemptPlaced(13.0, "1", "pay", 2, "w1"),
        ev.TaskOpened(14.0, "2", {}),
    ]
    found = agent_activity(enumerate(log, 1))
    rows = {
        name: [(round(work, 6), failed) for work, failed in found.along(name, 10.0, 1.0, 4)]
        for name in ("pay", worker_row("w1"), worker_row("w2"))
    }
    assert [round(work) for work, _ in rows["pay"]] == [1, 1, 1, 1]
    assert rows["@w1"] == [(0.0, 0), (1.0, 0), (0.0, 0), (1.0, 0)]
    assert rows["@w2"] == [(0.0, 0), (0.0, 0), (1.0, 0), (0.0, 1)]


def test_an_attempt_whose_start_is_not_known_and_one_that_took_no_time_count_as_nothing() -> None:
    lost: list[ev.Event] = [ev.AttemptFailed(3.0, "1", "pay", 1, Fault("exit", "no"))]
    assert agent_activity(enumerate(lost, 1)).along("pay", 0.0, 1.0, 2) == [(0.0, 0), (0.0, 0)]
    found = AgentActivity()
    found.add("pay", 5.0, 5.0)
    assert found.start is None


def test_work_before_the_first_interval_and_beyond_the_last_is_kept() -> None:
    found = AgentActivity()
    found.add("pay", 100.0, 101.0)
    found.fail("pay", 101.0)
    found.add("pay", 90.0, 91.0)
    found.add("pay", 90.0 + BUCKETS, 91.0 + BUCKETS)
    assert len(found.work["pay"]) <= BUCKETS
    spans = found.along("pay", 88.0, 2.0, 300)
    assert round(sum(work * 2.0 for work, _ in spans), 6) == 3.0
    assert sum(failed for _, failed in spans) == 1
