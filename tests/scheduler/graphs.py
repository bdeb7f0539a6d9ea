"""Random workflows of every kind of step, and what operators do to them."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import root_of
from agentdeck.workflow.model import (
    Agent,
    Approve,
    Data,
    Definition,
    Dispatch,
    Join,
    OnError,
    Repeat,
    Retry,
    SubWorkflow,
    Timeout,
)
from tests.scheduler.driver import RESOURCES, Asks, Plan, Player, agent, definition

Mode: TypeAlias = Literal["parallel", "sequential"]
Action: TypeAlias = tuple[float, str, int]
MODES: tuple[Mode, ...] = ("parallel", "parallel", "sequential")
#: Of the agents of a graph.
KINDS = (*["plain"] * 6, "spare", "when", "each", "repeat", "approve", "workflow", "dispatch")
#: Of the faults of attempts: those that are tried again, and those that are not.
FAULTS = ("exception", "permanent", "rate_limit", "invalid")
#: Of what the driver's workflows share.
USES: tuple[dict[str, float], ...] = ({}, {}, {"gpu": 1}, {"gpu": 2, "mem": 0.1}, {"mem": 0.3}, {"mem": 0.1})
#: Where they run: the second may be out of reach.
PLACES = ("local", "local", "big")
#: What a step of the verb `workflow` runs.
INNER = definition(
    agent("first", retry=Retry(2, delay=1.0), uses={"gpu": 1}),
    agent("second", "first", each="[1, 2]"),
    agent("third", on_error=OnError("continue")),
    name="inner",
)


@st.composite
def graphs(draw: st.DrawFn) -> list[Agent]:
    """Up to nine agents, and those that a dispatch or a fallback brings with it."""
    agents: list[Agent] = []
    for i in range(draw(st.integers(1, 9))):
        name = f"a{i}"
        names = [a.name for a in agents if not a.spare]
        needs = tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=4))) if names else ()
        action: Literal["fail", "continue"] = draw(st.sampled_from(["fail", "continue"]))
        one = agent(
            name,
            *needs,
            priority=draw(st.sampled_from(["high", "normal", "low"])),
            retry=Retry(draw(st.integers(1, 3)), delay=draw(st.sampled_from([0.0, 1.0, 5.0])), escalate=True),
            on_error=OnError(action),
            timeout=Timeout(
                attempt=draw(st.sampled_from([None, 2.0, 6.0])),
                queue=draw(st.sampled_from([None, None, 8.0])),
                total=draw(st.sampled_from([None, None, 9.0])),
            ),
            max_parallel=draw(st.sampled_from([None, None, 1, 2])),
            uses=draw(st.sampled_from(USES)),
        )
        kind = draw(st.sampled_from(KINDS))
        if len(needs) > 1:
            one = replace(one, join=draw(joins(len(needs), progressive=kind in ("plain", "spare"))))
        match kind:
            case "spare":
                agents.append(agent(f"f{i}", spare=True, retry=Retry(2, delay=1.0)))
                one = replace(one, on_error=OnError(action, f"f{i}"))
            case "when":
                one = replace(one, when="inputs.n % 2 == 0")
            case "each":
                one = replace(one, each=draw(st.sampled_from(["[1, 2, 3]", "[]", "inputs.n"])))
            case "repeat":
                until = draw(st.sampled_from(["previous == output", "1 > 2", "output + 1 > 2"]))
                one = replace(one, repeat=Repeat(until, draw(st.integers(1, 3))))
            case "approve":
                one = replace(
                    one, does=Approve("?", within=3.0, otherwise=draw(st.sampled_from(["approve", "reject"])))
                )
            case "workflow":
                one = replace(one, does=SubWorkflow("inner.yaml"))
                often = draw(st.sampled_from(["once", "once", "each", "repeat"]))
                if often == "each":
                    one = replace(one, each="[1, 2]")
                elif often == "repeat":
                    one = replace(one, repeat=Repeat("1 > 2", 2))
            case "dispatch":
                one = replace(one, does=Dispatch("inputs.n % 3", {"0": f"b{i}", "1": f"c{i}"}))
        if one.does.verb == "python":
            one = replace(one, place=draw(st.sampled_from(PLACES)))
        agents.append(one)
        if kind == "dispatch":
            agents += [agent(f"b{i}", name), agent(f"c{i}", name, *needs[:1])]
    return agents


def nested(agents: list[Agent]) -> dict[str, Definition]:
    return {a.name: INNER for a in agents if isinstance(a.does, SubWorkflow)}


@st.composite
def joins(draw: st.DrawFn, needs: int, *, progressive: bool) -> Join:
    kinds: list[Literal["all", "any", "quorum", "progressive"]] = ["all", "any", "quorum"]
    rests: list[Literal["cancel", "finish"]] = ["cancel", "finish"]
    kind, rest = (
        draw(st.sampled_from([*kinds, "progressive"] if progressive else kinds)),
        draw(st.sampled_from(rests)),
    )
    within = draw(st.sampled_from([None, 1.5, 4.0]))
    least = draw(st.sampled_from([None, 1, 2]))
    if kind == "quorum":
        quorum = draw(st.one_of(st.integers(1, needs), st.sampled_from([0.5, 0.75, 1.0])))
        return Join("quorum", quorum, within, least, rest)
    return Join(kind, None, within if kind == "all" else None, least if kind == "all" and within else None, rest)


ACTIONS = ("pause", "unpause", "workers", "cancel_task", "cancel_step", "cancel", "hurry", "release", "timeout",
           "parallel", "resource", "attempts", "answer", "skip", "reopen", "reopen", "close", "open")  # fmt: skip


def actions() -> st.SearchStrategy[list[Action]]:
    """When, what, and to whom."""
    one = st.tuples(st.floats(0.0, 30.0), st.sampled_from(ACTIONS), st.integers(0, 8))
    return st.lists(one, max_size=6).map(sorted)


def randoms() -> st.SearchStrategy[Random]:
    """From a seed: a draw of hypothesis for each number costs a quarter of such a test."""
    return st.integers(0, 2**32).map(Random)


def random_plan(random: Random) -> Plan:
    """Attempts take up to eight seconds, a tenth of them none at all. A quarter of them fails, and some have one
    question or two."""

    def plan(started: ev.StepStarted) -> tuple[float, Fault | object]:
        length = round(max(0.0, random.uniform(-0.9, 8.0)), 1)
        if random.random() < 0.25:
            return length, Fault(random.choice(FAULTS), "made to fail")
        if random.random() < 0.1:
            questions: list[dict[str, Data]] = [
                {"id": f"q{at}", "text": "Go on?"} for at in range(random.randint(1, 2))
            ]
            return length, Asks(tuple(questions))
        return length, started.step

    return plan


def operate(player: Player, actions: list[Action], agents: list[Agent]) -> None:
    """Schedule what the operator does. Whatever it is, in the end nothing is paused and workers are there."""
    for action in actions:
        player.at(action[0], event_of(action, agents))
    player.at(31.0, ev.RunUnpaused(31.0))
    player.at(31.0, ev.PlaceOpened(31.0, "big"))
    player.at(31.0, ev.LimitChanged(31.0, "workers", 0, 4))
    if "gpu" in player.scheduler.state.resources.by_name:
        player.at(31.0, ev.LimitChanged(31.0, "gpu", 0, 2))


def event_of(action: Action, agents: list[Agent]) -> ev.Event | ev.Signal:
    at, kind, number = action
    name = agents[number % len(agents)].name
    task = str(1 + number % 3)
    shared = [resource for agent in agents for resource in agent.uses if resource == "gpu"]
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
        "answer": ev.StepAnswered(at, task, name, number % 2 == 0, {}, "ada"),
        "reopen": ev.StepReopened(at, task, name, "ada", {"n": number} if number % 2 else None),
        "timeout": ev.LimitChanged(at, f"agents.{name}.timeout", 0, number + 0.5),
        "parallel": ev.LimitChanged(at, f"agents.{name}.max_parallel", 0, 1 + number % 3),
        "resource": ev.LimitChanged(at, shared[0] if shared else "workers", 0, number % 4),
        "attempts": ev.LimitChanged(at, f"agents.{name}.attempts", 0, 1 + number % 4),
        "close": ev.PlaceClosed(at, "big", "gone"),
        "open": ev.PlaceOpened(at, "big"),
    }
    return events[kind]


class Live:
    """Follows a log: which attempts live, and what may at once. `holds` are those that hold a worker."""

    def __init__(self, agents: list[Agent], workers: int, mode: Mode) -> None:
        self.workers = workers
        self.mode = mode
        self.places = {a.name: a.place for a in agents}
        self.closed: set[str] = set()
        self.most = {a.name: a.max_parallel for a in agents}
        self.waiting = {a.name for a in agents if not a.does.holds_worker}
        self.resources: dict[str, float] = dict(RESOURCES)
        self.attempts: dict[tuple[str, str], ev.StepStarted] = {}
        self.last: dict[tuple[str, str], int] = {}

    def take(self, event: ev.Event) -> None:
        """Take in the next event. Raises AssertionError where it breaks a promise."""
        match event:
            case ev.LimitChanged(name="workers", new=new):
                self.workers = new
            case ev.LimitChanged(name=name, new=new) if name in self.resources:
                self.resources[name] = new
            case ev.LimitChanged(name=name, new=new) if name.endswith(".max_parallel"):
                self.most[name.split(".")[1]] = new
            case ev.PlaceClosed(place=place):
                self.closed.add(place)
            case ev.PlaceOpened(place=place):
                self.closed.remove(place)
            case ev.RunResumed():
                self.closed.clear()
            case ev.StepStarted(task=task, step=step, agent=name):
                assert (task, step) not in self.attempts, "two live attempts"
                assert event.attempt > self.last.get((task, step), 0), "there was one of this number"
                self.last[task, step] = event.attempt
                self.attempts[task, step] = event
                assert "/" in task or self.places.get(name) not in self.closed, "its place is out of reach"
                holds = [e for e in self.attempts.values() if "/" in e.task or e.agent not in self.waiting]
                if event in holds:
                    assert len(holds) <= max(self.workers, 1), "more than there are workers"
                    for one in event.uses or {}:
                        used = sum(round((e.uses or {}).get(one, 0) * 1000) for e in holds)
                        assert used <= round(self.resources[one] * 1000), "more of a resource than there is"
                    most = self.most.get(name) if "/" not in task else None
                    mine = [e for e in holds if e.agent == name and "/" not in e.task]
                    assert most is None or len(mine) <= most, "more of one agent than its limit"
                    if self.mode == "sequential":
                        assert sum(root_of(e.task) == root_of(task) for e in holds) == 1, "two steps of a task"
            case (
                ev.AttemptFailed(task=task, step=step)
                | ev.AttemptLost(task=task, step=step)
                | ev.AttemptAsked(task=task, step=step)
                | ev.StepSucceeded(task=task, step=step)
                | ev.StepAnswered(task=task, step=step)
                | ev.StepFailed(task=task, step=step)
                | ev.StepCancelled(task=task, step=step)
                | ev.StepSkipped(task=task, step=step)
            ):
                self.attempts.pop((task, step), None)
