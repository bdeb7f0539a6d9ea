"""What `why` works out from the log is what the core does: who is ready, since when, and who goes first."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

from agentdeck.agents.simulate import Simulate
from agentdeck.insight.ready_steps import ready_counts
from agentdeck.insight.why import explain
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.horizon import urgent_path
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import WAITING
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Definition, Join


def some_graph(chance: Random) -> Definition:
    """Up to eight agents, each needing some of those before it, with joins of all kinds but progressive."""
    agents: dict[str, Agent] = {}
    for name in "abcdefgh"[: chance.randint(2, 8)]:
        needs = tuple(n for n in agents if chance.random() < 0.4)
        join = Join()
        if len(needs) > 1:
            join = chance.choice([Join(), Join("any"), Join("quorum", quorum=chance.randint(1, len(needs)))])
        takes = float(chance.randint(1, 5))
        priority = chance.choices(["high", "normal", "low"], [1, 4, 1])[0]
        agents[name] = Agent(name, Simulate(takes), needs=needs, join=join, priority=priority)  # type: ignore[arg-type]
    return Definition("d", agents)


def test_the_core_agrees() -> None:
    assert sum(compared(Random(seed)) for seed in range(40)) > 100


def compared(chance: Random) -> int:
    """One run, compared after every step; how many steps were."""
    definition = some_graph(chance)
    machine = Scheduler(Program(definition), run="r", workers=chance.randint(1, 3))
    view, ends, count = RunView(definition), list[tuple[float, int, ev.StepStarted]](), 0
    opened, now = 0, 0.0
    todo: list[ev.Event | ev.Signal] = [
        ev.RunStarted(0.0, "r", "d", "", {}, {"workers": machine.state.workers}, tasks=chance.choice([None, 5]))
    ]
    together, hurried = 0, False
    while todo or ends:
        if not todo:
            now, _, done = heappop(ends)
            todo.append(ev.StepSucceeded(now, done.task, done.step, done.attempt))
        for action in machine.handle(todo.pop(0)):
            match action:
                case act.Record(event):
                    view.apply(view.seq + 1, event)
                case act.StartAttempt(started):
                    count += 1
                    takes = definition.agents[started.agent].does
                    assert isinstance(takes, Simulate)
                    heappush(ends, (now + takes.takes, count, started))
                case act.PullTask():
                    opened += 1
                    todo.append(
                        ev.TaskOpened(now, str(opened), {}) if opened < 6 else ev.TasksExhausted(now, opened)
                    )
        if todo:
            continue
        if opened == 3 and machine.state.tasks and not hurried:
            hurried = True
            todo.append(ev.TaskHurried(now, next(reversed(list(machine.state.tasks)))))
        together += compare(machine, view, definition, now + 0.5)
    return together


def prioritize(machine: Scheduler, at: float) -> None:
    """Order what is ready as if a worker became free now."""
    state, queue = machine.state, machine._queue
    if state.opened >= state.near:
        paths = [entry[6].path for entry in queue.heap] + [state.program.path] * bool(state.unopened)
        running = [(at - step.started_at, step.rule.work, step.path) for step in state.running]
        work = state.work + state.unopened * state.program.work
        queue.prioritize(urgent_path(max(paths, default=0.0), running, work, state.workers))


def compare(machine: Scheduler, view: RunView, definition: Definition, at: float) -> int:
    """Every ready step of the core is one for `why`, with as many ahead of it, since the same moment."""
    prioritize(machine, at)
    queue = list(dict.fromkeys(machine.queued_steps()))
    per_agent: dict[str, int] = {}
    for place, step in enumerate(queue):
        found = explain(view, definition, step.task.id, step.key, at)
        assert (found.state, found.reason) == ("ready", "pool"), found.text
        assert found.text == (
            f"ready for {at - step.ready_at:.1f} s;"
            f" all workers busy ({len(machine.state.running)}/{machine.state.workers}); {place}"
            " ahead in the queue"
            if at - step.ready_at < 10
            else f"ready for {round(at - step.ready_at)} s;"
            f" all workers busy ({len(machine.state.running)}/{machine.state.workers}); {place}"
            " ahead in the queue"
        )
        per_agent[step.key] = per_agent.get(step.key, 0) + 1
    assert ready_counts(view, definition) == per_agent
    for task in machine.state.tasks.values():
        for waiting in task.steps:
            if waiting is not None and waiting.state == WAITING:
                assert explain(view, definition, task.id, waiting.key, at).state == "waiting"
    return len(queue)
