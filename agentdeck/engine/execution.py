"""Executes a run with the engine and what goes on beside it: observers, the lease, the look for a stalled run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agentdeck.agents.output_capture import capture
from agentdeck.engine import stalled
from agentdeck.engine.agent_runners import AgentRunners
from agentdeck.engine.clock import WallClock
from agentdeck.engine.engine import Engine
from agentdeck.engine.observer_feed import ObserverFeed
from agentdeck.engine.observers import ObserverContext, factories, warn_in_log
from agentdeck.engine.run_control import RunControl
from agentdeck.engine.run_owner import hold
from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.stalled import StallCause
from agentdeck.engine.task_feed import RecordedTasks
from agentdeck.engine.watchdog import Watchdog
from agentdeck.errors import StoreError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler

if TYPE_CHECKING:
    from agentdeck.engine.launch import Launch, Watch

#: Seconds after which attempts that ignore their cancellation are abandoned. A place on a cluster takes two to
#: say that a worker does not answer.
PATIENCE = 2.5


@asynccontextmanager
async def observers_of(
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


async def execute(
    engine: Engine,
    runners: AgentRunners,
    storage: RunStorage,
    first: ev.Event | ev.Signal,
    watch: Watch,
    launch: Launch,
) -> tuple[str, tuple[StallCause, ...]]:
    """Run the engine with all that goes on beside it. Returns the run's state, and why it was stopped."""
    causes: tuple[StallCause, ...] = ()

    def report(make: Callable[[float], ev.Event]) -> None:
        if not engine.finished:
            engine.feed(make(engine.clock.now()))

    async def beside() -> None:
        nonlocal causes
        runners.places.begin(report)
        async with anyio.create_task_group() as group:
            if storage.durable:
                group.start_soon(hold, engine, storage)
            if isinstance(launch.tasks, RecordedTasks):
                group.start_soon(launch.tasks.read, engine.tasks_arrived)
            causes = await stalled.watch(engine, launch.wait, watch.standstill, watch.answering)

    watchdog = Watchdog(engine, storage, watch.warn) if isinstance(engine.clock, WallClock) else nullcontext()
    with capture(), watchdog:
        try:
            state = await run_engine(engine, first, watch.control, beside)
        finally:
            with anyio.CancelScope(shield=True):
                engine.abandoned += await runners.close(watch.warn or warn_in_log)
    return state, causes


async def run_engine(
    engine: Engine,
    first: ev.Event | ev.Signal,
    control: RunControl | None,
    beside: Callable[[], Coroutine[Any, Any, None]],
) -> str:
    """Run until the scheduler has finished, and return the run's final state. `beside` runs at the same time.

    Everything recorded has been handed to the log when this returns; the caller flushes it.
    """
    try:
        async with anyio.create_task_group() as group:
            engine.begin(group, first, control, beside)
            await engine.wait()
            group.cancel_scope.cancel()
    finally:
        workers = engine.cancel_workers()
        if workers:
            await asyncio.wait(workers, timeout=PATIENCE)
        engine.abandoned = len(workers)
    return engine.end()
