"""Verdicts on joins, and what the end of a step does to the steps that need it."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.joins import NEVER, SKIP, START, WAIT, evaluate, floor_of, goal_of
from agentdeck.scheduler.state import OPEN, READY, WAITING
from agentdeck.workflow.model import Join
from tests.scheduler.driver import agent
from tests.scheduler.parts import opened, start, step, succeed

ALL, ANY, TWO = Join(), Join("any"), Join("quorum", 2)
EARLY = Join("quorum", 3, within=5.0, min=2)


@pytest.mark.parametrize(
    ("join", "arrived", "absent", "tolerated", "broken", "verdict", "overdue"),
    [
        (ALL, 0, 0, 0, 0, WAIT, WAIT),
        (ALL, 4, 0, 0, 0, START, START),
        (ALL, 2, 0, 0, 1, NEVER, NEVER),
        (ALL, 3, 1, 0, 0, START, START),
        (ALL, 2, 0, 2, 0, START, START),
        (ALL, 0, 4, 0, 0, SKIP, SKIP),
        (ANY, 1, 0, 0, 0, START, START),
        (ANY, 0, 0, 0, 3, WAIT, NEVER),
        (ANY, 0, 0, 0, 4, NEVER, NEVER),
        (TWO, 1, 0, 0, 2, WAIT, NEVER),
        (TWO, 1, 0, 0, 3, NEVER, NEVER),
        (EARLY, 2, 0, 0, 0, WAIT, START),
        (EARLY, 1, 0, 0, 0, WAIT, NEVER),
        (EARLY, 2, 0, 0, 2, START, START),
        (Join("progressive"), 1, 0, 0, 0, START, START),
        (Join("progressive"), 0, 1, 0, 3, NEVER, NEVER),
    ],
)
def test_verdicts(
    join: Join, arrived: int, absent: int, tolerated: int, broken: int, verdict: str, overdue: str
) -> None:
    fold = opened(*(agent(name) for name in "abcd"), agent("join", *"abcd", join=join))
    one = step(fold, "join")
    one.arrived, one.absent, one.tolerated, one.broken = arrived, absent, tolerated, broken
    assert (evaluate(one), evaluate(one, overdue=True)) == (verdict, overdue)


def test_a_share_is_of_the_needs_that_were_not_skipped() -> None:
    assert [goal_of(Join("quorum", 0.5), due) for due in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert goal_of(Join("quorum", 0.1), 4) == 1
    assert floor_of(Join("quorum", 3), 3) == 3
    assert floor_of(Join("quorum", 3, within=1.0), 3) == 1
    assert floor_of(Join("quorum", 3, min=5), 3) == 3


def test_the_end_of_a_step_is_counted_and_starts_who_needs_no_more() -> None:
    fold = opened(agent("a"), agent("b"), agent("both", "a", "b"), agent("one", "a", "b", join=ANY))
    succeed(fold, "a")
    assert (step(fold, "both").state, step(fold, "one").state) == (WAITING, READY)
    start(fold, "b")
    fold.apply(ev.StepFailed(2.0, "1", "b", Fault("permanent", "no")))
    assert (step(fold, "both").arrived, step(fold, "both").broken) == (1, 1)
    assert list(fold.pending.unsatisfiable) == [(step(fold, "both"), NEVER)]


def test_rest_cancel_leaves_the_other_needs_to_be_cancelled() -> None:
    fold = opened(agent("a"), agent("b"), agent("one", "a", "b", join=Join("any", rest="cancel")))
    succeed(fold, "a")
    assert list(fold.pending.unneeded) == [step(fold, "one")]


def test_the_last_item_leaves_its_group_to_be_decided() -> None:
    fold = opened(agent("each", each="[1, 2]"), agent("after", "each"))
    fold.apply(ev.StepExpanded(0.0, "1", "each", 2))
    assert step(fold, "each").state == OPEN
    succeed(fold, "each[1]")
    assert not fold.pending.undecided
    succeed(fold, "each[0]")
    assert list(fold.pending.undecided) == [step(fold, "each")]
    assert step(fold, "after").arrived == 0, "an item is no need"


def test_the_last_step_leaves_its_task_to_be_ended() -> None:
    fold = opened(agent("a"), agent("b", "a"))
    succeed(fold, "a", "b")
    assert [task.id for task in fold.pending.finished] == ["1"]


def test_within_counts_from_the_first_need_that_is_ready() -> None:
    fold = opened(agent("a"), agent("b", "a"), agent("join", "a", "b", join=EARLY))
    assert step(fold, "join").join_since == 0.0
    assert [timer[:1] + timer[2:3] for timer in fold.timers.heap] == [(5.0, "join")]
    succeed(fold, "a", at=3.0)
    assert step(fold, "join").join_since == 0.0
