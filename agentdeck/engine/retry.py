"""Going again: what can be chosen, what would run, and how a run is asked for it.

A run that nobody holds is taken up by `resume(…, again=plan.again)`; the owner of a live one is asked with the
command `retry`, whose arguments are `plan.request`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agentdeck.engine.once_decision import refusal, undecided_key
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.resume import definition_of
from agentdeck.errors import UsageError
from agentdeck.scheduler.state import root_of
from agentdeck.store.letters import Letter
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow import graph
from agentdeck.workflow.model import Data, Definition


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What would go again in one run. `first` counts the steps chosen, by agent; `after` what follows from them;
    `left` are letters of steps that may have taken effect."""

    run: str
    steps: tuple[tuple[str, str], ...]
    first: dict[str, int]
    after: dict[str, int]
    left: tuple[Letter, ...] = ()
    inputs: Mapping[str, Data] = field(default_factory=dict)

    @property
    def again(self) -> ReopenRequest:
        return ReopenRequest(self.steps, self.inputs)

    @property
    def request(self) -> dict[str, Data]:
        """The arguments of the command `retry`."""
        return {"steps": [list(step) for step in self.steps], "inputs": dict(self.inputs)}


def named(task: str, step: str) -> str:
    """The agent of a step by its path: `pay`, or `review/security` in a nested task."""
    return "/".join(part.partition("[")[0] for part in (*task.split("/")[1:], step))


def failed(
    reader: Reader,
    row: RunRow,
    *,
    agent: str | None = None,
    task: str | None = None,
    inputs: Mapping[str, Data] | None = None,
) -> RetryPlan:
    """Every step of the run that has failed for good and whose letter is open; of one agent, of one task."""
    letters = [
        letter
        for letter in reader.letters(row.run, state="open")
        if (agent is None or agent in (letter.agent, letter.step.partition("[")[0]))
        and (task is None or f"{letter.task}/".startswith(f"{task}/"))
    ]
    return of_letters(reader, row, letters, inputs=inputs)


def of_letters(
    reader: Reader,
    row: RunRow,
    letters: Iterable[Letter],
    *,
    named: bool = False,
    inputs: Mapping[str, Data] | None = None,
) -> RetryPlan:
    """The steps of these letters, which are all of one run. Those that may have taken effect are left out until
    an operator has decided that. `named`: the operator chose each of them. Raises UsageError then."""
    known = list(letters)
    undecided = {letter.id: key for letter in known if (key := undecided_key(reader, letter))}
    left = tuple(letter for letter in known if letter.id in undecided)
    if left and named:
        raise UsageError(refusal(left[0], undecided[left[0].id]))
    steps = [(letter.task, letter.step) for letter in known if letter.id not in undecided]
    return _plan(definition_of(reader, row), row.run, steps, left, inputs)


def all_from(
    reader: Reader,
    row: RunRow,
    agent: str,
    inputs: Mapping[str, Data] | None = None,
    task: str | None = None,
) -> RetryPlan:
    """An agent and everything after it, in every task where it has ended, or in one."""
    definition = definition_of(reader, row)
    known_agent(definition, agent)
    tasks = [one for one in reader.tasks_with(row.run, agent) if task in (None, one)]
    return _plan(definition, row.run, [(task, agent) for task in tasks], (), inputs)


def known_agent(definition: Definition, agent: str) -> None:
    """Raises UsageError, with the name that was meant."""
    if agent not in definition.agents:
        import difflib

        near = difflib.get_close_matches(agent, definition.agents, n=1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(definition.agents)}"
        raise UsageError(f"{definition.name} has no agent {agent}; {known}")


def _plan(
    definition: Definition,
    run: str,
    steps: Sequence[tuple[str, str]],
    left: tuple[Letter, ...],
    inputs: Mapping[str, Data] | None,
) -> RetryPlan:
    """Steps in the order of the graph, and how many follow. Steps of nested tasks count under their path."""
    order = {name: number for number, name in enumerate(definition.agents)}
    unique = sorted(dict.fromkeys(steps), key=lambda step: _place(order, *step))
    first: dict[str, int] = {}
    again: dict[str, set[str]] = {}
    needs = {name: agent.needs for name, agent in definition.agents.items()}
    below = graph.dependents(needs)
    for task, step in unique:
        name = named(task, step)
        first[name] = first.get(name, 0) + 1
        reached = again.setdefault(root_of(task), set())
        todo = list(below.get(name.partition("/")[0], ()))
        while todo:
            agent = todo.pop()
            if agent not in reached and not definition.agents[agent].spare:
                reached.add(agent)
                todo += below[agent]
    chosen = {(root_of(task), step) for task, step in unique}
    after: dict[str, int] = {}
    for name in graph.order(needs):
        count = sum(name in reached and (task, name) not in chosen for task, reached in again.items())
        if count:
            after[name] = count
    return RetryPlan(run, tuple(unique), first, after, left, inputs or {})


def _place(order: Mapping[str, int], task: str, step: str) -> tuple[int, int, str, str]:
    """Tasks in their order, and what others depend on first: it takes them along."""
    root = root_of(task)
    name = (*task.split("/")[1:], step)[0].partition("[")[0]
    return int(root) if root.isdigit() else 0, order.get(name, len(order)), task, step
