"""How two runs differ: workflow, inputs, limits, times, results, and where the first tasks part.

Tasks are matched by their inputs, then by their names. Results are compared by a hash, so two runs of any size
are compared in memory that grows with their steps and not with what these returned.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any

from agentdeck.documents.command import AgentDiff, DefinitionDiff, Diff, TaskDiff, TasksDiff
from agentdeck.documents.run import AgentSummary
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import result_of
from agentdeck.workflow.model import Data, Definition, plain

FIRST = 10  # differing tasks that are listed one by one
OF_AGENT = ("done", "failed", "attempts", "p50", "p95", "tokens_in", "tokens_out", "usd")
OF_RUN = ("state", "seconds", "attempts", "letters", "critical_path", "usd")


@dataclass(slots=True)
class TaskTrace:
    """One task: its inputs, how it ended, and each step's state and result (hashed), in order of ending."""

    inputs: bytes
    state: str = "open"
    output: bytes = b""
    steps: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def end(self) -> tuple[str, bytes]:
        return self.state, self.output


class RunTrace:
    """A run as it is compared: its view, and the trace of each of its tasks."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.view = RunView(definition)
        self.tasks: dict[str, TaskTrace] = {}

    def apply(self, seq: int, event: ev.Event) -> None:
        self.view.apply(seq, event)
        if isinstance(event, ev.TaskOpened) and event.parent is None:
            self.tasks[event.task] = TaskTrace(_hash(event.inputs))
        elif isinstance(event, ev.TaskEnded) and event.task in self.tasks:
            trace = self.tasks[event.task]
            trace.state, trace.output = event.state, _hash(event.output)
        elif (result := result_of(event)) is not None:
            # Steps of a nested task belong to the task above, under their whole name (`review/security`).
            task, _, below = result.task.partition("/")
            name = f"{below}/{result.step}" if below else result.step
            if task in self.tasks:
                value = result.fault.kind.encode() if result.fault else _hash(result.output)
                self.tasks[task].steps[name] = (result.state, value)


def recorded_result(events: Iterable[tuple[int, ev.Event]], task: str, step: str) -> Data:
    """The output of a step, or its error; that of the task itself if `step` is empty. The events are of the task
    that has the step."""
    found: Data = None
    for _, event in events:
        if not step:
            if isinstance(event, ev.TaskEnded) and event.task == task:
                found = event.output
            continue
        result = result_of(event)
        if result is not None and result[:2] == (task, step) and result.state in ("done", "failed"):
            found = {"error": result.fault.message} if result.fault else result.output
    return found


def _hash(value: Data) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return blake2b(text.encode("utf-8", "backslashreplace"), digest_size=12).digest()


def diff(one: RunTrace, other: RunTrace, result: Callable[[str, str, str], Data]) -> Diff:
    """All differences. A pair of values is a list, in the order of the arguments. `result` returns the recorded
    result of a step by run, task and name; of the task if the name is empty."""
    first, second = summary(one.view, one.definition), summary(other.view, other.definition)
    values: dict[str, Any] = {name: [getattr(first, name), getattr(second, name)] for name in OF_RUN}
    return Diff.model_construct(
        runs=[one.view.run, other.view.run],
        workflows=[one.view.workflow, other.view.workflow],
        definition=definitions(one.definition, other.definition),
        inputs={name: both for name, both in _pairs(one.view.inputs, other.view.inputs) if both[0] != both[1]},
        limits={name: both for name, both in _pairs(one.view.limits, other.view.limits) if both[0] != both[1]},
        **values,
        agents={name: _agent(*both) for name, both in _pairs(first.agents, second.agents)},
        tasks=_tasks(one, other, result),
    )


def _agent(*both: AgentSummary | None) -> AgentDiff:
    """One agent in both runs; None where a run has no such agent."""
    one, other = (agent.waiting if agent else {} for agent in both)
    values: dict[str, Any] = {key: [getattr(agent, key, None) for agent in both] for key in OF_AGENT}
    return AgentDiff.model_construct(**values, waiting=dict(_pairs(one, other)))


def definitions(one: Definition, other: Definition) -> DefinitionDiff:
    """How two workflows differ: agents added and removed, and each changed value of the others."""
    left, right = plain(one), plain(other)
    mine, theirs = left.pop("agents"), right.pop("agents")
    both = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    return DefinitionDiff.model_construct(
        same=one.identity == other.identity,
        added=[name for name in theirs if name not in mine],
        removed=[name for name in mine if name not in theirs],
        changed={name: dict(_changes(mine[name], theirs[name])) for name in both},
        workflow=dict(_changes(left, right)),
    )


def _changes(one: Data, other: Data, path: str = "") -> Iterator[tuple[str, list[Data]]]:
    """Each value that differs, by its dotted name."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name, (left, right) in _pairs(one, other):
            yield from _changes(left, right, f"{path}.{name}" if path else name)
    elif one != other:
        yield path, [one, other]


def _pairs(one: Mapping[str, Data], other: Mapping[str, Data]) -> list[tuple[str, list[Data]]]:
    return [(name, [one.get(name), other.get(name)]) for name in dict.fromkeys([*one, *other])]


def _tasks(one: RunTrace, other: RunTrace, result: Callable[[str, str, str], Data]) -> TasksDiff:
    matched, only, only_other = match_tasks(one.tasks, other.tasks)
    pairs = [(one.tasks[left], other.tasks[right]) for left, right in matched]
    runs = (one.view.run, other.view.run)

    def difference(tasks: tuple[str, str], traces: tuple[TaskTrace, TaskTrace]) -> TaskDiff | None:
        step = first_difference(*traces)
        if not step and traces[0].end == traces[1].end:
            return None
        return TaskDiff.model_construct(
            tasks=list(tasks),
            states=[trace.state for trace in traces],
            same_inputs=traces[0].inputs == traces[1].inputs,
            step=step,
            step_states=[trace.steps.get(step, ("", b""))[0] for trace in traces],
            outputs=[result(run, task, step) for run, task in zip(runs, tasks, strict=True)],
        )

    parted = sum(left.end != right.end for left, right in pairs)
    return TasksDiff.model_construct(
        matched=len(matched),
        same=len(matched) - parted,
        parted=parted,
        only=[len(only), len(only_other)],
        first=list(islice(filter(None, map(difference, matched, pairs)), FIRST)),
    )


def match_tasks(
    one: Mapping[str, TaskTrace], other: Mapping[str, TaskTrace]
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Pairs of tasks with equal inputs (several in their order), then of equal names; and the tasks left over."""
    by_inputs: dict[bytes, deque[str]] = defaultdict(deque)
    for task, trace in other.items():
        by_inputs[trace.inputs].append(task)
    pairs: dict[str, str] = {}
    for task, trace in one.items():
        if found := by_inputs[trace.inputs]:
            pairs[task] = found.popleft()
    left = set(other) - set(pairs.values())
    for task in one:
        if task not in pairs and task in left:
            pairs[task] = task
            left.remove(task)
    matched = [(task, pairs[task]) for task in one if task in pairs]
    return matched, [task for task in one if task not in pairs], [task for task in other if task in left]


def first_difference(one: TaskTrace, other: TaskTrace) -> str:
    """The first step, in the order of their ends, that ended otherwise; empty where all are the same."""
    for step in dict.fromkeys([*one.steps, *other.steps]):
        if one.steps.get(step) != other.steps.get(step):
            return step
    return ""
