"""How many tasks are open at once: stuck ones do not hold up others, and their number stays bounded."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.starter import OPEN_PER_WORKER
from agentdeck.workflow.model import Approve, Definition, Prompt
from tests.scheduler.driver import Desk, Player, agent, definition, prompt, refold


class Desks(Desk):
    """A provider for each of two agents that answers four calls of two seconds at once."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, list[float]] = {"a": [], "b": []}

    def ask(self, action: act.Reserve, now: float) -> tuple[float, ev.Signal]:
        name = action.step
        where = now, action.ask, action.task, name, name
        if sum(end > now for end in self.ends[name]) == 4:
            return now, ev.Refused(*where, "concurrent", inf, f"{name}: 4 of 4")
        self.ends[name].append(now + 2.0)
        return now, ev.Reserved(*where, name, 1)


def first_a_then_b(kind: str) -> Definition:
    """The first 100 tasks need `a`, the next 100 `b`. Each runs four times at once."""
    if kind == "provider":
        a, b = (replace(prompt(name), does=Prompt("Say it.", model=name)) for name in "ab")
    else:
        a, b = (agent(name, max_parallel=4) for name in "ab")
    return definition(replace(a, when="inputs.n <= 100"), replace(b, when="inputs.n > 100"))


@pytest.mark.parametrize("kind", ["provider", "agent"])
def test_tasks_for_another_provider_or_agent_start_beside_stuck_ones(kind: str) -> None:
    """100 tasks take 50 s at one provider. The other one works in the same 50 s."""
    desk = Desks() if kind == "provider" else None
    player = Player(first_a_then_b(kind), workers=16, tasks=200, plan=lambda _: (2.0, None), desk=desk)
    player.play()
    assert player.now == pytest.approx(50.0)
    assert player.open_most <= OPEN_PER_WORKER * 16


def test_tasks_that_wait_for_a_retry_do_not_hold_up_others() -> None:
    """The provider refuses every fifth of 400 tasks for 60 s; without refusals the run takes 100 s."""
    fault = Fault("rate_limit", "slow down", retry_after=60.0)

    def plan(started: ev.StepStarted) -> tuple[float, Fault | None]:
        first = started.step == "a" and started.attempt == 1 and int(started.task) % 5 == 0
        return 2.0, fault if first else None

    player = Player(definition(agent("a"), agent("b", "a")), workers=16, tasks=400, plan=plan).play()
    work = len(player.asked) * 2.0 / 16
    assert player.now < work + 62.0 + 4.0


STUCK = {
    "backoff": agent("a"),
    "max_parallel": agent("a", max_parallel=1),
    "question": replace(agent("a"), does=Approve("Go on?")),
    "provider": prompt("a"),
}


@pytest.mark.parametrize("reason", STUCK)
def test_the_number_of_open_tasks_is_bounded(reason: str) -> None:
    desk = Desk(most=1) if reason == "provider" else None
    ends = (1.0, Fault("network", "down", retry_after=500.0)) if reason == "backoff" else (500.0, None)
    player = Player(definition(STUCK[reason]), workers=2, tasks=200, plan=lambda _: ends, desk=desk)
    while player.now < 100 and player.step():
        pass
    assert player.open_most == OPEN_PER_WORKER * 2


def test_a_resumed_run_opens_as_many_tasks() -> None:
    """Which tasks are stuck is not recorded: a resumed run finds the same ones."""
    graph = definition(agent("a", max_parallel=1))
    player = Player(graph, workers=4, tasks=100, plan=lambda _: (2.0, None))
    player.crashes = [3.0]
    while player.now < 9.0:
        player.step()
        assert player.scheduler.state.open_tasks == OPEN_PER_WORKER * 4
        assert player.scheduler.state.open_tasks == refold(player).state.open_tasks
    assert player.of(ev.AttemptLost)
    assert player.play().finished == "done"


@pytest.mark.parametrize("commit", [None, 0.01])
def test_tasks_end_before_others_are_opened(commit: float | None) -> None:
    """Steps that wait for the disk only are not stuck: no task is opened in their place, but for one."""
    graph = definition(agent("a"), agent("b", "a"), agent("c", "b"))
    player = Player(graph, workers=8, tasks=100, commit=commit)
    while player.opened < 70:  # the last ones are opened together, so that the run ends early
        player.step()
    assert player.open_most <= 9
