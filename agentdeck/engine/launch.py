"""Launching a run: from a definition to its outcome."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agentdeck.agents.output_capture import capture
from agentdeck.agents.verb import WorkflowContext
from agentdeck.engine import stalled
from agentdeck.engine.adaptive_mode import AdaptiveMode
from agentdeck.engine.author import current_author
from agentdeck.engine.clock import Clock, WallClock
from agentdeck.engine.engine import Engine
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.run_control import RunControl
from agentdeck.engine.run_owner import hold
from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.source_hashes import FILES, files_of
from agentdeck.engine.stalled import StallCause
from agentdeck.engine.task_feed import LATER, TaskFeed
from agentdeck.engine.watchdog import Watchdog
from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import all_in_deck_notation, caps_of
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.registry import check_deck
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import required
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.fault_point import passing
from agentdeck.store.runs import new_run
from agentdeck.store.tasks import Rest, TaskList, TaskSpool, end_tasks, spool_of
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import WORKERS, Deck, deck_for
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Approve, Data, Definition, SubWorkflow

#: Among a run's options: what its tasks came from, where they could not be recorded.
TASKS = "tasks"
ITERATOR = "iterator"
#: Among a run's options: inputs that go over those of every task.
OVERLAY = "overlay"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run. `tasks` None is one task made of the inputs; else each item is laid over them, and is pulled
    only when there is room for it; `TaskFeed` ones may come later. `db` None keeps nothing. `source` tells where
    the workflow came from. `run` is the run's name where somebody wants to know it beforehand. Without `wait` the
    run stops where nothing can go on until an operator acts. `overlay` are inputs that go over those of every
    task."""

    definition: Definition
    folder: Path
    inputs: Mapping[str, Data] = field(default_factory=dict)
    tasks: Iterable[Mapping[str, Data]] | None = None
    workers: int | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    db: Path | None = None
    source: Mapping[str, Data] = field(default_factory=dict)
    yes: bool = False
    author: ev.Author | None = None
    tags: tuple[str, ...] = ()
    run: str = ""
    wait: bool = True
    overlay: Mapping[str, Data] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `state`: done, failed, cancelled, or drained (resumable). `abandoned` attempts ignored
    their cancellation and may still be running. `causes` are why it was drained, where it waited for an operator
    that is not there."""

    run: str
    state: str
    view: RunView = field(repr=False)
    abandoned: int = 0
    causes: tuple[StallCause, ...] = ()


def complete(definition: Definition, given: Mapping[str, Data]) -> dict[str, Data]:
    """Inputs with defaults filled in. What is missing is refused by name."""
    unknown = [name for name in given if name not in definition.inputs]
    if unknown and definition.inputs:
        known = ", ".join(definition.inputs)
        raise UsageError(f"{definition.name} has no input {', '.join(unknown)}; it has {known}")
    inputs = {name: given.get(name, spec.default) for name, spec in definition.inputs.items()}
    missing = [name for name, spec in definition.inputs.items() if spec.required and name not in given]
    if missing:
        raise UsageError(
            f"{definition.name} needs the input {', '.join(missing)}; give it with -i {missing[0]}=…"
        )
    return {**given, **inputs}


def programs(
    definition: Definition,
    folder: Path,
    seconds: Mapping[str, float],
    stored: Mapping[str, Definition] | None = None,
    above: str = "",
) -> Program:
    """The program of a workflow and of all its sub-workflows: as they were when a run began, where they are
    `stored` by their path (`review`, `review/security`), else as their files say now."""
    nested = {}
    for name, agent in definition.agents.items():
        if isinstance(agent.does, SubWorkflow):
            file, path = folder / agent.does.file, f"{above}{name}"
            kept = (stored or {}).get(path)
            found = load(file).definition if kept is None else replace(kept, folder=file.parent)
            nested[name] = programs(found, found.folder or file.parent, {}, stored, f"{path}/")
    return Program(definition, seconds, nested)


def below(program: Program, above: str = "") -> Iterator[tuple[str, Definition]]:
    """All sub-workflows by their path."""
    for name, nested in program.nested.items():
        yield f"{above}{name}", nested.definition
        yield from below(nested, f"{above}{name}/")


def definitions(program: Program) -> Iterator[Definition]:
    """The workflow and all its sub-workflows."""
    yield program.definition
    for _, nested in below(program):
        yield nested


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: `event` sees every recorded event with its number, `line` every log line, both in the loop
    of the run; `control` steers it; `warn` is told, from any thread, of an agent that holds up all others; `kept`
    is told, in the loop, up to which event all is on disk; `standstill` is told what a run waits for in which
    nothing can go on."""

    event: Callable[[int, ev.Event], None] | None = None
    line: Callable[[LogLine], None] | None = None
    control: RunControl | None = None
    warn: Callable[[str], None] | None = None
    kept: Callable[[int], None] | None = None
    standstill: Callable[[str, tuple[StallCause, ...]], None] | None = None


async def run(launch: Launch, watch: Watch | None = None, clock: Clock | None = None) -> Outcome:
    """Launch a run and stay until it is over, or has drained."""
    clock = clock or WallClock()
    storage = RunStorage(launch.db)
    try:
        definition, name = launch.definition, launch.run or new_run()
        author = launch.author or current_author("api")
        launch = replace(launch, author=author)
        program = programs(definition, launch.folder, storage.durations(definition, launch.folder))
        deck = deck_for(launch.folder)
        check_deck(deck, definitions(program))
        check_yes(launch.yes, definitions(program))
        most = deck.workers or WORKERS
        workers = launch.workers or min(definition.limits.workers or most, most)
        machine = Scheduler(program, run=name, workers=workers, gated=storage.durable)
        started = ev.RunStarted(
            clock.now(),
            name,
            definition.name,
            definition.identity if storage.durable else "",
            dict(launch.inputs),
            {"workers": workers, **all_in_deck_notation(caps_of(deck, definition))},
            author.text,
            tasks=_given(launch),
        )
        source = {"folder": str(launch.folder.resolve()), **launch.source}
        view, watch = RunView(definition), watch or Watch()
        first: ev.Event | ev.Signal = started
        rest = await record_tasks(launch.tasks, storage, name)
        if storage.durable:
            files = files_of(program, launch.folder, launch.functions)
            options = {"workers": workers, "yes": launch.yes, **({FILES: files} if files else {})}
            if launch.tasks is not None and rest is None:
                options[TASKS] = ITERATOR
            storage.begin(started, definition, source, options, launch.tags, dict(below(program)), rest)
            passing("run.created")
            machine.apply(started)
            view.apply(machine.seq, started)
            if watch.event is not None:
                watch.event(machine.seq, started)
            first = ev.TimerFired(started.at)
        return await drive(launch, machine, view, storage, clock, first, watch, deck)
    finally:
        storage.close()


async def record_tasks(tasks: Iterable[Mapping[str, Data]] | None, storage: RunStorage, run: str) -> Rest | None:
    """Writes the tasks into the store, before the run's row; what is returned writes the rest of them together
    with that row. None where there is nothing to write: no store, no tasks, or an iterator that only the program
    that made it can read. Tasks of such a one are recorded as they are opened."""
    if isinstance(tasks, TaskFeed):
        return tasks.stream.attach(storage.log if storage.durable else None, run)
    if not storage.durable or not isinstance(tasks, TaskSpool | Sequence):
        return None
    spool = tasks if isinstance(tasks, TaskSpool) else await asyncio.to_thread(spool_of, tasks)
    rest = await asyncio.to_thread(spool.record, storage.log, run)

    def last(connection: sqlite3.Connection) -> None:
        rest(connection)
        end_tasks(connection, run, spool.count)

    return last


async def drive(
    launch: Launch,
    machine: Scheduler,
    view: RunView,
    storage: RunStorage,
    clock: Clock,
    first: ev.Event | ev.Signal,
    watch: Watch,
    deck: Deck,
) -> Outcome:
    """Run a machine, new or restored, from its `first` event to its end."""
    closing: list[Callable[[], Awaitable[None]]] = []
    settings: dict[Program, WorkflowContext] = {}
    children = storage.children(machine.run)
    keys = KeyStore(secrets=deck.secrets)

    def setting(of: Program) -> WorkflowContext:
        if of not in settings:
            own = of is machine.program
            folder = launch.folder if own else of.definition.folder or launch.folder
            functions = launch.functions if own else {}
            settings[of] = WorkflowContext(
                of.definition,
                folder,
                anyio.sleep,
                functions,
                closing,
                deck,
                engine.reservations.record_headers,
                children,
                keys,
            )
        return settings[of]

    adaptive: AdaptiveMode | None = None
    if machine.program.definition.mode == "adaptive":
        adaptive = AdaptiveMode(storage.work(view.workflow, launch.folder), machine)
        if machine.seq <= 1:
            first = ev.Batch(first.at, (first, adaptive.first(first.at)))

    def see(seq: int, event: ev.Event) -> None:
        if watch.event is not None:
            watch.event(seq, event)
        if adaptive is not None and (chosen := adaptive.see(event)) is not None:
            engine.feed(chosen)

    engine = Engine(
        machine,
        storage,
        clock,
        setting,
        source_of(launch, machine.opened),
        view=view,
        deck=deck,
        watch=watch.event if adaptive is None else see,
        on_line=watch.line,
        on_kept=watch.kept,
        yes=launch.yes,
        author=launch.author,
    )
    if isinstance(launch.tasks, TaskFeed):
        launch.tasks.attach(engine.arrived)
    storage.attach(engine.committed, engine.fault)
    causes: tuple[StallCause, ...] = ()

    async def beside() -> None:
        nonlocal causes
        async with anyio.create_task_group() as group:
            if storage.durable:
                group.start_soon(hold, engine, storage)
            causes = await stalled.watch(engine, launch.wait, watch.standstill)

    guard = Watchdog(engine, storage, watch.warn) if isinstance(clock, WallClock) else nullcontext()
    with capture(), guard:
        try:
            state = await engine.run(first, watch.control, beside)
        finally:
            with anyio.CancelScope(shield=True):
                for close in closing:
                    await close()
                await children.close()
    passing("run.ended")
    took = adaptive.took if adaptive is not None else ()
    with anyio.CancelScope(shield=True):  # in a thread: large results may still be on their way to the disk
        await anyio.to_thread.run_sync(storage.end, machine.run, state, view, took)
    if engine.spoilt is not None:
        raise engine.spoilt
    return Outcome(machine.run, state, view, engine.abandoned, causes if state == "drained" else ())


def check_yes(yes: bool, found: Iterable[Definition]) -> None:
    """Raises UsageError where --yes would have to answer an approval with a field that has no default."""
    for one in found if yes else ():
        for name, agent in one.agents.items():
            if isinstance(agent.does, Approve) and (lacking := required(agent.does)):
                raise UsageError(
                    f"--yes cannot answer {name}: it needs a value for {', '.join(lacking)}; "
                    f"give it a default ({lacking[0]}: {{type: …, default: …}}), or answer without --yes"
                )


def _given(launch: Launch) -> int | None:
    """How many tasks the run has, where they were counted before it starts."""
    if launch.tasks is None:
        return 1
    counted = launch.source.get("total")
    if isinstance(counted, int):
        return counted
    return len(launch.tasks) if isinstance(launch.tasks, Sized) else None


def source_of(launch: Launch, opened: int) -> Iterator[Mapping[str, Data]]:
    """The tasks not opened yet, with LATER where one is to come."""
    tasks: Iterable[Mapping[str, Data]] = [{}] if launch.tasks is None else launch.tasks
    left = tasks.after(opened) if isinstance(tasks, TaskList) else islice(tasks, opened, None)
    for task in left:
        if task is LATER:
            yield task
        else:
            yield complete(launch.definition, {**launch.inputs, **task, **launch.overlay})
