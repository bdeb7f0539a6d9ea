"""Random graphs, durations, failures, crashes and operator actions: every invariant holds after every event."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Agent, Budget, Prompt
from tests.scheduler.driver import Desk, Player, definition, refold
from tests.scheduler.graphs import MODES, Live, Mode, actions, event_of, graphs, nested

ENDS = (ev.StepSucceeded, ev.StepDone, ev.StepFailed, ev.StepSkipped, ev.StepCancelled)
KINDS = ["exception", "permanent", "rate_limit", "invalid"]


@given(
    agents=graphs(),
    tasks=st.integers(1, 5),
    workers=st.integers(1, 5),
    acts=actions(),
    crashes=st.lists(st.floats(0.0, 30.0), max_size=2).map(sorted),
    seed=st.randoms(use_true_random=False),
    commit=st.sampled_from([None, 0.0, 0.3]),
    mode=st.sampled_from(MODES),
)
def test_every_run_ends_and_every_promise_holds(
    agents: list[Agent],
    tasks: int,
    workers: int,
    acts: list[tuple[float, str, int]],
    crashes: list[float],
    seed: object,
    commit: float | None,
    mode: Mode,
) -> None:
    random = seed.random  # type: ignore[attr-defined]

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        length = round(random() * 8, 1)
        if random() < 0.25:
            return length, Fault(KINDS[int(random() * len(KINDS))], "made to fail")
        return length, started.step

    made = replace(definition(*agents), mode=mode)
    player = Player(made, workers=workers, tasks=tasks, plan=plan, commit=commit, nested=nested(agents))
    player.crashes = crashes
    for action in acts:
        player.at(action[0], event_of(action, agents))
    # Whatever the operator did, in the end there is room and nothing is paused.
    player.at(31.0, ev.RunUnpaused(31.0))
    player.at(31.0, ev.LimitChanged(31.0, "workers", 0, 4))
    player.play(20_000)

    for _ in range(2):
        assert player.finished in ("done", "failed", "cancelled")
        assert player.scheduler.tasks == {}
        wrong = [(e.task, e.step) for e in player.log if isinstance(e, ev.StepFailed) and e.letter]
        some = [one for one in dict.fromkeys(wrong) if random() < 0.7]
        player.retry(*some).play(20_000)
        ends = {e.task: e.state for e in player.log if isinstance(e, ev.TaskEnded) and "/" not in e.task}
        assert player.scheduler.run_state.failed_tasks == list(ends.values()).count("failed")
        assert player.scheduler.run_state.cancelled_tasks == list(ends.values()).count("cancelled")
        assert player.scheduler.run_state.top == player.scheduler.run_state.busy_tasks == 0
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
                | ev.StepAnswered(task=task, step=step)
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


@given(
    agents=graphs(),
    tasks=st.integers(1, 5),
    workers=st.integers(1, 5),
    acts=actions(),
    most=st.integers(1, 6),
    takes=st.sampled_from([0.0, 0.01, 0.7]),
    tokens=st.sampled_from([None, 2000]),
    ask=st.booleans(),
    seed=st.randoms(use_true_random=False),
    mode=st.sampled_from(MODES),
)
def test_what_is_reserved_never_exceeds_its_limit_and_everybody_comes_to_their_turn(
    agents: list[Agent],
    tasks: int,
    workers: int,
    acts: list[tuple[float, str, int]],
    most: int,
    takes: float,
    tokens: int | None,
    ask: bool,
    seed: object,
    mode: Mode,
) -> None:
    """Half of the agents are prompts, behind a desk that grants so many in any ten seconds."""
    random = seed.random  # type: ignore[attr-defined]
    agents = [replace(a, does=Prompt("?")) if a.does.verb == "python" and random() < 0.5 else a for a in agents]
    ladder = ((0.5, "reduce"), (0.6, "downgrade"), (0.7, "drop"), (1.0, "ask" if ask else "stop"))
    budget = None if tokens is None else Budget(tokens=tokens, ladder=ladder)

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        length = round(random() * 8, 1)
        if random() < 0.25:
            return length, Fault(KINDS[int(random() * len(KINDS))], "made to fail")
        return length, started.step

    desk = Desk(most, takes)
    player = Player(
        replace(definition(*agents, budget=budget), mode=mode),
        workers=workers,
        tasks=tasks,
        plan=plan,
        desk=desk,
        usage=lambda started: ev.Usage(int(random() * 90), 0) if started.model else ev.Usage(),
        nested=nested(agents),
    )
    for action in acts:
        player.at(action[0], event_of(action, agents))
    player.at(31.0, ev.RunUnpaused(31.0))
    player.at(31.0, ev.LimitChanged(31.0, "workers", 0, 4))
    for _ in range(20_000):
        if player.scheduler.paused and not player.scheduler.running and player.now > 31:
            player.send(ev.LimitChanged(player.now, "budget.tokens", tokens, 1_000_000))
            player.send(ev.RunUnpaused(player.now))
        if player.finished or not player.step():
            break
    assert player.finished, player.scheduler.snapshot()
    assert not player.scheduler.busy or player.scheduler.cancelled or player.scheduler.tasks == {}
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
    assert folded.state.accounts.snapshot() == player.scheduler.accounts.snapshot()
    if player.scheduler.accounts.run is not None:
        assert player.scheduler.accounts.run.held_tokens == 0


@given(
    agents=graphs(),
    tasks=st.integers(1, 4),
    acts=actions(),
    stop=st.integers(1, 60),
    seed=st.randoms(use_true_random=False),
)
def test_folding_the_log_gives_the_same_state(
    agents: list[Agent], tasks: int, acts: list[tuple[float, str, int]], stop: int, seed: object
) -> None:
    random = seed.random  # type: ignore[attr-defined]

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        length = round(random() * 8, 1)
        return length, Fault("exception", "flaky") if random() < 0.2 else None

    player = Player(definition(*agents), workers=4, tasks=tasks, plan=plan, nested=nested(agents))
    for action in acts:
        player.at(action[0], event_of(action, agents))
    for _ in range(stop):
        if player.finished or not player.step():
            break
    folded = refold(player)
    mine, other = player.scheduler.snapshot(), folded.state.snapshot()
    # A backoff that is over is told by the next start; until then only the clock knows.
    for state in (mine, other):
        for steps in state["tasks"].values():
            for step in steps.values():
                step[0] = "ready" if step[0] == "held" else step[0]
        del state["busy"]
    assert mine == other
