"""Random graphs, durations, failures, crashes and operator actions: every invariant holds after every event."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Agent, Budget, Prompt
from tests.scheduler.driver import Desk, Player, definition, ledgers, refold, snapshot
from tests.scheduler.graphs import (
    MODES,
    Action,
    Live,
    Mode,
    actions,
    graphs,
    nested,
    operate,
    random_plan,
    randoms,
)

ENDS = (ev.StepSucceeded, ev.StepDone, ev.StepFailed, ev.StepSkipped, ev.StepCancelled)


@pytest.mark.untraced
@given(
    agents=graphs(),
    tasks=st.integers(1, 5),
    workers=st.integers(1, 5),
    acts=actions(),
    crashes=st.lists(st.floats(0.0, 30.0), max_size=2).map(sorted),
    random=randoms(),
    commit=st.sampled_from([None, 0.0, 0.3]),
    mode=st.sampled_from(MODES),
)
def test_every_run_ends_and_every_promise_holds(
    agents: list[Agent],
    tasks: int,
    workers: int,
    acts: list[Action],
    crashes: list[float],
    random: Random,
    commit: float | None,
    mode: Mode,
) -> None:
    made = replace(definition(*agents), mode=mode)
    player = Player(
        made, workers=workers, tasks=tasks, plan=random_plan(random), commit=commit, nested=nested(agents)
    )
    player.crashes = crashes
    operate(player, acts, agents)
    player.play(20_000)

    for _ in range(2):
        assert player.finished in ("done", "failed", "cancelled")
        assert player.scheduler.state.tasks == {}
        wrong = [(e.task, e.step) for e in player.log if isinstance(e, ev.StepFailed) and e.letter]
        some = [one for one in dict.fromkeys(wrong) if random.random() < 0.7]
        player.retry(*some).play(20_000)
        ends = {e.task: e.state for e in player.log if isinstance(e, ev.TaskEnded) and "/" not in e.task}
        assert player.scheduler.state.failed_tasks == list(ends.values()).count("failed")
        assert player.scheduler.state.cancelled_tasks == list(ends.values()).count("cancelled")
        assert player.scheduler.state.open_tasks == 0
    over: set[tuple[str, str]] = set()
    failed: Counter[tuple[str, str]] = Counter()
    live = Live(agents, workers, mode)
    for event in player.log:
        live.take(event)
        match event:
            case ev.StepStarted(task=task, step=step):
                assert (task, step) not in over, "started after it had ended"
            case ev.StepFailed(task=task, step=step) | ev.StepCancelled(task=task, step=step):
                over.add((task, step))
                failed[task, step] += type(event) is ev.StepFailed
            case (
                ev.StepSkipped(task=task, step=step)
                | ev.StepDone(task=task, step=step)
                | ev.StepAnswered(task=task, step=step, question="")
            ):
                over.add((task, step))
            case ev.TaskOpened(task=task):
                for one in [one for one in over if f"{one[0]}/".startswith(f"{task}/")]:
                    over.discard(one)
                    failed[one] = 0
            case ev.StepReopened(task=task, step=step, again=again):
                assert again is not None
                assert step in again
                for key in again:
                    assert (task, key) not in live.attempts, "goes again while it runs"
                    for one in [*over]:
                        if one == (task, key) or f"{one[0]}/{one[1]}".startswith(
                            (f"{task}/{key}[", f"{task}/{key}/")
                        ):
                            over.discard(one)
                            failed[one] = 0
    assert all(count <= 1 for count in failed.values()), "one letter per finally failed step"
    assert not live.attempts


@pytest.mark.untraced
@given(
    agents=graphs(),
    tasks=st.integers(1, 5),
    workers=st.integers(1, 5),
    acts=actions(),
    most=st.integers(1, 6),
    takes=st.sampled_from([0.0, 0.01, 0.7]),
    tokens=st.sampled_from([None, 2000]),
    ask=st.booleans(),
    random=randoms(),
    mode=st.sampled_from(MODES),
)
def test_what_is_reserved_never_exceeds_its_limit_and_everybody_comes_to_their_turn(
    agents: list[Agent],
    tasks: int,
    workers: int,
    acts: list[Action],
    most: int,
    takes: float,
    tokens: int | None,
    ask: bool,
    random: Random,
    mode: Mode,
) -> None:
    """Half of the agents are prompts, behind a desk that grants so many in any ten seconds."""
    agents = [
        replace(a, does=Prompt("?")) if a.does.verb == "python" and random.random() < 0.5 else a for a in agents
    ]
    ladder = ((0.5, "reduce"), (0.6, "downgrade"), (0.7, "drop"), (1.0, "ask" if ask else "stop"))
    budget = None if tokens is None else Budget(tokens=tokens, ladder=ladder)

    desk = Desk(most, takes)
    player = Player(
        replace(definition(*agents, budget=budget), mode=mode),
        workers=workers,
        tasks=tasks,
        plan=random_plan(random),
        desk=desk,
        usage=lambda started: ev.Usage(random.randrange(90), 0) if started.model else ev.Usage(),
        nested=nested(agents),
    )
    operate(player, acts, agents)
    for _ in range(20_000):
        if player.scheduler.state.paused and not player.scheduler.state.running and player.now > 31:
            player.send(ev.LimitChanged(player.now, "budget.tokens", tokens, 1_000_000))
            player.send(ev.RunUnpaused(player.now))
        if player.finished or not player.step():
            break
    assert player.finished, snapshot(player.scheduler.state)
    cancelled = any(isinstance(e, ev.TasksExhausted) and e.cut for e in player.log)
    assert not player.scheduler.busy or cancelled or player.scheduler.state.tasks == {}
    started = [e for e in player.log if isinstance(e, ev.StepStarted) and e.model]
    for one in started:
        inside = [e for e in started if one.at - 10.0 < e.at <= one.at]
        assert len(inside) <= most
    live = Live(agents, workers, mode)
    for event in player.log:
        live.take(event)
    granted = {a.ask for a in desk.asked} - set(desk.gave_back)
    assert len(started) <= len(granted)
    waited: dict[tuple[str, str], str] = {}
    for event in player.log:
        if isinstance(event, ev.StepWaited):
            assert waited.get((event.task, event.step)) != event.reason, "told once for each reason"
            waited[event.task, event.step] = event.reason
        elif isinstance(event, (ev.StepStarted, *ENDS)):
            waited.pop((event.task, event.step), None)
    folded = refold(player)
    assert ledgers(folded.state.accounts) == ledgers(player.scheduler.state.accounts)
    if player.scheduler.state.accounts.run is not None:
        assert player.scheduler.state.accounts.run.held_tokens == 0
