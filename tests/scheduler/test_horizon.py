"""Steps that would delay the end of the run go before older tasks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentdeck.agents.simulate import Simulate
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.horizon import urgent_path
from agentdeck.scheduler.program import Program
from agentdeck.workflow.model import Agent, Definition, Prompt, SubWorkflow
from tests.scheduler.driver import Player, agent, definition, prompt

ORDER = {"extract": 2.0, "payment": 1.5, "inventory": 2.0, "shipping": 1.0, "confirm": 1.0}


def timed(name: str, seconds: float, *needs: str) -> Agent:
    """An agent whose duration is known."""
    return replace(agent(name, *needs), does=Simulate(seconds))


def order() -> Definition:
    return definition(
        timed("extract", 2.0),
        timed("payment", 1.5, "extract"),
        timed("inventory", 2.0, "extract"),
        timed("shipping", 1.0, "payment", "inventory"),
        timed("confirm", 1.0, "shipping"),
    )


def played(of: Definition, *, workers: int, tasks: int) -> Player:
    known = {name: one.does.seconds() or 1.0 for name, one in of.agents.items()}
    return Player(of, workers=workers, tasks=tasks, plan=lambda started: (known[started.step], None)).play()


def ends(player: Player) -> list[float]:
    return [event.at for event in player.log if isinstance(event, ev.TaskEnded)]


def test_the_last_tasks_do_not_leave_workers_idle() -> None:
    """By age alone 20 orders take 11.5 s, and 200 take 25.5 s."""
    assert played(order(), workers=16, tasks=20).now <= 10.5
    assert played(order(), workers=64, tasks=200).now <= 24.5


def test_tasks_still_end_early() -> None:
    """Far from the end of the run the oldest task goes first, and few are open."""
    player = played(order(), workers=4, tasks=100)
    opened = [event.at for event in player.log if isinstance(event, ev.TaskOpened)]
    assert sum(at <= 50.0 for at in opened) - sum(at <= 50.0 for at in ends(player)) <= 5
    assert ends(player)[0] == 6.0


def test_a_long_step_goes_before_an_older_task() -> None:
    """One task has three steps side by side of which none is long. The first step of the other is."""
    graph = definition(timed("a", 1.0), timed("b", 1.0), timed("c", 1.0), timed("long", 6.0, "a"))
    starts = [(e.task, e.step) for e in played(graph, workers=2, tasks=2).log if isinstance(e, ev.StepStarted)]
    assert starts.index(("2", "a")) < starts.index(("1", "c"))


@pytest.mark.parametrize("high", [False, True])
def test_priority_goes_before_urgency(high: bool) -> None:
    graph = definition(
        timed("a", 1.0),
        replace(timed("b", 1.0), priority="high" if high else "normal"),
        replace(timed("c", 1.0), priority="high" if high else "normal"),
        timed("long", 6.0, "a"),
    )
    starts = [(e.task, e.step) for e in played(graph, workers=2, tasks=2).log if isinstance(e, ev.StepStarted)]
    assert (starts.index(("1", "c")) < starts.index(("2", "a"))) is high


def test_what_follows_a_sub_workflow_counts_for_its_steps() -> None:
    nested = definition(timed("n", 2.0), timed("m", 1.0, "n"))
    below = Program(nested)
    graph = definition(replace(agent("sub"), does=SubWorkflow("x.yaml")), timed("after", 5.0, "sub"))
    player = Player(graph, workers=1, nested={"sub": nested}, plan=lambda _: (1.0, None))
    assert below.path == 3.0
    (step,) = player.scheduler.state.running
    assert (step.key, step.path) == ("n", 8.0)


def test_urgency_counts_what_is_left() -> None:
    assert urgent_path(4.0, [], 0.0, 2) == pytest.approx(0.85 * 4.0)  # of the longest path that has not started
    assert urgent_path(4.0, [(1.0, 2.0, 9.0)], 2.0, 2) == pytest.approx(0.85 * 8.0)  # of one that runs
    assert urgent_path(4.0, [(1.0, 2.0, 3.0)], 41.0, 2) == pytest.approx(0.85 * 20.0)  # of all the work


def test_a_first_run_learns_how_long_agents_take() -> None:
    """`b` takes long, but nothing says so until it has run."""
    taken = {"a": 1.0, "b": 9.0, "c": 1.0, "d": 1.0}
    graph = definition(agent("a"), agent("b"), agent("c"), agent("d", "c"))
    player = Player(graph, workers=1, tasks=6, plan=lambda started: (taken[started.step], None)).play()
    order = [e.step for e in player.log if isinstance(e, ev.StepStarted)]
    assert order[:4] == ["c", "a", "b", "d"]  # by the number of steps that follow
    assert order[-4:] == ["b", "c", "a", "d"]
    (rule,) = [rule for rule in player.scheduler.state.program.rules if rule.name == "b"]
    assert (rule.seconds, rule.remaining) == (9.0, -9.0)


def test_a_resumed_run_has_learned_the_same() -> None:
    graph = definition(agent("a"), agent("b", "a"))
    seconds = []
    for crashes in ([], [20.5]):
        player = Player(graph, workers=2, tasks=20, plan=lambda e: (2.0 if e.step == "a" else 3.0, None))
        player.crashes = list(crashes)
        while player.now < 21.0:
            player.step()
        seconds.append([rule.seconds for rule in player.scheduler.state.program.rules])
    assert seconds == [[2.0, 3.0]] * 2


def test_what_is_unknown_takes_as_long_as_what_is_known() -> None:
    """Of prompts, the longer one takes longer."""
    short, long = (replace(prompt(name), does=Prompt("x" * size)) for name, size in (("s", 40), ("l", 4000)))
    program = Program(definition(agent("a"), agent("b"), short, long), {"a": 10.0})
    seconds = {rule.name: rule.seconds for rule in program.rules}
    assert seconds == {"a": 10.0, "b": 10.0, "s": pytest.approx(10.1), "l": 20.0}
