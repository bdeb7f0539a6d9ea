"""Launches a run: from a definition to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agentdeck.engine.adaptive_mode import AdaptiveMode
from agentdeck.engine.agent_runners import AgentRunners
from agentdeck.engine.author import current_author
from agentdeck.engine.clock import Clock, WallClock
from agentdeck.engine.engine import Engine
from agentdeck.engine.execution import execute, observers_of
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.observers import Observer, Warn, warn_in_log
from agentdeck.engine.run_control import RunControl
from agentdeck.engine.run_places import RunPlaces, connected_places
from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.searched_order import searched_order
from agentdeck.engine.source_hashes import FILES, files_of
from agentdeck.engine.stalled import Answering, StallCause
from agentdeck.engine.task_feed import TaskFeed
from agentdeck.engine.task_source import given_tasks, record_tasks, source_of
from agentdeck.errors import UsageError
from agentdeck.gateway.model_names import calls_of, uses_gateway
from agentdeck.limits.provider_limits import all_in_deck_notation, caps_of
from agentdeck.providers.registry import check_deck
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import required
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.reader import means
from agentdeck.store.runs import new_run
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import WORKERS, Deck, deck_for
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Approve, Data, Definition, SubWorkflow
from agentdeck.workflow.place_types import unknown_place, with_slots
from agentdeck.workflow.wording import likely_fix

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
    task. `known` gives, for the time of the start, events that follow it: the task, and steps of it that have
    ended already."""

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
    known: Callable[[float], Sequence[ev.Event]] | None = None


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


def programs(
    definition: Definition,
    folder: Path,
    seconds: Mapping[str, float],
    stored: Mapping[str, Definition] | None = None,
    above: str = "",
    deck: Deck | None = None,
) -> Program:
    """The program of a workflow, of all its sub-workflows, and of the calls that its agents make through the
    gateway: as `stored` when a run began, by their path (`review`, `review/security`), else from their files and
    the `deck`, with the slots of its places."""
    nested = {}
    for name, agent in definition.agents.items():
        calls = (stored or {}).get(f"{above}{name}")
        if stored is None and deck is not None and uses_gateway(deck, agent):
            calls = calls_of(deck)
        if calls is not None and agent.does.holds_worker:
            nested[name] = Program(calls)
        if isinstance(agent.does, SubWorkflow):
            file, path = folder / agent.does.file, f"{above}{name}"
            kept = (stored or {}).get(path)
            if kept is not None:
                found = replace(kept, folder=file.parent)
            else:
                found = load(file).definition if deck is None else with_slots(load(file).definition, deck)
            nested[name] = programs(found, found.folder or file.parent, {}, stored, f"{path}/", deck)
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
        deck, name = deck_for(launch.folder), launch.run or new_run()
        definition = with_slots(launch.definition, deck)
        author = launch.author or current_author("api")
        launch = replace(launch, definition=definition, author=author)
        samples = await storage.samples(definition, launch.folder)
        elsewhere = await storage.seconds_elsewhere(definition, launch.folder)
        program = programs(definition, launch.folder, elsewhere | means(samples), deck=deck)
        check_deck(deck, program.definitions())
        check_places(deck, program.definitions())
        check_yes(launch.yes, program.definitions())
        check_resources(program)
        most = deck.workers or WORKERS
        workers = launch.workers or min(definition.limits.workers or most, most)
        watch = watch or Watch()
        warn, children = watch.warn or warn_in_log, storage.children(name)
        async with connected_places(deck, program, launch.folder, name, children, warn) as places:
            scheduler = Scheduler(program, run=name, workers=workers, gated=storage.durable)
            alone = launch.tasks is None  # the tasks of a run start by age, so that they end early
            order = await searched_order(definition, samples, workers, name) if alone else ()
            started = ev.RunStarted(
                clock.now(),
                name,
                definition.name,
                definition.identity if storage.durable else "",
                dict(launch.inputs),
                {"workers": workers, **program.resources(), **all_in_deck_notation(caps_of(deck, definition))},
                author.text,
                tasks=given_tasks(launch),
                order=order,
            )
            source = {"folder": str(launch.folder.resolve()), **launch.source}
            view = RunView(definition)
            first: ev.Event | ev.Signal = started
            recorded: tuple[ev.Event, ...] = ()
            known = launch.known(started.at) if launch.known is not None else ()
            rest = await record_tasks(launch.tasks, storage, name)
            if storage.durable:
                files = files_of(program, launch.folder, launch.functions)
                options = {"workers": workers, "yes": launch.yes, **({FILES: files} if files else {})}
                if launch.tasks is not None and rest is None:
                    options[TASKS] = ITERATOR
                below = dict(program.below())
                storage.begin(started, definition, source, options, launch.tags, below, rest, known)
                reach_fault_point("run.created")
            if storage.durable or known:
                recorded = (started, *known)
                for event in recorded:
                    scheduler.apply(event)
                    view.apply(scheduler.state.seq, event)
                first = ev.Committed(started.at, len(recorded)) if known else ev.TimerFired(started.at)
            return await drive(launch, scheduler, view, storage, clock, first, watch, deck, places, recorded)
    finally:
        storage.close()


async def drive(
    launch: Launch,
    scheduler: Scheduler,
    view: RunView,
    storage: RunStorage,
    clock: Clock,
    first: ev.Event | ev.Signal,
    watch: Watch,
    deck: Deck,
    places: RunPlaces,
    recorded: Sequence[ev.Event] = (),
) -> Outcome:
    """Execute a run with a new or restored scheduler, from the `first` event to its end. `recorded` are events
    that the scheduler has and the observers have not."""
    runners = AgentRunners(launch, scheduler, clock, deck, places)
    adaptive: AdaptiveMode | None = None
    if scheduler.state.program.definition.mode == "adaptive":
        adaptive = AdaptiveMode(await storage.work(view.workflow, launch.folder), scheduler)
        if scheduler.state.seq <= 1:
            first = ev.Batch(first.at, (first, adaptive.first(first.at)))
    async with observers_of(scheduler, storage, watch, recorded) as observers:
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
            calls=runners.calls if scheduler.has_calls else None,
        )
        runners.calls.feed = engine.feed
        runners.record_headers = engine.reservations.record_headers
        if isinstance(launch.tasks, TaskFeed):
            launch.tasks.attach(engine.tasks_arrived)
        storage.attach(engine.committed, engine.fault)
        first = places.with_early(first)
        state, causes = await execute(engine, runners, storage, first, watch, launch)
        reach_fault_point("run.ended")
        work = adaptive.work_of_tasks if adaptive is not None else ()
        with anyio.CancelScope(shield=True):  # in a thread: large results may still have to be written
            await anyio.to_thread.run_sync(storage.end, scheduler.state.run, state, view, work)
        if engine.source_error is not None:
            raise engine.source_error
        return Outcome(scheduler.state.run, state, view, engine.abandoned, causes if state == "drained" else ())


def check_resources(program: Program) -> None:
    """Raises UsageError where an agent uses a resource without a limit, or more than there is of it: `check`
    knows neither `--set` nor the limits of the workflow above a sub-workflow."""
    limits = program.resources()
    for above, one in [("", program.definition), *((f"{path}/", below) for path, below in program.below())]:
        for name, agent in one.agents.items():
            for resource, amount in agent.uses.items():
                if resource not in limits:
                    fix = likely_fix(resource, limits) or f"add it to limits: {{ {resource}: {amount} }}"
                    raise UsageError(f"{above}{name} uses {resource}, which has no limit; {fix}")
                if amount > limits[resource]:
                    raise UsageError(
                        f"{above}{name} uses {amount} of {resource}, and its limit is {limits[resource]}; "
                        f"raise it with --set limits.{resource}={amount}"
                    )


def check_places(deck: Deck, found: Iterable[Definition]) -> None:
    """Raises UsageError where an agent has a place that is not in the deck."""
    for one in found:
        for name, agent in one.agents.items():
            if unknown := unknown_place(agent.place, deck):
                raise UsageError(f"{name}: {'; '.join(unknown)}")


def check_yes(yes: bool, found: Iterable[Definition]) -> None:
    """Raises UsageError where --yes would have to answer an approval with a field that has no default."""
    for one in found if yes else ():
        for name, agent in one.agents.items():
            if isinstance(agent.does, Approve) and (lacking := required(agent.does)):
                raise UsageError(
                    f"--yes cannot answer {name}: it needs a value for {', '.join(lacking)}; "
                    f"give it a default ({lacking[0]}: {{type: …, default: …}}), or answer without --yes"
                )
