"""The order in which ready steps start, and the queues of those that may not start yet."""

from __future__ import annotations

from heapq import heappop

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.provider_queues import FOREVER, ProviderQueues
from agentdeck.scheduler.state import READY
from tests.scheduler.driver import agent
from tests.scheduler.parts import opened, start, step, succeed


def order(fold: Fold) -> list[tuple[str, str]]:
    """All entries of the heap, in the order in which they are popped."""
    heap = list(fold.queue.heap)
    return [(entry[6].task.id, entry[6].key) for entry in [heappop(heap) for _ in range(len(heap))]]


def test_priority_then_age_of_the_task_then_longest_remaining_path() -> None:
    fold = opened(
        agent("low", priority="low"),
        agent("short"),
        agent("long"),
        agent("after", "long"),
        agent("high", priority="high"),
        tasks=2,
    )
    of_one = ["high", "long", "short", "low"]
    assert order(fold) == [
        ("1", "high"), ("2", "high"),
        ("1", "long"), ("1", "short"), ("2", "long"), ("2", "short"),
        ("1", "low"), ("2", "low"),
    ]  # fmt: skip
    assert [key for task, key in order(fold) if task == "1"] == of_one


def test_a_hurried_task_comes_first_and_its_old_entries_stay_behind() -> None:
    fold = opened(agent("a"), agent("b"), tasks=3)
    fold.apply(ev.TaskHurried(1.0, "3"))
    assert order(fold)[:2] == [("3", "a"), ("3", "b")]
    assert len(fold.queue.heap) == 8


def test_items_start_in_the_order_of_the_list() -> None:
    fold = opened(agent("each", each="[1, 2, 3]"))
    fold.apply(ev.StepExpanded(0.0, "1", "each", 3))
    assert [key for _, key in order(fold)] == ["each[0]", "each[1]", "each[2]"]


def test_a_reopened_step_makes_its_old_entry_stale() -> None:
    fold = opened(agent("a"), agent("b", "a"))
    succeed(fold, "a")
    old = fold.queue.heap[-1]
    assert old[6] is step(fold, "b")
    assert fold.queue.is_current(old)
    fold.apply(ev.StepReopened(2.0, "1", "a", "", None, "", {"a": "done"}))
    succeed(fold, "a", at=3.0)
    assert fold.queue.is_current(old), "b was not reset: it had used nothing of a"
    start(fold, "b", at=4.0)
    assert not fold.queue.is_current(old)


def test_a_step_waits_until_what_it_reads_is_on_disk() -> None:
    fold = opened(agent("a"), agent("b", "a"), gated=True)
    fold.queue.commit(fold.state.seq)
    fold.queue.heap.clear()
    succeed(fold, "a")
    assert step(fold, "b").state == READY
    assert not fold.queue.heap
    assert fold.queue.reads_uncommitted(step(fold, "b"))
    fold.queue.commit(fold.state.seq - 1)
    assert not fold.queue.heap
    fold.queue.commit(fold.state.seq)
    assert order(fold) == [("1", "b")]


def test_parked_entries_return_as_the_limit_of_their_agent_allows() -> None:
    fold = opened(agent("a", max_parallel=1), tasks=3)
    rule = fold.state.program.rules[0]
    for entry in [heappop(fold.queue.heap) for _ in range(3)]:
        fold.queue.park(entry, rule)
    rule.live = 1
    fold.queue.unpark()
    assert not fold.queue.heap
    rule.limit = 3
    fold.queue.unpark()
    assert order(fold) == [("1", "a"), ("2", "a")]
    rule.limit = None
    fold.queue.unpark()
    assert not fold.queue.parked


def test_entries_whose_step_is_not_ready_are_dropped_now_and_then() -> None:
    fold = opened(agent("a"), agent("b"))
    start(fold, "a")
    fold.queue.drop_stale()
    assert order(fold) == [("1", "b")]


def test_the_first_entry_of_all_open_queues_comes_first() -> None:
    fold = opened(agent("a"), tasks=3)
    queue = fold.queue.heap
    providers = ProviderQueues()
    providers.queues["p"].add(heappop(queue))
    providers.queues["p"].close(5.0, "requests", "p: used up")
    assert providers.first(queue)[0][6].task.id == "2", "closed"
    assert providers.opens_at == 5.0
    assert providers.will_open()
    providers.open_due(5.0)
    assert providers.first(queue)[0][6].task.id == "1"


def test_released_capacity_opens_queues_that_wait_for_capacity() -> None:
    providers = ProviderQueues()
    providers.queues["full"].close(FOREVER, "tokens", "full: no tokens")
    providers.queues["key"].close(FOREVER, "cooldown", "key: refused")
    providers.open_released()
    assert [name for name, _ in providers.stopped()] == ["key"]
    providers.open_all()
    assert list(providers.stopped()) == []
    assert (providers.releases, providers.forced, providers.limit_changes) == (2, 2, 1)
