"""Random graphs, durations, failures and operator actions: every invariant holds after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.core import events as ev
from agentdeck.errors import Fault
from agentdeck.workflow.model import Agent, Budget, Join, OnError, Prompt, Retry, Timeout
from tests.core.driver import Desk, Player, agent, definition, refold

KINDS = ["exception", "permanent", "rate_limit", "invalid"]


def levels(log: list[ev.Event], workers: int) -> Iterator[tuple[ev.Event, int, int]]:
    """Each event with the number of workers and of live attempts after it."""
    live: set[tuple[str, str]] = set()
    for event in log:
        match event:
            case ev.LimitChanged(name="workers", new=new):
                workers = new
            case ev.StepStarted(task=task, step=step):
                live.add((task, step))
            case (
                ev.AttemptFailed(task=task, step=step)
                | ev.StepSucceeded(task=task, step=step)
                | ev.StepFailed(task=task, step=step)
                | ev.StepCancelled(task=task, step=step)
                | ev.StepSkipped(task=task, step=step)
            ):
                live.discard((task, step))
        yield event, workers, len(live)


@st.composite
def graphs(draw: st.DrawFn) -> list[Agent]:
    size = draw(st.integers(1, 9))
    agents: list[Agent] = []
    for i in range(size):
        names = [a.name for a in agents if not a.spare]
        needs = tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=4))) if names else ()
        settings: dict[str, object] = {
            "priority": draw(st.sampled_from(["high", "normal", "low"])),
            "retry": Retry(draw(st.integers(1, 3)), delay=draw(st.sampled_from([0.0, 1.0, 5.0]))),
            "on_error": OnError(draw(st.sampled_from(["fail", "continue"]))),
            "timeout": Timeout(
                attempt=draw(st.sampled_from([None, 2.0, 6.0])),
                queue=draw(st.sampled_from([None, None, 8.0])),
                total=draw(st.sampled_from([None, None, 9.0])),
            ),
            "max_parallel": draw(st.sampled_from([None, None, 1, 2])),
        }
        if len(needs) > 1:
            settings["join"] = draw(joins(len(needs)))
        agents.append(agent(f"a{i}", *needs, **settings))
    return agents


@st.composite
def joins(draw: st.DrawFn, needs: int) -> Join:
    kinds: list[Literal["all", "any", "quorum", "progressive"]] = ["all", "any", "quorum", "progressive"]
    rests: list[Literal["cancel", "finish"]] = ["cancel", "finish"]
    kind, rest = draw(st.sampled_from(kinds)), draw(st.sampled_from(rests))
    within = draw(st.sampled_from([None, 1.5, 4.0]))
    if kind == "quorum":
        quorum = draw(st.one_of(st.integers(1, needs), st.sampled_from([0.5, 0.75, 1.0])))
        return Join("quorum", quorum, within, draw(st.sampled_from([None, 1])), rest)
    return Join(kind, None, within if kind == "all" else None, None, rest)


@st.composite
def actions(draw: st.DrawFn) -> list[tuple[float, str, int]]:
    kinds = ["pause", "unpause", "workers", "cancel_task", "cancel_step", "cancel", "hurry", "release", "timeout",
             "skip", "reopen", "reopen"]  # fmt: skip
    one = st.tuples(st.floats(0.0, 30.0), st.sampled_from(kinds), st.integers(0, 8))
    return sorted(draw(st.lists(one, max_size=6)))


def event_of(action: tuple[float, str, int], agents: list[Agent]) -> ev.Event | ev.Signal:
    at, kind, number = action
    name = agents[number % len(agents)].name
    task = str(1 + number % 3)
    events: dict[str, ev.Event | ev.Signal] = {
        "pause": ev.RunPaused(at),
        "unpause": ev.RunUnpaused(at),
        "workers": ev.LimitChanged(at, "workers", 0, number),
        "cancel_task": ev.CancelAsked(at, task),
        "cancel_step": ev.CancelAsked(at, task, name),
        "cancel": ev.CancelAsked(at),
        "hurry": ev.TaskHurried(at, task),
        "skip": ev.SkipAsked(at, task, name),
        "release": ev.StepReleased(at, task, name),
        "reopen": ev.StepReopened(at, task, name, "ada", {"n": number} if number % 2 else None),
        "timeout": ev.LimitChanged(at, f"agents.{name}.timeout", 0, number + 0.5),
    }
    return events[kind]


@settings(max_examples=300, deadline=None)
@given(
    agents=graphs(),
    tasks=st.integers(1, 5),
    workers=st.integers(1, 5),
    acts=actions(),
    seed=st.randoms(use_true_random=False),
    commit=st.sampled_from([None, 0.0, 0.3]),
    mode=st.sampled_from(["parallel", "parallel", "sequential"]),
)
def test_every_run_ends_and_every_promise_holds(
    agents: list[Agent],
    tasks: int,
    workers: int,
    acts: list[tuple[float, str, int]],
    seed: object,
    commit: float | None,
    mode: Literal["parallel", "sequential"],
) -> None:
    random = seed.random  # type: ignore[attr-defined]

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        length = round(random() * 8, 1)
        if random() < 0.25:
            return length, Fault(KINDS[int(random() * len(KINDS))], "made to fail")
        return length, started.step

    made = replace(definition(*agents), mode=mode)
    player = Player(made, workers=workers, tasks=tasks, plan=plan, commit=commit)
    for action in acts:
        player.at(action[0], event_of(action, agents))
    # Whatever the operator did, in the end there is room and nothing is paused.
    player.at(31.0, ev.RunUnpaused(31.0))
    player.at(31.0, ev.LimitChanged(31.0, "workers", 0, 4))
    player.play(20_000)

    for _ in range(2):
        assert player.finished in ("done", "failed", "cancelled")
        assert player.machine.tasks == {}
        wrong = [(e.task, e.step) for e in player.log if isinstance(e, ev.StepFailed) and e.letter]
        some = [one for one in dict.fromkeys(wrong) if random() < 0.7]
        player.retry(*some).play(20_000)
        ends = {e.task: e.state for e in player.log if isinstance(e, ev.TaskEnded)}
        assert player.machine.failed_tasks == list(ends.values()).count("failed")
        assert player.machine.cancelled_tasks == list(ends.values()).count("cancelled")
        assert player.machine.top == player.machine.busy_tasks == 0
    log = player.log
    live: Counter[tuple[str, str]] = Counter()
    over: set[tuple[str, str]] = set()
    failed: Counter[tuple[str, str]] = Counter()
    limit = workers
    for event in log:
        match event:
            case ev.LimitChanged(name="workers", new=new):
                limit = new
            case ev.StepStarted(task=task, step=step):
                live[task, step] += 1
                assert live[task, step] == 1, "two live attempts"
                assert (task, step) not in over, "started after it had ended"
                assert sum(live.values()) <= max(limit, 1), "over the limit at a start"
                if mode == "sequential":
                    assert sum(n for (of, _), n in live.items() if of == task) == 1, "two steps of a task"
            case ev.AttemptFailed(task=task, step=step) | ev.StepSucceeded(task=task, step=step):
                live[task, step] -= 1
            case ev.StepFailed(task=task, step=step) | ev.StepCancelled(task=task, step=step):
                live[task, step] = 0
                over.add((task, step))
                failed[task, step] += type(event) is ev.StepFailed
            case ev.StepSkipped(task=task, step=step):
                live[task, step] = 0
                over.add((task, step))
            case ev.StepDone(task=task, step=step):
                over.add((task, step))
            case ev.StepReopened(task=task, step=step, again=again):
                assert again is not None
                assert step in again
                for key in again:
                    assert live[task, key] == 0, "goes again while it runs"
                    over.discard((task, key))
                    failed[task, key] = 0
    assert all(count <= 1 for count in failed.values()), "one letter per finally failed step"
    assert not +live


@settings(max_examples=250, deadline=None)
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
    mode=st.sampled_from(["parallel", "parallel", "sequential"]),
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
    mode: Literal["parallel", "sequential"],
) -> None:
    """Half of the agents are prompts, behind a desk that grants so many in any ten seconds."""
    random = seed.random  # type: ignore[attr-defined]
    agents = [replace(a, does=Prompt("?")) if random() < 0.5 else a for a in agents]
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
    )
    for action in acts:
        player.at(action[0], event_of(action, agents))
    player.at(31.0, ev.RunUnpaused(31.0))
    player.at(31.0, ev.LimitChanged(31.0, "workers", 0, 4))
    for _ in range(20_000):
        if player.machine.paused and not player.machine.running and player.now > 31:
            player.send(ev.LimitChanged(player.now, "budget.tokens", tokens, 1_000_000))
            player.send(ev.RunUnpaused(player.now))
        if player.finished or not player.step():
            break
    assert player.finished, player.machine.snapshot()
    assert not player.machine.asking or player.machine.cancelling or player.machine.tasks == {}
    started = [e for e in player.log if isinstance(e, ev.StepStarted) and e.model]
    for one in started:
        inside = [e for e in started if one.at - 10.0 < e.at <= one.at]
        assert len(inside) <= most
    for event, limit, live in levels(player.log, workers):
        assert not isinstance(event, ev.StepStarted) or live <= max(limit, 1), "over the limit at a start"
    granted = {a.ask for a in desk.asked} - set(desk.gave_back)
    assert len(started) <= len(granted)
    waited: dict[tuple[str, str], str] = {}
    for event in player.log:
        if isinstance(event, ev.StepWaited):
            assert waited.get((event.task, event.step)) != event.reason, "told once for each reason"
            waited[event.task, event.step] = event.reason
        elif isinstance(event, ev.StepStarted):
            waited.pop((event.task, event.step), None)
    folded = refold(player)
    assert folded.accounts.snapshot() == player.machine.accounts.snapshot()
    if player.machine.accounts.run is not None:
        assert player.machine.accounts.run.held_tokens == 0


@settings(max_examples=150, deadline=None)
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

    player = Player(definition(*agents), workers=4, tasks=tasks, plan=plan)
    for action in acts:
        player.at(action[0], event_of(action, agents))
    for _ in range(stop):
        if player.finished or not player.step():
            break
    folded = refold(player)
    mine, other = player.machine.snapshot(), folded.snapshot()
    # A backoff that is over is told by the next start; until then only the clock knows.
    for state in (mine, other):
        for steps in state["tasks"].values():
            for step in steps.values():
                step[0] = "ready" if step[0] == "held" else step[0]
        del state["busy"]
    assert mine == other
