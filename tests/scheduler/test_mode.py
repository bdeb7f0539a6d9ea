"""`mode`: the steps of a task one after the other, or side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentdeck.engine.adaptive_mode import AdaptiveMode
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Agent, Retry, SubWorkflow
from tests.scheduler.driver import Desk, Player, agent, definition, prompt, refold, snapshot
from tests.scheduler.test_scheduler import SECONDS, order, takes


def most_at_once(player: Player) -> int:
    """Of the steps of one task."""
    live: dict[str, int] = {}
    most = 0
    for event in player.log:
        if isinstance(event, ev.StepStarted):
            live[event.task] = live.get(event.task, 0) + 1
            most = max(most, live[event.task])
        elif isinstance(event, ev.StepSucceeded | ev.AttemptFailed):
            live[event.task] -= 1
    return most


def test_steps_go_one_after_the_other_and_tasks_side_by_side() -> None:
    sequential = replace(definition(*order()), mode="sequential")
    player = Player(sequential, tasks=4, workers=4, plan=takes(SECONDS)).play()
    assert player.now == 7.5
    assert most_at_once(player) == 1
    assert snapshot(refold(player).state) == snapshot(player.scheduler.state)


def test_what_is_chosen_later_holds_from_then_on() -> None:
    player = Player(definition(*order()), plan=takes(SECONDS))
    player.at(1.0, ev.Noted(1.0, "", data={"mode": "sequential"}))
    assert player.play().now == 7.5
    player = Player(definition(*order()), plan=takes(SECONDS))
    player.at(1.0, ev.Noted(1.0, "", data={"mode": "sequential"}))
    player.at(3.5, ev.Noted(3.5, "", data={"mode": "parallel"}))
    assert player.play().now == 6.5, "shipping did not wait for inventory"


@pytest.mark.parametrize("most", [1, 100])
def test_prompts_that_are_reserved_go_one_after_the_other_too(most: int) -> None:
    agents = [prompt(name, retry=Retry(1)) for name in "abc"]
    desk = Desk(most=most)
    player = Player(replace(definition(*agents), mode="sequential"), tasks=2, desk=desk).play()
    assert most_at_once(player) == 1
    assert len(player.of(ev.StepSucceeded)) == 6


def test_items_that_are_sub_workflows_hold_no_row_while_their_steps_go() -> None:
    below = definition(agent("x"), agent("y", "x"), name="below")
    sub = Agent("sub", SubWorkflow("below.yaml"), each="[1, 2, 3]")
    sequential = replace(definition(sub, agent("after", "sub")), mode="sequential")
    player = Player(sequential, plan=takes({}), nested={"sub": below}).play()
    assert player.finished == "done"
    assert player.now == 7.0, "six steps of sub-workflows, one after the other, and the one after them"


def chosen(works: list[float], known: list[float] | None = None) -> list[str]:
    """What is said of a run whose tasks are so much work, in two steps each."""
    player = Player(definition(agent("a"), agent("b")), tasks=len(works))
    scheduler = player.scheduler
    adaptive = AdaptiveMode(known or [], scheduler)
    told = [adaptive.first(0.0)]
    scheduler.apply(told[0])
    for number, work in enumerate(works, 1):
        task = str(number)
        scheduler.apply(ev.TaskOpened(0.0, task, {}))
        for at, event in (
            (0.0, ev.StepStarted(0.0, task, "a", "a", 1, 0.0)),
            (0.0, ev.StepStarted(0.0, task, "b", "b", 1, 0.0)),
            (work / 4, ev.StepSucceeded(work / 4, task, "a", 1)),
            (work * 3 / 4, ev.StepSucceeded(work * 3 / 4, task, "b", 1)),
            (work, ev.TaskEnded(work, task, "done")),
        ):
            assert event.at == at
            scheduler.apply(event)
            said = adaptive.see(event)
            if said is not None:
                scheduler.apply(said)
                told.append(said)
    assert adaptive.work_of_tasks == works
    return [one.text.removeprefix("adaptive: the steps of a task run ") for one in told]


def test_adaptive_says_what_it_chose_and_why() -> None:
    assert chosen([]) == ["in parallel: no earlier task of this workflow was measured"]
    assert chosen([0.002] * 40)[1:] == ["one after another: a task is 2 ms of work (p50 of 5), under 100 ms"]
    assert chosen([4.0] * 40)[1:] == []
    assert chosen([], [0.08, 0.09, 0.3]) == [
        "one after another: a task is 90 ms of work (p50 of 3), under 100 ms"
    ]
    assert chosen([], [2.5]) == ["in parallel: a task is 2.5 s of work (the only one measured), not under 100 ms"]
    assert chosen([0.12] * 60, [0.09] * 9)[1:] == [], "it does not go to and fro"
    assert chosen([0.4] * 20, [0.09] * 9)[1:] == [
        "in parallel: a task is 400 ms of work (p50 of 29), not under 150 ms"
    ]
