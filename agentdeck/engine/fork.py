"""A new run that shares another one's results up to a point.

What is shared is written into the new run's log as results that were had already; then it is a run that nobody
holds, and `resume` goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentdeck.engine.author import current_author
from agentdeck.engine.launch import ITERATOR, OVERLAY, TASKS, programs
from agentdeck.engine.resume import definition_of, nested_of
from agentdeck.engine.retry import known_agent
from agentdeck.engine.source_hashes import FILES, accepted, changed_files, note_changes
from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import caps_of, shown
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.reopen import unchosen
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

#: What of an agent may change without its earlier results being wrong.
CONDUCT = ("about", "retry", "timeout", "max_parallel", "priority", "tier", "hedge", "on_error", "cache", "once")


@dataclass(frozen=True, slots=True)
class Fork:
    """What is to be forked: from `start` on, or else from whatever has failed on, with other inputs, or under
    another `definition`. `source` is laid over what the row tells of where the workflow came from."""

    run: str
    start: str | None = None
    inputs: Mapping[str, Data] = field(default_factory=dict)
    definition: Definition | None = None
    source: Mapping[str, Data] = field(default_factory=dict)
    author: ev.Author | None = None


@dataclass(frozen=True, slots=True)
class ForkResult:
    """The new run, how many results it shares, and how many tasks it has so far."""

    run: str
    origin: str
    shared: int
    tasks: int


def fork(db: Path, wanted: Fork) -> ForkResult:
    """Write the new run; nobody holds it yet. Raises UsageError."""
    reader = Reader(db)
    try:
        row = reader.run(wanted.run)
        old = definition_of(reader, row)
        new = wanted.definition or old
        if wanted.start is not None:
            known_agent(new, wanted.start)
        folder = Path(str(row.source.get("folder") or "."))
        program = programs(old, folder, {}, nested_of(reader, row))
        given = row.options.get("workers")
        fold = Fold(program, run=row.run, keep=AllTasks(), workers=given if isinstance(given, int) else WORKERS)
        first: ev.RunStarted | None = None
        cut = False
        for _, event in reader.events(row.run):
            first = event if isinstance(event, ev.RunStarted) else first
            cut = event.cut if isinstance(event, ev.TasksExhausted) else cut
            fold.apply(event)
    finally:
        reader.close()
    if first is None:
        raise UsageError(f"{row.run} has no events yet: there is nothing to share")
    name, at = new_run(), time.time()
    inputs = {**first.inputs, **wanted.inputs}
    author = wanted.author or current_author("api")
    workers = fold.workers
    if new.limits.workers is not None and new.limits.workers != old.limits.workers:
        workers = new.limits.workers
    limits: dict[str, Data] = {"workers": workers, **shown(caps_of(deck_for(folder), new))}
    started = ev.RunStarted(at, name, new.name, new.identity, inputs, limits, author.text, row.run, first.tasks)
    redo = anew(old, new, wanted.start)
    tasks = sorted(
        (task for task in {**fold.closed, **fold.tasks}.values() if task.parent is None),
        key=lambda task: int(task.id),
    )
    events: list[ev.Event] = [started]
    for task in tasks:
        events.append(ev.TaskOpened(at, task.id, {**task.inputs, **wanted.inputs}))
        events += shared(task, redo, row.run, at)
    # A run that was cancelled left tasks out: the new run opens them, where they are recorded.
    if fold.exhausted and (not cut or row.options.get(TASKS) == ITERATOR):
        events.append(ev.TasksExhausted(at, len(tasks), cut))
    source: dict[str, Data] = {**row.source, **wanted.source, "forked": row.run}
    options = accepted(row) if row.options.get(FILES) else dict(row.options)
    options["workers"] = workers
    if changes := changed_files(row):
        events.insert(1, note_changes(at, changes, author))
    overlay = {**(row.options.get(OVERLAY) or {}), **wanted.inputs}
    if overlay:
        options[OVERLAY] = overlay
    made = NewRun(name, new.name, new.identity, at, row.simulated, row.tags, source, options)
    _write(db, made, new, events, row.run)
    return ForkResult(name, row.run, sum(type(event) is ev.StepSucceeded for event in events), len(tasks))


def _write(db: Path, row: NewRun, definition: Definition, events: Sequence[ev.Event], origin: str) -> None:
    writer = Writer(db)
    try:
        writer.append(
            row.run,
            1,
            events,
            [
                lambda connection: save_definition(connection, definition),
                lambda connection: create_run(connection, row),
                lambda connection: copy_tasks(connection, origin, row.run),
                lambda connection: set_run(connection, row.run, state="drained"),
            ],
        )
        writer.flush()
    finally:
        writer.close()


def differences(old: Definition, new: Definition) -> list[str]:
    """What makes two definitions differ, in words."""
    told = [f"{name} is new" for name in new.agents if name not in old.agents]
    for name, agent in old.agents.items():
        if name not in new.agents:
            told.append(f"{name} is gone")
            continue
        before, after = plain(agent), plain(new.agents[name])
        changed = [key for key in before if before[key] != after.get(key)]
        if changed:
            told.append(f"{name} has another {', '.join(key.rstrip('_') for key in changed)}")
    rest = [key for key, value in plain(old).items() if key != "agents" and value != plain(new).get(key)]
    return [*told, *(f"its {key} changed" for key in rest)]


def anew(old: Definition, new: Definition, start: str | None) -> set[str]:
    """Agents of the old definition whose results are not shared: `start`, what changed, and all after these."""
    changed = {name for name in old.agents if name not in new.agents}
    changed |= {start} if start is not None else set()
    for name, agent in new.agents.items():
        was = old.agents.get(name)
        if was is None or _matter(plain(was)) != _matter(plain(agent)):
            changed.add(name)
    below = graph.dependents({name: agent.needs for name, agent in new.agents.items()})
    todo = list(changed)
    while todo:
        for name in below.get(todo.pop(), ()):
            if name not in changed:
                changed.add(name)
                todo.append(name)
    return changed


def _matter(agent: Mapping[str, Data]) -> dict[str, Data]:
    return {key: value for key, value in agent.items() if key not in CONDUCT}


def shared(task: Task, redo: set[str], origin: str, at: float) -> Iterator[ev.Event]:
    """How the steps of a task ended that need not run again."""
    steps = [step for step in task.steps if step is not None]
    again = {step.rule.index for step in steps if step.key in redo or _unsettled(step)}
    todo = list(again)
    for index in todo:
        for below in task.program.rules[index].dependents:
            step = task.steps[below]
            if step is None or below in again:
                continue
            rules = task.program.rules
            if unchosen(step) and not any(
                i in again for i in step.rule.needs if isinstance(rules[i].agent.does, Dispatch)
            ):
                continue
            again.add(below)
            todo.append(below)
    for step in steps:
        if step.rule.index not in again and step.ended:
            yield from _ended(step, origin, at)


def _unsettled(step: Step) -> bool:
    """It failed, or was cancelled and nobody has gone on without it."""
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
    """A run that nobody holds ends: another one goes on for it. Raises UsageError if somebody has taken it."""
    now = time.time()
    owner = Owner(f"fork:{new}", 0, "")
    reader = Reader(db)
    last = reader.last_seq(row.run)
    reader.close()
    writer = Writer(db)
    try:
        if not writer.call(lambda c: take_lease(c, row.run, owner, now + 5, now)).result(30):
            raise UsageError(f"{row.run} was taken up by another process just now")
        counts = Counts(row.tasks.total, row.tasks.done, row.tasks.failed, row.tasks.cancelled)
        writer.append(
            row.run,
            last + 1,
            [
                ev.Noted(now, f"{new} goes on for it" + (f", by {who}" if who else "")),
                ev.RunEnded(now, CANCELLED),
            ],
            [lambda c: end_run(c, row.run, CANCELLED, now, counts)],
        )
        writer.flush()
    finally:
        writer.close()
