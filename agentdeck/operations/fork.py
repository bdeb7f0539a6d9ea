"""Forks: new runs that share results of another run.

The shared results are written into the new run's log as reused results. The new run is then a drained run, which
`resume` continues.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agentdeck.engine.author import current_author
from agentdeck.engine.launch import ITERATOR, OVERLAY, TASKS, programs
from agentdeck.engine.resume import definition_of, nested_of
from agentdeck.engine.source_hashes import FILES, accepted, changed_files, note_changes
from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import all_in_deck_notation, caps_of
from agentdeck.operations.overrides import override
from agentdeck.operations.recorded_run import known_agent
from agentdeck.operations.retry import inputs_from_settings
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.reopen import not_chosen
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, SKIPPED, AllTasks, Step, Task
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.runs import (
    Counts,
    NewRun,
    Owner,
    create_run,
    end_run,
    new_run,
    save_definition,
    set_run,
    take_lease,
)
from agentdeck.store.tasks import copy_tasks
from agentdeck.store.writer import Writer
from agentdeck.workflow import graph
from agentdeck.workflow.deck import WORKERS, deck_for
from agentdeck.workflow.model import Data, Definition, Dispatch, plain

#: Keys of an agent that may change without making its earlier results invalid.
CONDUCT = (
    "about", "retry", "timeout", "max_parallel", "priority", "tier", "hedge", "on_error", "cache", "once", "uses",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fork:
    """The run to fork, and the agent `start` whose results, and all after them, are not shared; None shares every
    result that did not fail. `inputs`, `definition` and `source` replace those of the run. `name` is the id of
    the new run, empty for a new one."""

    run: str
    start: str | None = None
    inputs: Mapping[str, Data] = field(default_factory=dict)
    definition: Definition | None = None
    source: Mapping[str, Data] = field(default_factory=dict)
    author: ev.Author | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class ForkResult:
    """The new run, how many results it shares, and how many tasks were opened in it."""

    run: str
    origin: str
    shared: int
    tasks: int


class _Origin(NamedTuple):
    """The run that is forked: its row, workflow and first event, its state after all events, and whether it was
    cancelled before all its tasks were opened."""

    row: RunRow
    definition: Definition
    started: ev.RunStarted
    state: RunState
    cut: bool

    @property
    def tasks(self) -> list[Task]:
        """Its tasks in order, without nested ones."""
        tasks = {**self.state.closed, **self.state.tasks}.values()
        return sorted((task for task in tasks if task.parent is None), key=lambda task: int(task.id))


def fork(db: Path, wanted: Fork) -> ForkResult:
    """Write the new run into the store, without starting it. Raises UsageError."""
    with closing(Reader(db)) as reader:
        origin = _read_origin(reader, wanted.run)
    row = origin.row
    definition = wanted.definition or origin.definition
    if wanted.start is not None:
        known_agent(definition, wanted.start)
    name, at = wanted.name or new_run(), time.time()
    workers = origin.state.workers
    if definition.limits.workers not in (None, origin.definition.limits.workers):
        workers = definition.limits.workers
    events = _events(origin, definition, wanted, name, at, workers)
    source: dict[str, Data] = {**row.source, **wanted.source, "forked": row.run}
    options = accepted(row) if row.options.get(FILES) else dict(row.options)
    options["workers"] = workers
    overlay = {**(row.options.get(OVERLAY) or {}), **wanted.inputs}
    if overlay:
        options[OVERLAY] = overlay
    new = NewRun(name, definition.name, definition.identity, at, row.simulated, row.tags, source, options)
    _write(db, new, definition, events, row.run)
    shared_results = sum(type(event) is ev.StepSucceeded for event in events)
    return ForkResult(name, row.run, shared_results, len(origin.tasks))


def _read_origin(reader: Reader, run: str) -> _Origin:
    row = reader.run(run)
    definition = definition_of(reader, row)
    folder = Path(str(row.source.get("folder") or "."))
    program = programs(definition, folder, {}, nested_of(reader, row))
    given = row.options.get("workers")
    fold = Fold(program, run=row.run, keep=AllTasks(), workers=given if isinstance(given, int) else WORKERS)
    started: ev.RunStarted | None = None
    cut = False
    for _, event in reader.events(row.run):
        started = event if isinstance(event, ev.RunStarted) else started
        cut = event.cut if isinstance(event, ev.TasksExhausted) else cut
        fold.apply(event)
    if started is None:
        raise UsageError(f"{row.run} has no events yet: there is nothing to reuse")
    return _Origin(row, definition, started, fold.state, cut)


def _events(
    origin: _Origin, definition: Definition, wanted: Fork, name: str, at: float, workers: int | None
) -> list[ev.Event]:
    """The events of the new run: its start, its tasks, and the shared results."""
    row, first = origin.row, origin.started
    author = wanted.author or current_author("api")
    folder = Path(str(row.source.get("folder") or "."))
    resources = {**origin.state.program.resources(), **definition.limits.resources}
    caps = all_in_deck_notation(caps_of(deck_for(folder), definition))
    limits: dict[str, Data] = {"workers": workers, **resources, **caps}
    inputs = {**first.inputs, **wanted.inputs}
    events: list[ev.Event] = [
        ev.RunStarted(
            at, name, definition.name, definition.identity, inputs, limits, author.text, row.run, first.tasks
        )
    ]
    if changes := changed_files(row):
        events.append(note_changes(at, changes, author))
    redo = invalidated(origin.definition, definition, wanted.start)
    for task in origin.tasks:
        events.append(ev.TaskOpened(at, task.id, {**task.inputs, **wanted.inputs}))
        events += shared(task, redo, row.run, at)
    # A cancelled run did not open all tasks: the new run opens the others if they are recorded.
    if origin.state.exhausted and (not origin.cut or row.options.get(TASKS) == ITERATOR):
        events.append(ev.TasksExhausted(at, len(origin.tasks), origin.cut))
    return events


def fork_with_settings(
    db: Path, row: RunRow, start: str | None, settings: Sequence[str], author: ev.Author
) -> ForkResult:
    """Fork a run with `--set` settings: `inputs.NAME=VALUE`, or a setting of the workflow. Raises UsageError."""
    others = [text for text in settings if not text.startswith("inputs.")]
    with closing(Reader(db)) as reader:
        inputs = inputs_from_settings(reader, row, [text for text in settings if text not in others])
        definition = override(definition_of(reader, row), others)
    source = {"set": [*(row.source.get("set") or ()), *others]} if others else {}
    return fork(db, Fork(row.run, start, inputs, definition, source, author))


def _write(db: Path, row: NewRun, definition: Definition, events: Sequence[ev.Event], origin: str) -> None:
    changes = (
        lambda connection: save_definition(connection, definition),
        lambda connection: create_run(connection, row),
        lambda connection: copy_tasks(connection, origin, row.run),
        lambda connection: set_run(connection, row.run, state="drained"),
    )
    with closing(Writer(db)) as writer:
        writer.append(row.run, 1, events, changes)
        writer.flush()


def differences(old: Definition, new: Definition) -> list[str]:
    """The differences of two definitions, one phrase each."""
    phrases = [f"{name} is new" for name in new.agents if name not in old.agents]
    for name, agent in old.agents.items():
        if name not in new.agents:
            phrases.append(f"{name} was removed")
            continue
        before, after = plain(agent), plain(new.agents[name])
        changed = [key for key in before if before[key] != after.get(key)]
        if changed:
            phrases.append(f"{name} has another {', '.join(key.rstrip('_') for key in changed)}")
    rest = [key for key, value in plain(old).items() if key != "agents" and value != plain(new).get(key)]
    return [*phrases, *(f"its {key} changed" for key in rest)]


def invalidated(old: Definition, new: Definition, start: str | None) -> set[str]:
    """The agents whose results are not shared: `start`, those whose definition changed, and all that depend on
    these."""
    before, after = ({name: _significant(plain(a)) for name, a in of.agents.items()} for of in (old, new))
    changed = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    changed |= {start} if start is not None else set()
    below = graph.dependents({name: agent.needs for name, agent in new.agents.items()})
    return changed.union(*(graph.upstream(below, name) for name in changed & set(below)))


def _significant(agent: Mapping[str, Data]) -> dict[str, Data]:
    """The keys of an agent on which its results depend."""
    return {key: value for key, value in agent.items() if key not in CONDUCT}


def shared(task: Task, redo: set[str], origin: str, at: float) -> Iterator[ev.Event]:
    """Events that record how the shared steps of a task ended."""
    steps = [step for step in task.steps if step is not None]
    again = {step.rule.index for step in steps if step.key in redo or _unsettled(step)}
    todo = list(again)
    for index in todo:
        for below in task.program.rules[index].dependents:
            step = task.steps[below]
            if step is None or below in again:
                continue
            rules = task.program.rules
            if not_chosen(step) and not any(
                i in again for i in step.rule.needs if isinstance(rules[i].agent.does, Dispatch)
            ):
                continue
            again.add(below)
            todo.append(below)
    for step in steps:
        if step.rule.index not in again and step.ended:
            yield from _ended(step, origin, at)


def _unsettled(step: Step) -> bool:
    """Whether the step failed, or was cancelled and no step has run without its result."""
    if step.state == FAILED:
        return step.rule.agent.on_error.action != "continue"
    if step.state == CANCELLED:
        return not any(
            below is not None and below.state == DONE
            for i in step.rule.dependents
            for below in [step.task.steps[i]]
        )
    return False


def _ended(step: Step, origin: str, at: float) -> Iterator[ev.Event]:
    task, key = step.task.id, step.key
    if step.state == DONE:
        if step.items is not None:
            yield ev.StepExpanded(at, task, key, len(step.items))
            for item in step.items:
                yield from _ended(item, origin, at)
        else:
            yield ev.StepSucceeded(at, task, key, step.attempt, step.output, reused=True)
        if step.items is not None or (step.rule.rounds and step.item < 0):
            yield ev.StepDone(at, task, key)
    elif step.state == SKIPPED:
        yield ev.StepSkipped(at, task, key, f"skipped in {origin}")
    elif step.state == FAILED and step.fault is not None:
        yield ev.StepFailed(at, task, key, step.fault, tolerated=True, letter=False)
    elif step.state == CANCELLED:
        yield ev.StepCancelled(at, task, key, f"cancelled in {origin}")


def supersede(db: Path, row: RunRow, new: str, who: str) -> None:
    """End a run that no process holds, because its fork `new` continues it. Raises UsageError if a process has
    taken the run in the meantime."""
    now = time.time()
    owner = Owner(f"fork:{new}", 0, "")
    note = ev.Noted(now, f"continued by {new}" + (f", by {who}" if who else ""))
    counts = Counts(row.tasks.total, row.tasks.done, row.tasks.failed, row.tasks.cancelled)
    with closing(Reader(db)) as reader:
        last = reader.last_seq(row.run)
    with closing(Writer(db)) as writer:
        if not writer.call(lambda c: take_lease(c, row.run, owner, now + 5, now)).result(30):
            raise UsageError(f"{row.run} was resumed by another process just now")
        changes = [lambda c: end_run(c, row.run, CANCELLED, now, counts)]
        writer.append(row.run, last + 1, [note, ev.RunEnded(now, CANCELLED)], changes)
        writer.flush()
