"""Resumes a run that no process executes: folds its log, and continues from that state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agentdeck.engine.author import current_author
from agentdeck.engine.clock import WallClock
from agentdeck.engine.launch import (
    ITERATOR,
    OVERLAY,
    TASKS,
    Launch,
    Outcome,
    Watch,
    check_places,
    check_yes,
    drive,
    programs,
)
from agentdeck.engine.observers import Warn, warn_in_log
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.run_places import RunPlaces, connected_places
from agentdeck.engine.run_storage import LEASE, NESTED, RunStorage
from agentdeck.engine.source_hashes import accepted, changed_files, note_changes, refuse_changes
from agentdeck.engine.task_feed import RecordedTasks
from agentdeck.errors import UsageError
from agentdeck.processes.ending import end
from agentdeck.providers.registry import check_deck
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.commands import refuse_commands
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.runs import (
    Holding,
    holding_of,
    processes_of,
    remove_processes,
    set_options,
    set_run,
    take_lease,
)
from agentdeck.store.tasks import recorded
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import WORKERS, Deck, deck_for
from agentdeck.workflow.model import Data, Definition, restored

#: Seconds between two checks of a lease that may have expired.
LOOK = 0.5
#: Seconds to wait for the process of a run that has ended, which closes what its agents shared, and between two
#: checks of it.
CLOSING = 20.0
CLOSED = 0.05


@dataclass(frozen=True, slots=True)
class Resume:
    """The run to resume, and what the store does not hold: functions given as objects, and the tasks of a run of
    version 0.1. `accept`: continue although files that the run depends on have changed."""

    run: str
    db: Path
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    tasks: Callable[[RunRow], Iterable[Mapping[str, Data]] | None] | None = None
    yes: bool = False
    author: ev.Author | None = None
    wait: bool = True
    accept: bool = False


def definition_of(reader: Reader, row: RunRow) -> Definition:
    """The workflow as it was when the run began."""
    return restored(reader.definition(row.identity))


def nested_of(reader: Reader, row: RunRow) -> dict[str, Definition]:
    """The sub-workflows by their path, as they were when the run began."""
    return {path: restored(reader.definition(one)) for path, one in (row.options.get(NESTED) or {}).items()}


async def resume(wanted: Resume, watch: Watch | None = None, again: ReopenRequest | None = None) -> Outcome:
    """Continue a run whose owner died or drained; with `again`, also one that has ended. Recorded results are
    reused; attempts that were running are recorded as lost. Raises UsageError where another process executes the
    run, where it has ended, or where a place of its agents refuses it."""
    watch = watch or Watch()
    async with AsyncReader(wanted.db) as store:
        row = await _released(store, await _observed(store, wanted.run))
        if row.state in ("running", "paused"):
            raise UsageError(f"{row.run} is running in process {row.pid} on {row.host}")
        if row.state not in ("interrupted", "drained") and again is None:
            raise UsageError(
                f"{row.run} has ended ({row.state}); to retry what failed: agentdeck retry {row.run}"
            )
        definition = await store.read(definition_of, row)
        changes = changed_files(row)
        if again is None and not wanted.accept:
            refuse_changes(row, changes)
        storage = RunStorage(wanted.db)
        try:
            folder = Path(str(row.source.get("folder") or "."))
            deck = deck_for(folder)
            nested = await store.read(nested_of, row)
            program = programs(definition, folder, {}, nested)
            check_deck(deck, program.definitions())
            check_places(deck, program.definitions())
            yes = wanted.yes or bool(row.options.get("yes"))
            check_yes(yes, program.definitions())
            before = await _take(storage, row)
            if before is None:
                now_held = await store.read(Reader.run, row.run)
                by = f"process {now_held.pid} on {now_held.host}" if now_held.pid else "another process"
                raise UsageError(
                    f"{row.run} was resumed just now by {by}; follow it with: agentdeck watch {row.run}"
                )
            storage.holds(row.run)
            await _end_leftovers(storage, row.run, watch.warn)
            async with _connected(storage, before, deck, program, folder, row.run, watch) as places:
                reach_fault_point("lease.taken")
                scheduler, view, last = await store.read(_fold, row, definition, nested, again)
                reach_fault_point("resume.folded")
                clock, author = WallClock(), wanted.author or current_author("api")
                who = author.text
                launch = Launch(
                    definition,
                    folder,
                    view.inputs,
                    await _tasks(store, row, view, scheduler.state.opened, wanted, again),
                    scheduler.state.workers,
                    wanted.functions,
                    wanted.db,
                    row.source,
                    yes,
                    author,
                    wait=wanted.wait,
                    overlay=row.options.get(OVERLAY) or {},
                )
                now = clock.now()
                reopened = again.events(now, who) if again is not None else ()
                resumed = ev.RunResumed(now, max(0.0, now - last), who)
                noted = [note_changes(now, changes, author)] if changes else []
                if changes:
                    storage.log.call(partial(set_options, run=row.run, options=accepted(row)))
                first = ev.Batch(now, (resumed, *noted, *reopened))
                return await drive(launch, scheduler, view, storage, clock, first, watch, deck, places)
        finally:
            storage.close()


@asynccontextmanager
async def _connected(
    storage: RunStorage, before: Holding, deck: Deck, program: Program, folder: Path, run: str, watch: Watch
) -> AsyncIterator[RunPlaces]:
    """The places of a run whose lease was taken. Where one refuses, the run is left as it was `before`."""
    warn, children = watch.warn or warn_in_log, storage.children(run)
    async with AsyncExitStack() as stack:
        holding = asyncio.create_task(storage.hold_on(run))
        try:
            places = await stack.enter_async_context(connected_places(deck, program, folder, run, children, warn))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await storage.leave(run, before)
            raise
        finally:
            holding.cancel()
        yield places


async def _observed(store: AsyncReader, run: str) -> RunRow:
    """The run's row. A lease of another machine that has expired by this machine's clock is observed until it is
    renewed or known to have expired."""
    row = first = await store.read(Reader.run, run)
    while (
        row.state in ("running", "paused")
        and row.lease_until == first.lease_until
        and row.owner == first.owner
        and (row.lease_until or 0.0) < time.time()
        and not row.is_local
    ):
        await anyio.sleep(LOOK)
        row = await store.read(Reader.run, row.run)
    return row


async def _released(store: AsyncReader, row: RunRow) -> RunRow:
    """The run's row. Where its process has recorded the end of the run and holds it still, once that process has
    released it."""
    end = time.monotonic() + CLOSING
    while (
        row.state in ("running", "paused")
        and not await store.read(Reader.takes_commands, row)
        and time.monotonic() < end
    ):
        await anyio.sleep(CLOSED)
        row = await store.read(Reader.run, row.run)
    return row


async def _tasks(
    store: AsyncReader, row: RunRow, view: RunView, opened: int, wanted: Resume, again: ReopenRequest | None
) -> Iterable[Mapping[str, Data]] | None:
    """The launched tasks, from the store; those after the first `opened`. A run of version 0.1 has none there and
    reads its file again. Raises UsageError where they came from an iterator of a Python program that was not
    exhausted."""
    if view.tasks.total is not None:
        return []
    if await store.read(recorded, row.run) is not None:
        return RecordedTasks(store, row.run, opened)
    if row.options.get(TASKS) != ITERATOR:
        return wanted.tasks(row) if wanted.tasks is not None else None
    if again is None and not wanted.accept:
        raise UsageError(
            f"the tasks of {row.run} came from an iterator in a program; {view.tasks.opened:,} of them were "
            f"taken, the others are not recorded (those of a list are). To continue with the "
            f"{view.tasks.opened:,} alone: agentdeck resume {row.run} --accept-changes"
        )
    return []


async def _take(storage: RunStorage, row: RunRow) -> Holding | None:
    """Take the lease, in one transaction: of two processes that resume the same run, one succeeds. Returns the
    state and the lease that the run had; None where another process has it."""
    now = time.time()
    owner = storage.owner

    def take(db: Any) -> Holding | None:
        before = holding_of(db, row.run)
        taken = take_lease(db, row.run, owner, now + LEASE, now)
        if taken:
            set_run(db, row.run, state="running")
            refuse_commands(db, row.run, now, f"{row.run} was interrupted before its launch was recorded")
        return before if taken else None

    return await storage.call(take)


async def _end_leftovers(storage: RunStorage, run: str, warn: Warn | None) -> None:
    """End the processes that agents of the last owner started and that outlived it, as their steps run again."""
    groups = await storage.call(lambda db: processes_of(db, run))
    if not groups:
        return
    ended = await anyio.to_thread.run_sync(end, groups)
    await storage.call(lambda db: remove_processes(db, run))
    if ended and warn is not None:
        warn(f"ended {ended} {'process' if ended == 1 else 'processes'} that agents of {run} left running")


def _fold(
    reader: Reader,
    row: RunRow,
    definition: Definition,
    nested: Mapping[str, Definition],
    again: ReopenRequest | None,
) -> tuple[Scheduler, RunView, float]:
    """The state from the log, and when a process last executed the run: an owner that only waited renewed its
    lease too. Ended tasks are kept where steps of them are reopened."""
    folder = Path(str(row.source.get("folder") or "."))
    seconds = reader.seconds_elsewhere(definition, str(folder)) | reader.durations(definition.name, str(folder))
    program = programs(definition, folder, seconds, nested)
    workers = row.options.get("workers")
    roots = again.roots if again is not None else set()
    scheduler = Scheduler(
        program,
        run=row.run,
        workers=workers if isinstance(workers, int) else WORKERS,
        gated=True,
        keep=reader.reopened(row.run) | roots,
    )
    view, last = RunView(definition), max(row.started, (row.lease_until or 0.0) - LEASE)
    for seq, event in reader.events(row.run):
        scheduler.apply(event)
        view.apply(seq, event)
        last = max(last, event.at)
    scheduler.forget(roots)
    return scheduler, view, last
