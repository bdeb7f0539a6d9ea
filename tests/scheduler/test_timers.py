"""Timers: which are due, which still apply, and what a time without a process does to them."""

from __future__ import annotations

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Retry, Timeout
from tests.scheduler.driver import agent
from tests.scheduler.parts import opened, start, step


def test_they_are_popped_in_order_of_time_then_of_making() -> None:
    fold = opened(agent("a"), agent("b"))
    one, two = step(fold, "a"), step(fold, "b")
    for due, target in ((3.0, one), (1.0, two), (1.0, one)):
        fold.timers.add(due, "total", target, due)
        target.total_at = due
    assert fold.timers.first == 1.0
    assert [fold.timers.pop(2.0), fold.timers.pop(2.0), fold.timers.pop(2.0)] == [
        ("total", two),
        ("total", one),
        None,
    ]
    assert fold.timers.first == 3.0


def test_the_timeout_of_an_attempt_needs_no_timer() -> None:
    fold = opened(agent("a", timeout=Timeout(attempt=9.0)))
    start(fold, "a", at=1.0)
    assert (len(fold.timers), fold.timers.first) == (0, 10.0)


def test_a_timer_applies_while_its_step_is_where_it_was() -> None:
    fold = opened(agent("a", retry=Retry(2)))
    start(fold, "a")
    fold.apply(ev.AttemptFailed(1.0, "1", "a", 1, Fault("exception", "flaky")))
    fold.apply(ev.StepRetrying(1.0, "1", "a", 5.0))
    assert fold.timers.any_active()
    fold.apply(ev.StepCancelled(2.0, "1", "a"))
    assert not fold.timers.any_active()
    assert len(fold.timers) == 1
    fold.apply(ev.TaskEnded(2.0, "1", "cancelled"))
    fold.timers.drop_stale()
    assert len(fold.timers) == 0


def test_the_time_without_a_process_counts_for_backoffs_only() -> None:
    fold = opened(agent("a", timeout=Timeout(queue=5.0, total=9.0)))
    fold.timers.add(4.0, "backoff", step(fold, "a"), 4.0)
    fold.apply(ev.RunResumed(100.0, 96.0))
    assert [(due, kind) for due, _, kind, _, _ in fold.timers.heap] == [
        (4.0, "backoff"),
        (9.0, "total"),
        (101.0, "queue"),
    ]
    assert fold.timers.heap[2][4] == step(fold, "a").ready_at == 96.0
