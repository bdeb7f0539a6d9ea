"""One step of a workflow as a run of its own, given how the steps before it ended.

What another orchestrator executes of a workflow, step by step, means what it means in a whole run, because the
scheduler itself decides it: the run begins with the ends of the other steps in its log, as a fork does, and goes
on from there. Retries, limits and budgets are left to the orchestrator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from agentdeck.agents.simulate import Simulate
from agentdeck.engine.launch import Launch, Watch
from agentdeck.engine.launch import run as execute
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.observers import EventBatch
from agentdeck.engine.stalled import StallCause, stopped
from agentdeck.engine.task_source import complete
from agentdeck.errors import AgentdeckError, Fault, UsageError
from agentdeck.operations.launch import prepare_workflow
from agentdeck.operations.recorded_run import known_agent
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, SKIPPED
from agentdeck.views.task_outcome import StepOutcome, TaskOutcome, TaskOutcomes
from agentdeck.workflow.model import Agent, Data, Definition, Dispatch, OnError, Work

#: The number of the only task of such a run.
TASK = "1"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step ended: `state` is done, failed, skipped or cancelled. `error` is why it failed."""

    state: str
    output: Data = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class SingleStep:
    """The step of an agent. `before` says how the steps ended that it reads, by name; one that is missing has not
    ended, and the step goes on without it. `item` is its number among `size` items where the agent has `each`.
    `attempt` is the number of this attempt. `failed` is why the agent failed for good: its fallback does the
    work."""

    definition: Definition
    folder: Path
    agent: str
    inputs: Mapping[str, Data] = field(default_factory=dict)
    before: Mapping[str, Ended] = field(default_factory=dict)
    item: int = -1
    size: int = 0
    attempt: int = 1
    failed: Fault | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.agent if self.item < 0 else f"{self.agent}[{self.item}]"


@dataclass(frozen=True, slots=True)
class Recording:
    """Where such runs are recorded, and who hears of their log lines."""

    db: Path | None = None
    tags: tuple[str, ...] = ()
    line: Callable[[LogLine], None] | None = None


def reads(definition: Definition, agent: str) -> tuple[str, ...]:
    """The agents whose ends decide whether the step of an agent runs, and what it reads. Raises UsageError for an
    unknown one."""
    known_agent(definition, agent)
    rules = Program(definition).rules
    rule = next(rule for rule in rules if rule.name == agent)
    return tuple(rules[index].name for index in rule.upstream)


async def run_step(step: SingleStep, recording: Recording) -> StepOutcome:
    """Run a step, and return how it ended. Raises AgentdeckError where it could not be run, or waits for an
    operator."""
    known_agent(step.definition, step.agent)
    outcome = await _run(_around(step), partial(_known, step), step, recording)
    return outcome.steps[step.key]


async def value(step: SingleStep, template: Data, recording: Recording) -> StepOutcome:
    """What a template gives for the step of an agent, as its output, where the step would run: it is skipped, and
    fails, as the step itself."""
    agent = step.definition.agents[step.agent]
    valued = Agent(step.agent, Simulate(takes=0, returns=template), needs=agent.needs, when=agent.when)
    valued = replace(valued, join=agent.join)
    definition = replace(step.definition, agents={**step.definition.agents, step.agent: valued})
    return await run_step(replace(step, definition=definition), recording)


async def output_of(step: SingleStep, recording: Recording) -> TaskOutcome:
    """How a task ends of which all steps have ended: with the output of the workflow, or as failed. `step.agent`
    does not matter."""
    definition = step.definition
    agents = {name: replace(_ended_agent(agent), needs=agent.needs) for name, agent in definition.agents.items()}
    whole = replace(_without_limits(definition), agents=agents, output=definition.output)
    return await _run(whole, partial(_ends, step, [n for n, a in agents.items() if not a.spare]), step, recording)


async def _run(
    definition: Definition, known: Callable[[float], Iterable[ev.Event]], step: SingleStep, recording: Recording
) -> TaskOutcome:
    outcomes = _Outcomes()
    launch = prepare_workflow(
        definition, step.folder, step.functions, step.inputs, db=recording.db, tags=recording.tags
    )
    given = complete(definition, launch.inputs)
    launch = replace(launch, known=lambda at: [ev.TaskOpened(at, TASK, given), *known(at)])
    ended = await execute(launch, Watch((outcomes,), line=recording.line))
    if outcomes.task is None:
        raise AgentdeckError(_why(launch, ended.causes))
    return outcomes.task


def _why(launch: Launch, causes: Sequence[StallCause]) -> str:
    what = stopped(launch.run, causes, resumable=False) if causes else "it was stopped before its end"
    return f"{launch.definition.name}: {what}"


class _Outcomes:
    """Observer: keeps how the task ended."""

    def __init__(self) -> None:
        self._open = TaskOutcomes()
        self.task: TaskOutcome | None = None

    def observe(self, batch: EventBatch) -> None:
        for event in batch.events:
            self.task = self._open.apply(event) or self.task

    def close(self) -> None:
        """Nothing to release."""


# The workflow around a step --------------------------------------------------------------------------------


def _around(step: SingleStep) -> Definition:
    """The workflow in which nothing but the step is left to do."""
    whole, agent = step.definition, step.definition.agents[step.agent]
    agents = {name: _ended_agent(whole.agents[name]) for name in reads(whole, step.agent)}
    own = replace(
        agent,
        retry=replace(agent.retry, attempts=2 if step.attempt > 1 else 1),
        timeout=replace(agent.timeout, queue=None, total=None),
        on_error=OnError() if step.failed is None else replace(agent.on_error, action="fail"),
        max_parallel=None,
        priority="normal",
        hedge=None,
        uses={},
    )
    if step.failed is not None and agent.on_error.fallback is not None:
        spare = whole.agents[agent.on_error.fallback]
        agents[spare.name] = replace(spare, needs=(), max_parallel=None, hedge=None, uses={})
    for name in _targets(agent.does):
        agents[name] = _ended_agent(whole.agents[name])
    return replace(_without_limits(whole), agents={**agents, agent.name: own}, output=None)


def _targets(does: Work) -> tuple[str, ...]:
    """The agents that a dispatch chooses from."""
    if not isinstance(does, Dispatch):
        return ()
    return tuple(dict.fromkeys((*does.cases.values(), *filter(None, [does.otherwise]))))


def _ended_agent(agent: Agent) -> Agent:
    """Stands for an agent whose step has ended: nothing of it is executed."""
    return Agent(agent.name, Simulate(takes=0), on_error=OnError(agent.on_error.action), spare=agent.spare)


def _without_limits(definition: Definition) -> Definition:
    limits = replace(definition.limits, workers=None)
    return replace(definition, limits=limits, budget=None, mode="parallel")


# What is known of it ---------------------------------------------------------------------------------------


def _known(step: SingleStep, at: float) -> list[ev.Event]:
    """How the other steps ended, and which attempts of this one came before."""
    names = reads(step.definition, step.agent)
    events: list[ev.Event] = [*_ends(step, names, at), ev.TasksExhausted(at, 1)]
    agent = step.definition.agents[step.agent]
    events += [ev.StepSkipped(at, TASK, name, "not decided here") for name in _targets(agent.does)]
    if _is_not_chosen(step, agent):
        return [*events, ev.StepSkipped(at, TASK, step.agent, "another agent was chosen")]
    if step.item >= 0:
        events.append(ev.StepExpanded(at, TASK, step.agent, step.size))
        others = (number for number in range(step.size) if number != step.item)
        events += [ev.StepSkipped(at, TASK, f"{step.agent}[{number}]", "another item") for number in others]
    if step.failed is not None:
        events += _failed_attempt(step, step.attempt, step.failed, at)
        assert agent.on_error.fallback is not None
        events.append(ev.StepFellBack(at, TASK, step.key, agent.on_error.fallback))
    elif step.attempt > 1:
        before = step.attempt - 1
        events += _failed_attempt(step, before, Fault("exception", f"attempt {before} failed"), at)
        events.append(ev.StepRetrying(at, TASK, step.key, at))
    return events


def _failed_attempt(step: SingleStep, attempt: int, fault: Fault, at: float) -> tuple[ev.Event, ev.Event]:
    started = ev.StepStarted(at, TASK, step.key, step.agent, attempt, at)
    return started, ev.AttemptFailed(at, TASK, step.key, attempt, fault)


def _is_not_chosen(step: SingleStep, agent: Agent) -> bool:
    """Whether a dispatch that the agent needs has chosen another one."""
    for name in agent.needs:
        if agent.name in _targets(step.definition.agents[name].does):
            chosen = step.before.get(name, Ended(CANCELLED)).output
            if isinstance(chosen, Mapping) and chosen.get("chosen") != agent.name:
                return True
    return False


def _ends(step: SingleStep, names: Sequence[str], at: float) -> Iterator[ev.Event]:
    for name in names:
        before = step.before.get(name, Ended(CANCELLED))
        match before.state:
            case "done":
                yield ev.StepSucceeded(at, TASK, name, 1, before.output, reused=True)
            case "skipped":
                yield ev.StepSkipped(at, TASK, name, "skipped before")
            case "failed":
                fault = Fault("exception", before.error or "failed before")
                tolerated = step.definition.agents[name].on_error.action == "continue"
                yield ev.StepFailed(at, TASK, name, fault, tolerated, letter=False)
            case "cancelled":
                yield ev.StepCancelled(at, TASK, name, "it had not ended")
            case other:
                raise UsageError(f"{name} is {other}; a step is {DONE}, {FAILED}, {SKIPPED} or {CANCELLED}")
