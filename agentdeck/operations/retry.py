"""Retrying steps: what the operator can choose, what would run, and the request to run it.

A plan is executed by `resume` in a process of its own if no process holds the run (`RetryPlan.reopened`), else
by the process that holds it (`RetryPlan.command`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.resume import definition_of
from agentdeck.errors import UsageError
from agentdeck.insight.formatting import plural
from agentdeck.operations.commands import RunCommand
from agentdeck.operations.inputs import inputs_from
from agentdeck.operations.once_decision import refusal, undecided_key
from agentdeck.operations.recorded_run import known_agent
from agentdeck.scheduler.state import root_of
from agentdeck.store.letters import Letter
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow import graph
from agentdeck.workflow.model import Data, Definition

#: Dependent agents that a summary names.
NAMED = 4


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The steps of one run that a retry would reopen, as (task, step). `chosen` counts them by agent, `dependent`
    counts the steps that follow from them. `undecided` are letters that are left out, because their `once` step
    may have taken effect. `inputs` replace inputs of the tasks."""

    run: str
    steps: tuple[tuple[str, str], ...]
    chosen: dict[str, int]
    dependent: dict[str, int]
    undecided: tuple[Letter, ...] = ()
    inputs: Mapping[str, Data] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """How many tasks have a step in the plan."""
        return len({root_of(task) for task, _ in self.steps})

    @property
    def summary(self) -> str:
        """What the plan runs, in one line."""
        text = f"{plural(len(self.steps), 'step')} of {plural(self.tasks, 'task')}"
        if self.dependent:
            equal = set(self.dependent.values()) == {self.tasks}  # then the counts say nothing
            names = [name if equal else f"{name} {count:,}" for name, count in self.dependent.items()]
            more = f", … {len(names) - NAMED} more agents" if len(names) > NAMED else ""
            text += f", then {', '.join(names[:NAMED])}{more}"
        if self.undecided:
            text += f"; {plural(len(self.undecided), 'dead letter')} left out: may have taken effect"
        return text

    @property
    def reopened(self) -> ReopenRequest:
        """The steps for `resume`."""
        return ReopenRequest(self.steps, self.inputs)

    @property
    def command(self) -> RunCommand:
        """The command to the process that holds the run."""
        return RunCommand("retry", {"steps": [list(step) for step in self.steps], "inputs": dict(self.inputs)})


# Plans --------------------------------------------------------------------------------------------------------


def plan_failed(
    reader: Reader,
    row: RunRow,
    *,
    agent: str | None = None,
    task: str | None = None,
    inputs: Mapping[str, Data] | None = None,
) -> RetryPlan:
    """Retry every step whose letter is open; of one agent, of one task."""
    letters = [
        letter
        for letter in reader.letters(row.run, state="open")
        if (agent is None or agent in (letter.agent, _agent(letter.step)))
        and (task is None or f"{letter.task}/".startswith(f"{task}/"))
    ]
    return plan_letters(reader, row, letters, inputs=inputs)


def plan_letters(
    reader: Reader,
    row: RunRow,
    letters: Iterable[Letter],
    *,
    named: bool = False,
    inputs: Mapping[str, Data] | None = None,
) -> RetryPlan:
    """Retry the steps of these letters, which are all of one run. Letters whose `once` step may have taken effect
    are left out; with `named` (the operator gave their ids) such a letter raises UsageError."""
    known = list(letters)
    keys = {letter.id: key for letter in known if (key := undecided_key(reader, letter))}
    undecided = tuple(letter for letter in known if letter.id in keys)
    if undecided and named:
        raise UsageError(refusal(undecided[0], keys[undecided[0].id]))
    steps = [(letter.task, letter.step) for letter in known if letter.id not in keys]
    return _plan(definition_of(reader, row), row.run, steps, undecided, inputs)


def plan_from(
    reader: Reader,
    row: RunRow,
    agent: str,
    inputs: Mapping[str, Data] | None = None,
    task: str | None = None,
) -> RetryPlan:
    """Retry an agent and everything after it, failed or not, in one task or in every task where it has ended.
    Raises UsageError for an unknown agent."""
    definition = definition_of(reader, row)
    known_agent(definition, agent)
    tasks = [one for one in reader.tasks_with(row.run, agent) if task in (None, one)]
    return _plan(definition, row.run, [(task, agent) for task in tasks], (), inputs)


def inputs_from_settings(reader: Reader, row: RunRow, settings: Iterable[str]) -> dict[str, Data]:
    """Inputs from `--set inputs.NAME=VALUE`, by the types that the run's workflow declares. Raises UsageError."""
    texts = list(settings)
    for text in texts:
        if not text.startswith("inputs."):
            raise UsageError(f"--set {text}: only inputs can be set here, as --set inputs.name=value")
    return inputs_from([text.removeprefix("inputs.") for text in texts], definition_of(reader, row))


def _plan(
    definition: Definition,
    run: str,
    steps: Sequence[tuple[str, str]],
    undecided: tuple[Letter, ...],
    inputs: Mapping[str, Data] | None,
) -> RetryPlan:
    """The plan with its steps in the order of the graph. Steps of nested tasks count under their path."""
    order = {name: number for number, name in enumerate(definition.agents)}
    unique = sorted(dict.fromkeys(steps), key=lambda step: _position(order, *step))
    counts: dict[str, int] = {}
    reached: dict[str, set[str]] = {}  # by task: the agents that depend on its chosen steps
    needs = {name: agent.needs for name, agent in definition.agents.items()}
    below = {  # spare agents run only on demand
        name: [one for one in some if not definition.agents[one].spare]
        for name, some in graph.dependents(needs).items()
    }
    behind = cache(lambda agent: graph.upstream(below, agent) if agent in below else set[str]())
    for task, step in unique:
        path = _agent_path(task, step)
        counts[path] = counts.get(path, 0) + 1
        reached.setdefault(root_of(task), set()).update(behind(path.partition("/")[0]))
    chosen = {(root_of(task), step) for task, step in unique}
    counted = {
        name: sum(name in agents and (task, name) not in chosen for task, agents in reached.items())
        for name in graph.order(needs)
    }
    dependent = {name: count for name, count in counted.items() if count}
    return RetryPlan(run, tuple(unique), counts, dependent, undecided, inputs or {})


def _agent(step: str) -> str:
    """The agent of a step or of an item: `notes` of `notes[2]`."""
    return step.partition("[")[0]


def _agent_path(task: str, step: str) -> str:
    """The agent of a step by its path: `pay`, or `review/security` in a nested task."""
    return "/".join(_agent(part) for part in (*task.split("/")[1:], step))


def _position(order: Mapping[str, int], task: str, step: str) -> tuple[int, int, str, str]:
    """Sort key: tasks by number; within one, a step before those that depend on it, because reopening a step
    reopens them too."""
    root = root_of(task)
    name = _agent((*task.split("/")[1:], step)[0])
    return int(root) if root.isdigit() else 0, order.get(name, len(order)), task, step


# Choices for the console --------------------------------------------------------------------------------------


class RetryOption(NamedTuple):
    """One plan that the console offers, and the arguments of `agentdeck retry` that select the same steps."""

    title: str
    plan: RetryPlan
    arguments: tuple[str, ...]


class RetryOffer(NamedTuple):
    """What can be retried of a run. `executed`: its process does that, where it does not end before."""

    row: RunRow
    executed: bool
    options: list[RetryOption]


def retry_options(reader: Reader, run: str, task: str = "", agent: str = "", step: str = "") -> RetryOffer:
    """The plans for a selection that reopen something, narrowest first. `agent` is a path (`review/security`).
    Plans with equal steps appear once."""
    row = reader.run(run)
    options: list[RetryOption] = []
    for option in _options(reader, row, task, agent, _agent(step or agent.rpartition("/")[2])):
        if option.plan.steps and all(option.plan.steps != known.plan.steps for known in options):
            options.append(option)
    return RetryOffer(row, reader.takes_commands(row), options)


def _options(reader: Reader, row: RunRow, task: str, path: str, agent: str) -> Iterator[RetryOption]:
    if task and agent:
        plan = plan_failed(reader, row, agent=agent, task=task)
        yield RetryOption(f"{agent} of task {task}", plan, ("--task", task, "--agent", agent))
    if task:
        plan = plan_failed(reader, row, task=task)
        yield RetryOption(f"what failed in task {task}", plan, ("--task", task))
    if agent:
        yield RetryOption(f"what failed of {agent}", plan_failed(reader, row, agent=agent), ("--agent", agent))
    yield RetryOption("all that failed", plan_failed(reader, row), ("--failed",))
    if not agent or "/" in path or agent not in definition_of(reader, row).agents:
        return  # --from takes an agent of the workflow itself
    if task and "/" not in task:
        plan = plan_from(reader, row, agent, task=task)
        yield RetryOption(f"{agent} and all after it in task {task}", plan, ("--from", agent, "--task", task))
    plan = plan_from(reader, row, agent)
    yield RetryOption(f"{agent} and all after it in every task", plan, ("--from", agent))


# Outcome ------------------------------------------------------------------------------------------------------


def newest_letter(reader: Reader, run: str) -> int:
    """The id of the run's newest letter, 0 if it has none."""
    return max((letter.id for letter in reader.letters(run)), default=0)


def succeeded(reader: Reader, plan: RetryPlan, newest: int) -> bool:
    """Whether the chosen steps, and what depended on them, ended well. Letters up to `newest` are older than the
    retry: other steps of the run may have failed before, and stay failed."""
    chosen, roots = set(plan.steps), {root_of(task) for task, _ in plan.steps}
    return not any(
        letter.state in ("open", "retried")
        and ((letter.task, letter.step) in chosen or (letter.id > newest and root_of(letter.task) in roots))
        for letter in reader.letters(plan.run)
    )
