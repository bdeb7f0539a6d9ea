"""The view agrees with the scheduler whose log it folds, whatever happens in the run."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import ENDED, OPEN, RUNNING
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Python, SubWorkflow
from tests.scheduler.driver import Player, definition
from tests.scheduler.graphs import actions, event_of, graphs


@given(
    agents=graphs(),
    tasks=st.integers(1, 4),
    acts=actions(),
    seed=st.randoms(use_true_random=False),
)
def test_the_view_agrees_with_the_scheduler_at_every_step(
    agents: list[Agent], tasks: int, acts: list[tuple[float, str, int]], seed: object
) -> None:
    random = seed.random  # type: ignore[attr-defined]

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        length = round(random() * 8, 1)
        return length, Fault("exception", "made to fail") if random() < 0.25 else started.step

    # Nested tasks are counted apart.
    agents = [replace(a, does=Python("m:f")) if isinstance(a.does, SubWorkflow) else a for a in agents]
    of = definition(*agents)
    player = Player(of, workers=3, tasks=tasks, plan=plan)
    for action in acts:
        player.at(action[0], event_of(action, agents))
    player.at(31.0, ev.RunUnpaused(31.0))
    player.at(31.0, ev.LimitChanged(31.0, "workers", 0, 4))

    view = RunView(of)
    for _ in range(20_000):
        for event in player.log[view.seq :]:
            view.apply(view.seq + 1, event)
        agree(player, view)
        if player.finished or not player.step():
            break

    # What failed goes again once, after the run was over.
    player.retry(*sorted(player.letters)[:3]).play(20_000)
    for event in player.log[view.seq :]:
        view.apply(view.seq + 1, event)
    assert view.state == player.finished
    assert not view.open
    assert not view.running
    counts = view.steps()
    assert counts["waiting"] == counts["ready"] == counts["running"] == 0
    whole = view.tasks.opened * sum(not agent.spare for agent in agents)
    assert sum(counts.values()) == whole + sum(size - 1 for size in expanded(player.log).values() if size)
    # An item that did well the second time is settled with its group, which the view does not wait for.
    items = any(agent.each for agent in agents)
    assert view.letters <= len(player.letters) if items else view.letters == len(player.letters)
    assert all(0 <= tally.blocked <= tally.steps["failed"] for tally in view.agents.values())
    made = summary(view, of)
    assert made["attempts"] == len(player.of(ev.StepStarted))
    assert all(seconds >= 0 for told in made["agents"].values() for seconds in told["waiting"].values())


def expanded(log: list[ev.Event]) -> dict[tuple[str, str], int]:
    """How many items each step has that has become items; they are counted even if it is not expanded again."""
    return {(e.task, e.step): e.size for e in log if isinstance(e, ev.StepExpanded)}


def agree(player: Player, view: RunView) -> None:
    """What both know is the same: who runs, which tasks are open, and how each ended step ended."""
    scheduler = player.scheduler
    steps = [step for task in scheduler.tasks.values() for step in task.all_steps()]
    live = [s for s in steps if s.state == RUNNING or (s.state == OPEN and s.items is None)]
    assert set(view.running) == {(step.task.id, step.key) for step in live}
    assert set(view.open) == set(scheduler.tasks)
    assert view.steps()["running"] == len(live)
    for task in scheduler.tasks.values():
        told = view.open[task.id].steps
        for step in task.steps:
            if step is None or (step.key not in told and view.open[task.id].partial):
                continue
            if step.state in ENDED or step.state == RUNNING:
                assert told[step.key].state == step.state
