"""Launches a run: from a definition to its outcome."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agentdeck.agents.output_capture import capture
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.engine import stalled
from agentdeck.engine.adaptive_mode import AdaptiveMode
from agentdeck.engine.author import current_author
from agentdeck.engine.clock import Clock, WallClock
from agentdeck.engine.closing import close_all
from agentdeck.engine.engine import Engine
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.observer_feed import ObserverFeed
from agentdeck.engine.observers import Observer, ObserverContext, Warn, factories, warn_in_log
from agentdeck.engine.retry_rule import RetryRule, retry_rule
from agentdeck.engine.run_control import RunControl
from agentdeck.engine.run_owner import hold
from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.source_hashes import FILES, files_of
from agentdeck.engine.stalled import Answering, StallCause
from agentdeck.engine.task_feed import LATER, RecordedTasks, TaskFeed
from agentdeck.engine.watchdog import Watchdog
from agentdeck.errors import StoreError, UsageError
from agentdeck.limits.provider_limits import all_in_deck_notation, caps_of
from agentdeck.places.place import Places
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import Closer, RateHeaders
from agentdeck.providers.registry import check_deck
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import required
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.runs import new_run
from agentdeck.store.tasks import TaskList, TaskSpool, WriteRemainder, end_tasks, spool_of
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import WORKERS, Deck, deck_for
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Agent, Approve, Data, Definition, SubWorkflow

#: Option of a run: the origin of its tasks, where they could not be recorded.
TASKS = "tasks"
ITERATOR = "iterator"
#: Option of a run: inputs that override those of every task.
OVERLAY = "overlay"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run. `tasks` None is one task made of the inputs; else each item overrides them, and is pulled
    only when there is room for it; those of a `TaskFeed` may arrive later. `db` None records nothing. `source`
    describes where the workflow comes from. `run` is the run's name; empty: a new one. Without `wait` the run
    stops when nothing can continue until an operator acts. `overlay` are inputs that override those of every
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
    """How a run ended. `state`: done, failed, cancelled, or drained (resumable). `abandoned` attempts, and
    calls that close something, ignored their cancellation and may still be running. `causes` are why it was
    drained, where it could not continue without an operator."""

    run: str
    state: str
    view: RunView = field(repr=False)
    abandoned: int = 0
    causes: tuple[StallCause, ...] = ()


def complete(definition: Definition, given: Mapping[str, Data]) -> dict[str, Data]:
    """Inputs with their defaults. Raises UsageError, by name, for missing and for unknown inputs."""
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
    """The program of a workflow and of all its sub-workflows: as `stored` when a run began, by their path
    (`review`, `review/security`), else from their files."""
    nested = {}
    for name, agent in definition.agents.items():
        if isinstance(agent.does, SubWorkflow):
            file, path = folder / agent.does.file, f"{above}{name}"
            kept = (stored or {}).get(path)
            found = load(file).definition if kept is None else replace(kept, folder=file.parent)
            nested[name] = programs(found, found.folder or file.parent, {}, stored, f"{path}/")
    return Program(definition, seconds, nested)


@dataclass(frozen=True, slots=True)
class Watch:
    """What follows a run, and what steers it. `observers` receive its events when they are committed, in addition
    to the observers of plugins; the end of the run waits for them. On the run's event loop, `line` is called
    with every log line, and `standstill` with what a run waits for in which nothing can continue. `warn` is
    called from any thread, with a text about an agent that blocks the loop or an observer that failed. `control`
    steers the run; `answering` says whether this process may still answer an approval."""

    observers: Sequence[Observer] = ()
    line: Callable[[LogLine], None] | None = None
    control: RunControl | None = None
    warn: Warn | None = None
    standstill: Callable[[str, tuple[StallCause, ...]], None] | None = None
    answering: Answering | None = None


async def run(launch: Launch, watch: Watch | None = None, clock: Clock | None = None) -> Outcome:
    """Launch a run and wait until it has ended or drained."""
    clock = clock or WallClock()
    storage = RunStorage(launch.db)
    try:
        definition, name = launch.definition, launch.run or new_run()
        author = launch.author or current_author("api")
        launch = replace(launch, author=author)
        program = programs(definition, launch.folder, await storage.durations(definition, launch.folder))
        deck = deck_for(launch.folder)
        check_deck(deck, program.definitions())
        check_yes(launch.yes, program.definitions())
        most = deck.workers or WORKERS
        workers = launch.workers or min(definition.limits.workers or most, most)
        scheduler = Scheduler(program, run=name, workers=workers, gated=storage.durable)
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
        recorded: tuple[ev.Event, ...] = ()
        rest = await record_tasks(launch.tasks, storage, name)
        if storage.durable:
            files = files_of(program, launch.folder, launch.functions)
            options = {"workers": workers, "yes": launch.yes, **({FILES: files} if files else {})}
            if launch.tasks is not None and rest is None:
                options[TASKS] = ITERATOR
            storage.begin(started, definition, source, options, launch.tags, dict(program.below()), rest)
            reach_fault_point("run.created")
            scheduler.apply(started)
            view.apply(scheduler.state.seq, started)
            recorded = (started,)
            first = ev.TimerFired(started.at)
        return await drive(launch, scheduler, view, storage, clock, first, watch, deck, recorded)
    finally:
        storage.close()


async def record_tasks(
    tasks: Iterable[Mapping[str, Data]] | None, storage: RunStorage, run: str
) -> WriteRemainder | None:
    """Write the tasks into the store, before the run's row. Returns what writes the rest of them together with
    that row; None where there is nothing to write: no store, no tasks, or an iterator that only its program can
    read. The tasks of an iterator are recorded as they are opened."""
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


class _Runners:
    """What executes the attempts of each agent of a run, where the agent's place is. What the agents of a program
    share is made for the first of them."""

    def __init__(self, launch: Launch, program: Program, deck: Deck, children: Children) -> None:
        self._launch = launch
        self._program = program
        self._deck = deck
        self._children = children
        self._keys = KeyStore(secrets=deck.secrets)
        self._places = Places()
        self._made: dict[Program, WorkflowContext] = {}
        self._closing: list[Closer] = []
        #: Called with the rate limits in a provider's headers; set before the first context is made.
        self.record_headers: Callable[[str, RateHeaders], None]

    def runner(self, program: Program, agent: Agent) -> Verb:
        return self._places.find().prepare(agent, self._context(program))

    def retry_rule(self, program: Program, agent: Agent) -> RetryRule | None:
        context = self._context(program)
        return retry_rule(agent.retry, context.folder, context.functions)

    def _context(self, program: Program) -> WorkflowContext:
        if program not in self._made:
            own = program is self._program
            definition, launch = program.definition, self._launch
            self._made[program] = WorkflowContext(
                definition,
                launch.folder if own else definition.folder or launch.folder,
                anyio.sleep,
                launch.functions if own else {},
                self._closing,
                self._deck,
                self.record_headers,
                self._children,
                self._keys,
            )
        return self._made[program]

    async def close(self, warn: Warn) -> int:
        """Close what the agents shared. Returns the number of calls that did not end."""
        late = await close_all([*self._places.closers(), *self._closing], warn)
        await self._children.close()
        return late


async def drive(
    launch: Launch,
    scheduler: Scheduler,
    view: RunView,
    storage: RunStorage,
    clock: Clock,
    first: ev.Event | ev.Signal,
    watch: Watch,
    deck: Deck,
    recorded: Sequence[ev.Event] = (),
) -> Outcome:
    """Execute a run with a new or restored scheduler, from the `first` event to its end. `recorded` are events
    that the scheduler has and the observers have not."""
    runners = _Runners(launch, scheduler.state.program, deck, storage.children(scheduler.state.run))
    adaptive: AdaptiveMode | None = None
    if scheduler.state.program.definition.mode == "adaptive":
        adaptive = AdaptiveMode(await storage.work(view.workflow, launch.folder), scheduler)
        if scheduler.state.seq <= 1:
            first = ev.Batch(first.at, (first, adaptive.first(first.at)))
    async with _observers(scheduler, storage, watch, recorded) as observers:
        engine = Engine(
            scheduler,
            storage,
            clock,
            runners,
            source_of(launch, scheduler.state.opened),
            view=view,
            deck=deck,
            observers=observers,
            adaptive=adaptive,
            on_line=watch.line,
            warn=watch.warn or warn_in_log,
            yes=launch.yes,
            author=launch.author,
        )
        runners.record_headers = engine.reservations.record_headers
        if isinstance(launch.tasks, TaskFeed):
            launch.tasks.attach(engine.tasks_arrived)
        storage.attach(engine.committed, engine.fault)
        state, causes = await _execute(engine, runners, storage, first, watch, launch)
        reach_fault_point("run.ended")
        work = adaptive.work_of_tasks if adaptive is not None else ()
        with anyio.CancelScope(shield=True):  # in a thread: large results may still have to be written
            await anyio.to_thread.run_sync(storage.end, scheduler.state.run, state, view, work)
        if engine.source_error is not None:
            raise engine.source_error
        return Outcome(scheduler.state.run, state, view, engine.abandoned, causes if state == "drained" else ())


@asynccontextmanager
async def _observers(
    scheduler: Scheduler, storage: RunStorage, watch: Watch, recorded: Sequence[ev.Event]
) -> AsyncIterator[ObserverFeed]:
    """The observers of a run: those of its launch and those of plugins. At the end each receives what is left
    and is closed, whether the run succeeded or not."""
    state, warn = scheduler.state, watch.warn or warn_in_log
    first = state.seq - len(recorded) + 1
    found = factories(warn)
    feed = ObserverFeed(ObserverContext(state.run, state.program.definition, storage.path, first), warn)
    for observer in watch.observers:
        feed.add(observer)
    for name, factory in found.items():
        feed.add_plugin(name, factory)
    if recorded:
        feed.hand_over(first, recorded)
        feed.committed(state.seq)
    try:
        yield feed
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(StoreError):  # the run reports it
                await anyio.to_thread.run_sync(storage.flush)
            try:
                await anyio.to_thread.run_sync(feed.close)
            finally:
                feed.stop_waiting()  # the caller may be cancelled, and an observer may block for ever


async def _execute(
    engine: Engine,
    runners: _Runners,
    storage: RunStorage,
    first: ev.Event | ev.Signal,
    watch: Watch,
    launch: Launch,
) -> tuple[str, tuple[StallCause, ...]]:
    """Run the engine with all that goes on beside it. Returns the run's state, and why it was stopped."""
    causes: tuple[StallCause, ...] = ()

    async def beside() -> None:
        nonlocal causes
        async with anyio.create_task_group() as group:
            if storage.durable:
                group.start_soon(hold, engine, storage)
            if isinstance(launch.tasks, RecordedTasks):
                group.start_soon(launch.tasks.read, engine.tasks_arrived)
            causes = await stalled.watch(engine, launch.wait, watch.standstill, watch.answering)

    watchdog = Watchdog(engine, storage, watch.warn) if isinstance(engine.clock, WallClock) else nullcontext()
    with capture(), watchdog:
        try:
            state = await engine.run(first, watch.control, beside)
        finally:
            with anyio.CancelScope(shield=True):
                engine.abandoned += await runners.close(watch.warn or warn_in_log)
    return state, causes


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
    """The number of tasks, where they were counted before the run starts."""
    if launch.tasks is None:
        return 1
    counted = launch.source.get("total")
    if isinstance(counted, int):
        return counted
    return len(launch.tasks) if isinstance(launch.tasks, Sized) else None


def source_of(launch: Launch, opened: int) -> Iterator[Mapping[str, Data]]:
    """The tasks not opened yet, with LATER where one has not arrived."""
    tasks: Iterable[Mapping[str, Data]] = [{}] if launch.tasks is None else launch.tasks
    if isinstance(tasks, RecordedTasks):
        left: Iterator[Mapping[str, Data]] = tasks
    else:
        left = tasks.after(opened) if isinstance(tasks, TaskList) else islice(tasks, opened, None)
    for task in left:
        if task is LATER:
            yield task
        else:
            yield complete(launch.definition, {**launch.inputs, **task, **launch.overlay})
