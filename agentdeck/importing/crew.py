"""The crew of an import, wherever it comes from, and its order: which task needs which, as CrewAI executes them.

Checked against CrewAI 1.15 (`Crew._execute_tasks`, `Crew._get_context`):

- a task with `context` gets the outputs of those tasks;
- a task without gets the outputs of all tasks before it. If it is asynchronous, it gets none: it starts when the
  synchronous tasks before it have ended, and nothing waits for it before the next synchronous one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentdeck.importing.crew_code import Part, Setting
from agentdeck.importing.imported import MAX_REFERENCES, Findings, Place
from agentdeck.workflow.wording import likely_fix


@dataclass(slots=True)
class CrewTask:
    """A task. `context` None: not declared. `agent` None: no agent is named."""

    part: Part
    agent: Part | None = None
    context: list[str] | None = None
    is_async: bool = False

    @property
    def name(self) -> str:
        return self.part.name

    @property
    def context_place(self) -> Place:
        """Where its context stands."""
        return self.part.settings["context"].place if "context" in self.part.settings else self.part.place


@dataclass(slots=True)
class Crew:
    """A crew whose references are resolved. `settings` are its own (`process`, `max_rpm`)."""

    name: str
    place: Place
    tasks: list[CrewTask]
    agents: dict[str, Part]
    settings: dict[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What a task waits for, and the tasks whose outputs are in its prompt."""

    needs: list[str]
    reads: list[str]


def task_inputs(tasks: Sequence[CrewTask]) -> dict[str, TaskInput]:
    """What each task of a valid crew waits for and reads, by name, in the order of the tasks."""
    found: dict[str, TaskInput] = {}
    last: dict[str, None] = {}  # tasks so far that no other task needs: to need them is to need all
    earlier: list[str] = []
    synchronous: list[str] = []
    for task in tasks:
        if task.context is not None:
            needs, reads = list(dict.fromkeys(task.context)), task.context
        elif task.is_async:
            needs, reads = synchronous[-1:], []
        else:
            needs, reads = list(last), list(earlier)
        found[task.name] = TaskInput(needs, reads)
        for need in needs:
            last.pop(need, None)
        last[task.name] = None
        earlier.append(task.name)
        if not task.is_async:
            synchronous.append(task.name)
    return found


def check_order(crew: Crew, findings: Findings) -> None:
    """Notes what CrewAI itself refuses in the order and the context of tasks."""
    position = {task.name: number for number, task in enumerate(crew.tasks)}
    for number, task in enumerate(crew.tasks):
        for name in task.context or ():
            other = position.get(name)
            if other is None:
                what = f"{task.name} has the context {name}, which is not a task of this crew"
                findings.fault(task.context_place, what, likely_fix(name, position))
            elif other == number:
                findings.fault(task.context_place, f"{task.name} has itself as context", "remove it")
            elif other > number:
                what = (
                    f"{task.name} has the context {name}, which comes after it; {_cycle(crew, task.name, name)}"
                )
                findings.fault(task.context_place, what, f"put {name} before {task.name}")
            elif task.is_async and all(one.is_async for one in crew.tasks[other:number]):
                what = f"{task.name} runs at the same time as its context {name} (async_execution)"
                findings.fault(task.context_place, what, "CrewAI refuses that; make one of them synchronous")
    last_sync = max((n for n, task in enumerate(crew.tasks) if not task.is_async), default=-1)
    if len(crew.tasks) - last_sync > 2:
        at = crew.tasks[last_sync + 2].part.place
        findings.fault(at, "CrewAI refuses a crew that ends with more than one asynchronous task")
    _check_size(crew, findings)


def _cycle(crew: Crew, name: str, later: str) -> str:
    """What CrewAI says of such a context, and whether it is a cycle."""
    contexts: Mapping[str, Sequence[str]] = {task.name: task.context or () for task in crew.tasks}
    seen, open_ = set[str](), [later]
    while open_:
        one = open_.pop()
        if one == name:
            return f"the two wait for each other ({name} -> {later} -> {name})"
        if one not in seen:
            seen.add(one)
            open_ += contexts.get(one, ())
    return "CrewAI refuses that"


def _check_size(crew: Crew, findings: Findings) -> None:
    implied = sum(n for n, task in enumerate(crew.tasks) if task.context is None and not task.is_async)
    declared = sum(len(task.context or ()) for task in crew.tasks)
    if implied + declared > MAX_REFERENCES:
        what = (
            f"each of these {len(crew.tasks):,} tasks without context gets the outputs of all tasks before it, "
            f"{implied + declared:,} in all; a workflow file would be too large"
        )
        findings.fault(crew.tasks[0].part.place, what, "give the tasks a context")
