"""What the store has of a run, read while the run may still go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from math import inf
from pathlib import Path
from typing import NamedTuple, TypeAlias

import anyio

from agentdeck.documents.result import Result, TaskResult
from agentdeck.operations.recorded_run import LIVE, load_run
from agentdeck.operations.results import has_one_task, run_result, task_result
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import root_of
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader
from agentdeck.store.task_outcomes import collect, page, task_outcome
from agentdeck.views.task_outcome import TaskOutcome, TaskOutcomes

#: Seconds between two looks at a run of another process.
POLL = 0.1
#: Events that are read together: their outputs are in memory at once.
PAGE = 100

Numbered: TypeAlias = tuple[int, ev.Event]


class News(NamedTuple):
    """What a reader waits for that has read everything: `more` is set when there is more, or the run is over. It
    is None where this process does not execute the run. `last` is the last event that the run's handle has taken:
    readers see no later one, so that a question that they read of is among `Run.questions`."""

    more: asyncio.Event | None
    over: bool = False
    last: float = inf


async def follow(db: Path, run: str, after: int, news: Callable[[], News]) -> AsyncIterator[Numbered]:
    """The events after a number, in order, until the run is over."""
    async with AsyncReader(db) as store:
        while True:
            more, over, last = news()  # before reading, so that nothing is missed between the two
            if more is None:
                over = (await store.read(Reader.run, run)).state not in LIVE
            found = await store.read(_events, run, after, last)
            for numbered in found:
                yield numbered
                after = numbered[0]
            if found:
                continue
            if over:
                return
            with anyio.move_on_after(POLL if more is None else None):
                await (asyncio.Event() if more is None else more).wait()


def _events(reader: Reader, run: str, after: int, last: float) -> list[Numbered]:
    return list(reader.events(run, after, int(min(PAGE, max(0, last - after)))))


async def ended_tasks(db: Path, run: str, events: AsyncIterator[Numbered]) -> AsyncIterator[TaskResult]:
    """The result of each task when it has ended; again where it was reopened and ends again."""
    outcomes = TaskOutcomes()
    async with AsyncReader(db) as store:
        async for seq, event in events:
            if type(event) is ev.StepReopened and (root := root_of(event.task)) not in outcomes.open:
                outcomes.open[root] = await store.read(_until, run, root, seq)
            outcome = outcomes.apply(event)
            if outcome is not None:
                yield task_result(outcome)


def _until(reader: Reader, run: str, task: str, seq: int) -> TaskOutcome:
    """A task as it was before an event."""
    outcome = TaskOutcome(task)
    for event in reader.events_of(run, [task], before=seq):
        outcome.apply(event)
    return outcome


async def tasks_in_order(db: Path, run: str) -> AsyncIterator[TaskResult]:
    """Each task that was opened, as it is now, in the order of the tasks."""
    async with AsyncReader(db) as store:
        await store.read(collect, run)
        after: int | None = 0
        while after is not None:
            tasks, after = await store.read(page, run, after)
            for outcome in tasks:
                yield task_result(outcome)


async def task_of(db: Path, run: str, task: str) -> TaskOutcome | None:
    """One task as it is now; None where it was not opened."""
    async with AsyncReader(db) as store:
        return await store.read(task_outcome, run, task)


async def result_at_end(db: Path, run: str) -> Result:
    """The result of a run that another process executes, or that is over. Waits for its end."""
    async with AsyncReader(db) as store:
        while (await store.read(Reader.run, run)).state in LIVE:  # noqa: ASYNC110 - another process changes it
            await anyio.sleep(POLL)
        return await store.read(_result, run)


def _result(reader: Reader, run: str) -> Result:
    row, definition, view = load_run(reader, run)
    outcome = task_outcome(reader, run, "1") if has_one_task(view) else None
    return run_result(view, definition, row.state, outcome)
