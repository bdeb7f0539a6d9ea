"""What a step waits for is told by reason, and the reasons add up to the time between ready and start."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.views.task_timeline import task_timeline
from tests.scheduler.driver import Desk, Player, agent, definition, prompt


def waits(player: Player, step: str = "", task: str = "") -> list[dict[str, float]]:
    """Of each attempt, by reason; what is not told is the pool's."""
    found = []
    for event in player.of(ev.StepStarted):
        assert isinstance(event, ev.StepStarted)
        if step not in ("", event.step) or task not in ("", event.task):
            continue
        told = dict(event.waits or {})
        told.setdefault("pool", round(event.at - event.ready - sum(told.values()), 6))
        assert sum(told.values()) == pytest.approx(event.at - event.ready + told.get("backoff", 0.0), abs=1e-4)
        found.append({reason: round(seconds, 3) for reason, seconds in told.items() if seconds >= 0.0005})
    return found


def test_all_workers_busy_is_the_pool() -> None:
    player = Player(definition(agent("a")), workers=1, tasks=1)
    player.play()
    assert waits(player) == [{}]
    player = Player(definition(agent("a"), agent("b")), workers=1, tasks=1)
    player.play()
    assert waits(player) == [{}, {"pool": 1.0}]


def test_as_many_as_its_agent_may_is_max_parallel() -> None:
    of = definition(agent("a"), agent("b", "a", max_parallel=1))
    player = Player(of, workers=8, tasks=3)
    player.play()
    assert waits(player, "b") == [{}, {"max_parallel": 1.0}, {"max_parallel": 2.0}]


def test_an_agent_that_is_held_says_so_and_both_are_told_apart() -> None:
    player = Player(definition(agent("a"), agent("b", "a", max_parallel=1)), workers=8, tasks=2)
    player.at(1.5, ev.LimitChanged(1.5, "agents.b.max_parallel", 1, 0, "eva"))
    player.at(4.0, ev.LimitChanged(4.0, "agents.b.max_parallel", 0, 1, "eva"))
    player.play()
    assert waits(player, "b") == [{}, {"max_parallel": 0.5, "held": 2.5}]


def test_a_paused_run_says_so_whatever_else_a_step_waits_for() -> None:
    player = Player(definition(agent("a"), agent("b", max_parallel=1)), workers=2, tasks=2)
    player.at(0.25, ev.RunPaused(0.25, "", "eva"))
    player.at(3.0, ev.RunUnpaused(3.0, "eva"))
    player.play()
    second = waits(player, "b", "2")[0]
    assert second["paused"] == 2.75


def test_what_is_committed_first_is_starting() -> None:
    player = Player(definition(agent("a"), agent("b", "a")), workers=8, commit=0.2)
    player.play()
    assert waits(player, "b") == [{"starting": 0.2}]


def test_a_provider_and_the_pool_are_told_apart() -> None:
    player = Player(definition(prompt("ask")), workers=2, tasks=4, desk=Desk(most=1, takes=0.01))
    player.play()
    last = waits(player, "ask")[-1]
    assert last["requests"] > 20.0
    assert set(last) <= {"requests", "starting", "pool"}


def test_a_backoff_is_told_beside_the_rest() -> None:
    def plan(started: ev.StepStarted) -> tuple[float, Fault | object]:
        failed = started.agent == "a" and started.attempt == 1
        return 1.0, Fault("exception", "no") if failed else None

    player = Player(definition(agent("a"), agent("b"), agent("c")), workers=1, plan=plan)
    player.play()
    again = waits(player, "a")[-1]
    assert again["backoff"] > 0


def test_view_and_timeline_sum_up_to_the_same() -> None:
    player = Player(definition(agent("a"), agent("b", "a", max_parallel=1)), workers=2, tasks=3)
    player.at(0.5, ev.RunPaused(0.5, "", "eva"))
    player.at(2.0, ev.RunUnpaused(2.0, "eva"))
    player.play()
    view = RunView(player.definition)
    for seq, event in enumerate(player.log, 1):
        view.apply(seq, event)
    spans: dict[str, float] = {}
    for task in ("1", "2", "3"):
        for row in task_timeline(list(enumerate(player.log, 1)), task):
            for span in row.spans:
                if not span.attempt and span.until is not None:
                    spans[span.kind] = spans.get(span.kind, 0.0) + span.until - span.since
    summed: dict[str, float] = {}
    for tally in view.agents.values():
        for reason, seconds in tally.waiting.items():
            summed[reason] = summed.get(reason, 0.0) + seconds
    assert {r: round(s, 3) for r, s in spans.items()} == {r: round(s, 3) for r, s in summed.items()}
    assert summed["paused"] > 0
    assert summed["max_parallel"] > 0


def test_reasons_add_up_after_a_crash_too() -> None:
    player = Player(definition(agent("a"), agent("b", "a", max_parallel=1)), workers=2, tasks=4)
    player.crashes = [0.5, 1.5, 4.25]
    player.play()
    assert sum(map(len, waits(player))) > 0  # `waits` checks each sum
