"""A run simulated on a virtual clock by the scheduler itself, with known or assumed durations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program, assumed
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.workflow.model import Agent, Approve, Definition


@dataclass(frozen=True, slots=True)
class Forecast:
    """The seconds of a simulated run, when its first task ended, and the most tasks that were open at once."""

    seconds: float
    first: float
    open: int
    steps: int


def forecast(
    definition: Definition,
    workers: int,
    tasks: int = 1,
    seconds: Mapping[str, float] | None = None,
    order: Sequence[str] = (),
) -> Forecast:
    """Simulate the run: every attempt succeeds after its duration, and every `when` reads null. `seconds` are
    durations by agent, `order` is the order of agents that was searched, if one was."""
    known = assumed(definition, seconds or {})
    machine = Scheduler(Program(definition, known), run="forecast", workers=workers)
    ends: list[tuple[float, int, ev.StepStarted]] = []
    now, first, most, count, opened = 0.0, 0.0, 0, 0, 0
    todo: list[ev.Event | ev.Signal] = [
        ev.RunStarted(0.0, "forecast", definition.name, "", {}, {}, tasks=tasks, order=tuple(order))
    ]
    inputs = {name: spec.default for name, spec in definition.inputs.items()}
    while True:
        while todo:
            for action in machine.handle(todo.pop()):
                match action:
                    case act.StartAttempt(started):
                        count += 1
                        heappush(ends, (now + known[started.agent], count, started))
                    case act.PullTask():
                        opened += 1
                        todo.insert(0, _next(opened, tasks, now, inputs))
                    case act.RenderOutput(ask, task):
                        todo.insert(0, ev.OutputRendered(now, ask, task))
                    case act.Record(ev.TaskEnded()):
                        first = first or now
                    case act.Finish():
                        return Forecast(now, first, most, count)
            most = max(most, len(machine.state.tasks))
        if not ends or (machine.deadline < ends[0][0]):
            now = machine.deadline
            todo.append(ev.TimerFired(now))
            continue
        now, together = ends[0][0], list[ev.Event]()
        while ends and ends[0][0] == now:
            together.append(_ended(definition, heappop(ends)[2], now))
        todo.append(ev.Batch(now, tuple(together)))


def further_task(
    definition: Definition, workers: int, played: int, length: float, seconds: Mapping[str, float]
) -> float:
    """Seconds of each task after `played` ones that took this `length`: the average of their second half."""
    half = max(1, played // 2)
    return (length - forecast(definition, workers, half, seconds).seconds) / max(1, played - half)


def without_items(
    definition: Definition, seconds: Mapping[str, float], items: Mapping[str, float], workers: int
) -> tuple[Definition, dict[str, float]]:
    """The workflow as it is simulated, and the seconds of its agents. The items of `each` are only known in a
    run, so such an agent is simulated as one step that takes as long as its items do, so many at once."""
    agents, known = dict(definition.agents), dict(seconds)
    for name, agent in definition.agents.items():
        if agent.each is not None:
            at_once = max(1, min(workers, agent.max_parallel or workers, *_fitting(definition, agent)))
            number = min(at_once, max(1, round(items.get(name, 1.0))))
            uses = {resource: amount * number for resource, amount in agent.uses.items()}
            agents[name] = replace(agent, each=None, uses=uses)
            if name in known:
                known[name] *= max(1.0, items.get(name, 1.0) / at_once)
    return replace(definition, agents=agents), known


def _fitting(definition: Definition, agent: Agent) -> Iterator[int]:
    """How many steps of an agent at once each resource allows."""
    limits = definition.limits.resources
    return (int(limits[name] / amount) for name, amount in agent.uses.items() if name in limits)


def _next(opened: int, tasks: int, now: float, inputs: dict[str, object]) -> ev.Event:
    return ev.TaskOpened(now, str(opened), inputs) if opened <= tasks else ev.TasksExhausted(now, tasks)


def _ended(definition: Definition, done: ev.StepStarted, now: float) -> ev.Event:
    if isinstance(definition.agents[done.agent].does, Approve):
        return ev.StepAnswered(now, done.task, done.step, True, {})
    return ev.StepSucceeded(now, done.task, done.step, done.attempt)
