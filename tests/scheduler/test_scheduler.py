"""The core by itself: joins, order, retries, clocks, limits."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Agent, Approve, Dispatch, Join, OnError, Repeat, Retry, SubWorkflow, Timeout
from tests.scheduler.driver import Desk, Player, agent, definition, prompt

BROKEN = Fault("permanent", "broken")
FLAKY = Fault("exception", "flaky")


def order() -> list[Agent]:
    return [
        agent("extract"),
        agent("payment", "extract"),
        agent("inventory", "extract"),
        agent("shipping", "extract"),
        agent("confirm", "payment", "inventory", "shipping"),
    ]


SECONDS = {"extract": 2.0, "payment": 1.5, "inventory": 2.0, "shipping": 1.0, "confirm": 1.0}


def takes(seconds: dict[str, float], **ends: object):  # type: ignore[no-untyped-def]
    return lambda started: (seconds.get(started.step, 1.0), ends.get(started.step))


def test_independent_agents_run_in_parallel() -> None:
    player = Player(definition(*order()), plan=takes(SECONDS)).play()
    assert player.finished == "done"
    assert player.now == 5.0  # one after the other: 7.5


def test_a_step_starts_when_its_own_join_is_satisfied_not_with_its_wave() -> None:
    graph = [agent("a"), agent("b"), agent("after_a", "a"), agent("after_b", "b")]
    player = Player(definition(*graph), plan=takes({"a": 1, "b": 9})).play()
    assert player.starts("after_a") == [1.0]
    assert player.starts("after_b") == [9.0]


def test_tasks_end_early_instead_of_all_being_opened() -> None:
    player = Player(definition(*order()), tasks=100, workers=4, plan=takes(SECONDS)).play()
    ends = player.of(ev.TaskEnded)
    assert len(ends) == 100
    assert ends[0].at == 5.0
    assert player.open_most <= 5


def test_ready_steps_go_by_priority_then_task_age_then_longest_path() -> None:
    graph = [
        agent("low", priority="low"),
        agent("short"),
        agent("long"),
        agent("behind", "long"),
        agent("high", priority="high"),
    ]
    player = Player(definition(*graph), workers=1, plan=takes({})).play()
    started = [e.step for e in player.log if isinstance(e, ev.StepStarted)]
    assert started == ["high", "long", "short", "behind", "low"]


def test_failure_stays_where_it_happens() -> None:
    graph = [*order(), agent("aside", "payment")]
    player = Player(definition(*graph), plan=takes({}, inventory=BROKEN)).play()
    assert player.states() == {
        "extract": "done", "payment": "done", "inventory": "failed", "shipping": "done", "confirm": "failed",
        "aside": "done",
    }  # fmt: skip
    letters = [e.step for e in player.of(ev.StepFailed) if e.letter]  # type: ignore[union-attr]
    assert letters == ["inventory"]
    assert player.finished == "failed"


def test_tolerated_failure_reaches_its_dependents_as_null() -> None:
    graph = order()
    graph[2] = agent("inventory", "extract", on_error=OnError("continue"))
    player = Player(definition(*graph), plan=takes({}, inventory=BROKEN)).play()
    assert player.states()["confirm"] == "done"
    assert player.finished == "done"
    assert [e.letter for e in player.of(ev.StepFailed)] == [True]  # type: ignore[union-attr]


def test_retry_waits_without_a_worker_and_counts_attempts() -> None:
    graph = [agent("a", retry=Retry(3, delay=10)), agent("b"), agent("c")]
    player = Player(definition(*graph), workers=1, plan=takes({}, a=FLAKY)).play()
    assert len(player.starts("a")) == 3
    retries = player.of(ev.StepRetrying)
    assert [r.reason for r in retries] == ["backoff", "backoff"]  # type: ignore[union-attr]
    assert max(player.starts("b") + player.starts("c")) <= 3.0
    assert player.of(ev.StepFailed)[0].fault == FLAKY  # type: ignore[union-attr]


def test_the_other_sides_retry_after_wins() -> None:
    slow = Fault("rate_limit", "slower", retry_after=42.0)
    ends = iter([slow, None])
    player = Player(definition(agent("a")), plan=lambda s: (1.0, next(ends))).play()
    assert player.starts("a") == [0.0, 43.0]
    assert player.of(ev.StepRetrying)[0].reason == "cooldown"  # type: ignore[union-attr]


def test_fallback_does_the_work_of_the_one_that_failed() -> None:
    graph = [
        agent("style", on_error=OnError("fail", "linter")),
        agent("linter", spare=True),
        agent("next", "style"),
    ]
    player = Player(
        definition(*graph), plan=lambda s: (1.0, BROKEN if s.agent == "style" else f"by {s.agent}")
    ).play()
    assert player.finished == "done"
    assert player.states() == {"style": "done", "next": "done"}
    assert [s.agent for s in player.of(ev.StepStarted)] == ["style", "linter", "next"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("join", "failing", "starts", "state"),
    [
        (Join("any"), [], 1.0, "done"),
        (Join("any"), ["a"], 2.0, "done"),
        (Join("any"), ["a", "b", "c", "d"], None, "failed"),
        (Join("quorum", 3), [], 3.0, "done"),
        (Join("quorum", 0.75), ["a"], 4.0, "done"),
        (Join("quorum", 3), ["a", "b"], None, "failed"),
        (Join("quorum", 3, within=2.5, min=2), [], 2.5, "done"),
        (Join("quorum", 3, within=2.5, min=2), ["a"], None, "failed"),
        (Join("quorum", 4, within=1.5), [], 1.5, "done"),
        (Join("all", within=3.5), [], 3.5, "done"),
        (Join("quorum", 3, min=2), ["a", "b"], 4.0, "done"),
    ],
)
def test_joins(join: Join, failing: list[str], starts: float | None, state: str) -> None:
    graph = [*(agent(n) for n in "abcd"), agent("join", *"abcd", join=join)]
    seconds = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    player = Player(definition(*graph), plan=takes(seconds, **dict.fromkeys(failing, BROKEN))).play()
    assert player.starts("join") == ([] if starts is None else [starts])
    assert player.states()["join"] == state


def test_rest_cancel_stops_what_nobody_else_needs() -> None:
    graph = [
        *(agent(n) for n in "abc"),
        agent("first", *"abc", join=Join("any", rest="cancel")),
        agent("other", "b"),
    ]
    player = Player(definition(*graph), plan=takes({"a": 1.0, "b": 5.0, "c": 9.0})).play()
    assert player.states()["c"] == "cancelled"
    assert player.states()["b"] == "done"
    assert [c.step for c in player.cancels] == ["c"]


def test_a_release_lets_a_join_go_with_what_has_arrived() -> None:
    graph = [agent("a"), agent("b"), agent("join", "a", "b")]
    player = Player(definition(*graph), plan=takes({"a": 1.0, "b": 20.0}))
    player.at(5.0, ev.StepReleased(5.0, "1", "join", "eva"))
    player.play()
    assert player.starts("join") == [5.0]


def test_skips_travel_and_absent_is_not_failed() -> None:
    graph = [
        agent("a"),
        agent("b", "a", when="a == 1"),
        agent("only_b", "b"),
        agent("both", "a", "b"),
    ]
    player = Player(definition(*graph), plan=takes({}, a=2)).play()
    assert player.states() == {"a": "done", "b": "skipped", "only_b": "skipped", "both": "done"}
    assert player.finished == "done"


def test_each_makes_a_step_per_item_and_keeps_their_order() -> None:
    graph = [agent("list"), agent("note", "list", each="list", max_parallel=2), agent("all", "note")]
    player = Player(definition(*graph), workers=8, plan=takes({"list": 1}, list=["x", "y", "z"]))
    player.plan = lambda s: (5.0 if s.step == "note[0]" else 1.0, ["x", "y", "z"] if s.step == "list" else s.step)
    player.play()
    assert player.starts("note[2]") == [2.0]
    assert player.scheduler.state.tasks == {}
    assert player.finished == "done"
    ended = player.of(ev.TaskEnded)[0]
    assert ended.output == "all"  # type: ignore[union-attr]


def test_an_empty_each_is_done_at_once_and_what_is_no_list_fails() -> None:
    graph = [agent("list"), agent("note", "list", each="list"), agent("all", "note")]
    assert Player(definition(*graph), plan=takes({}, list=[])).play().finished == "done"
    player = Player(definition(*graph), plan=takes({}, list="text")).play()
    assert player.of(ev.StepFailed)[0].fault.kind == "expression"  # type: ignore[union-attr]


def test_repeat_runs_until_its_condition_with_previous() -> None:
    graph = [agent("write", repeat=Repeat("output > 2", max=5))]
    player = Player(definition(*graph), plan=lambda s: (1.0, s.round)).play()
    assert player.starts("write") == [0.0, 1.0, 2.0]
    assert player.of(ev.TaskEnded)[0].output == 3  # type: ignore[union-attr]


def test_progressive_runs_once_for_each_arrival() -> None:
    graph = [agent("a"), agent("b"), agent("c"), agent("merge", "a", "b", "c", join=Join("progressive"))]
    player = Player(definition(*graph), plan=takes({"a": 1, "b": 1.5, "c": 9}, b=BROKEN)).play()
    assert player.starts("merge") == [1.0, 9.0]
    assert player.finished == "done"


def test_dispatch_lets_one_go_on_and_skips_the_others() -> None:
    route = Agent("route", Dispatch("inputs.n", {"1": "one", "2": "two"}, "other"))
    graph = [route, agent("one", "route"), agent("two", "route"), agent("other", "route")]
    player = Player(definition(*graph), tasks=3).play()
    assert player.states("1") == {"route": "done", "one": "done", "two": "skipped", "other": "skipped"}
    assert player.states("3")["other"] == "done"


def test_an_approval_holds_no_worker_and_is_answered_by_its_clock() -> None:
    sign = Agent("sign", Approve("Go?", within=60.0), needs=("a",))
    player = Player(definition(agent("a"), sign, agent("b")), workers=1).play()
    assert player.starts("b") == [1.0]
    answered = player.of(ev.StepAnswered)[0]
    assert (answered.at, answered.approved) == (61.0, False)  # type: ignore[union-attr]


def test_the_four_clocks() -> None:
    for clock, timeout, seconds in [
        ("attempt", Timeout(attempt=5.0), 5.0),
        ("total", Timeout(attempt=None, total=7.0), 7.0),
        ("queue", Timeout(queue=3.0), 3.0),
    ]:
        graph = (
            [agent("hog"), agent("late", timeout=timeout, retry=Retry(1))]
            if clock == "queue"
            else [agent("late", timeout=timeout, retry=Retry(1))]
        )
        player = Player(definition(*graph), workers=1, plan=takes({"hog": 100.0, "late": 100.0}))
        while not player.of(ev.StepFailed):
            player.step()
        failed = player.of(ev.StepFailed)[0]
        assert (failed.at, failed.fault.clock) == (seconds, clock)  # type: ignore[union-attr]


def test_a_changed_timeout_holds_for_the_attempt_that_runs() -> None:
    player = Player(definition(agent("a", retry=Retry(1))), plan=takes({"a": 1000.0}))
    player.at(5.0, ev.LimitChanged(5.0, "agents.a.timeout", 30.0, 8.0))
    player.play()
    assert player.of(ev.StepFailed)[0].at == 8.0


def test_raising_workers_starts_at_once_and_lowering_drains() -> None:
    graph = [agent(f"a{i}") for i in range(12)]
    player = Player(definition(*graph), workers=2, plan=takes({f"a{i}": 10.0 for i in range(12)}))
    player.at(1.0, ev.LimitChanged(1.0, "workers", 2, 6))
    player.at(2.0, ev.LimitChanged(2.0, "workers", 6, 0))
    player.at(50.0, ev.LimitChanged(50.0, "workers", 0, 20))
    player.play()
    starts = sorted(e.at for e in player.of(ev.StepStarted))
    assert starts == [0.0] * 2 + [1.0] * 4 + [50.0] * 6
    assert not player.cancels


def test_nothing_of_an_agent_starts_while_it_may_run_nowhere() -> None:
    graph = [agent("a", each="[1, 2, 3, 4]", max_parallel=2), agent("b"), agent("c", "b")]
    player = Player(definition(*graph), workers=8, plan=takes({"c": 5.0}))
    player.at(0.5, ev.LimitChanged(0.5, "agents.a.max_parallel", 2, 0))
    player.at(50.0, ev.LimitChanged(50.0, "agents.a.max_parallel", 0, 4))
    player.play()
    assert [player.starts(f"a[{n}]") for n in range(4)] == [[0.0], [0.0], [50.0], [50.0]]
    assert player.starts("c") == [1.0]


def test_pause_and_drain() -> None:
    player = Player(definition(*order()), plan=takes(SECONDS))
    player.at(1.0, ev.RunPaused(1.0))
    player.at(30.0, ev.RunUnpaused(30.0))
    assert player.play().now == 33.0
    player = Player(definition(*order()), plan=takes(SECONDS))
    player.at(1.0, ev.RunDrained(1.0))
    assert player.play().finished == "drained"
    assert player.now == 2.0


def test_cancel_ends_everything_and_nothing_starts_after_it() -> None:
    player = Player(definition(*order()), tasks=50, workers=3, plan=takes(SECONDS))
    player.at(3.0, ev.CancelAsked(3.0, who="eva"))
    player.play()
    assert player.finished == "cancelled"
    assert max(e.at for e in player.of(ev.StepStarted)) <= 3.0
    assert player.now == 3.0


@pytest.mark.parametrize("at", [0.5, 1.5])
def test_a_step_that_is_skipped_waiting_or_running_is_gone_on_without(at: float) -> None:
    graph = definition(agent("a"), agent("b", "a"), agent("c", "a"), agent("d", "b", "c"), agent("e", "b"))
    player = Player(graph, plan=takes(dict.fromkeys("abcde", 1.0)))
    player.at(at, ev.SkipAsked(at, "1", "b", "eva"))
    player.play()
    assert player.finished == "done"
    assert [(e.step, e.why) for e in player.of(ev.StepSkipped) if isinstance(e, ev.StepSkipped)] == [
        ("b", "skipped by eva"),
        ("e", "all its needs were skipped"),
    ]
    assert player.starts("d") == [2.0]
    assert len(player.cancels) == (at > 1)


def test_nothing_that_read_a_result_starts_before_it_is_on_disk() -> None:
    player = Player(definition(*order()), plan=takes(SECONDS), commit=0.25).play()
    assert player.starts("payment") == [2.25]
    assert player.starts("confirm") == [4.5]


def test_what_comes_after_a_join_went_is_on_disk_too_before_it_is_read() -> None:
    graph = [agent("a"), agent("b"), agent("busy"), agent("c", "a", "b", join=Join("any"))]
    player = Player(definition(*graph), workers=3, plan=takes({"b": 1.375, "busy": 1.375}), commit=0.25)
    player.at(1.1, ev.LimitChanged(1.1, "workers", 3, 2))
    player.play()
    assert player.starts("c") == [1.625], "it was ready at 1.25, and there was room at 1.375: b was not on disk"


def test_hurry_puts_a_task_first() -> None:
    player = Player(definition(agent("a"), agent("b", "a")), tasks=4, workers=1)
    player.at(0.5, ev.TaskHurried(0.5, "2"))
    player.play()
    assert player.finished == "done"


def test_what_is_hurried_waits_for_the_disk_and_for_its_condition_all_the_same() -> None:
    graph = [agent("a"), agent("b", "a"), agent("c", "a", when="1 > 2")]
    player = Player(definition(*graph), commit=0.25)
    player.at(1.1, ev.TaskHurried(1.1, "1"))
    player.play()
    assert player.starts("b") == [1.25]
    assert player.states()["c"] == "skipped"


@pytest.mark.parametrize("at", [1.0, 2.0])
def test_when_the_one_that_was_let_go_is_cancelled_the_next_one_goes(at: float) -> None:
    """It waited for the provider, and the others of its agent for it."""
    many = prompt("many", each="[1, 2, 3]", max_parallel=1)
    player = Player(definition(many), workers=2, tasks=2, desk=Desk(most=1, takes=0.0))
    player.at(at, ev.CancelAsked(at, "1"))
    player.play()
    assert player.states("2")["many"] == "done"


def test_attempts_of_a_sub_workflow_count_on_over_its_rounds() -> None:
    below = definition(agent("x"), agent("many", each="[1, 2]"), name="below")
    loop = Agent("loop", SubWorkflow("below.yaml"), repeat=Repeat("1 > 2", 3))
    player = Player(definition(loop), nested={"loop": below}).play()
    of = [
        (e.step, e.attempt) for e in player.of(ev.StepStarted) if isinstance(e, ev.StepStarted) and e.task != "1"
    ]
    assert sorted(of) == [(step, n) for step in ("many[0]", "many[1]", "x") for n in (1, 2, 3)]
