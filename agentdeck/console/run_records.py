"""What the store has recorded of one run, read on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from agentdeck.scheduler.events import Event
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import Reader
from agentdeck.views.run_view import RunView

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agentdeck.operations.questions import StepQuestion
    from agentdeck.operations.retry import RetryOffer
    from agentdeck.views.step_story import StepStory
    from agentdeck.workflow.model import Definition

P = ParamSpec("P")
T = TypeVar("T")

MAX_EVENTS = 200_000  # events that the timeline is drawn from


class RunRecords:
    """Reads events, steps and questions of a run. Each read has a connection of its own: one that takes long, as
    all events of a large run do, delays no other. Raises StoreError where the store cannot be read."""

    def __init__(self, db: Path, run: str) -> None:
        self.db, self.run = db, run
        self._ended_view: tuple[str, RunView] | None = None
        self._nested: dict[str, Definition] | None = None

    async def _read(self, query: Callable[Concatenate[Reader, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with AsyncReader(self.db) as store:
            return await store.read(query, *args, **kwargs)

    def story(self, task: str, step: str) -> Callable[[], Awaitable[StepStory]]:
        """Reads everything that was recorded of one step; called again, what was added to it."""
        known: StepStory | None = None

        async def read() -> StepStory:
            nonlocal known
            known = await self._read(_story, self.run, task, step, known)
            return known

        return read

    async def events(self, task: str) -> list[tuple[int, Event]]:
        """The events of a task by number, without inner steps; of the whole run for an empty name."""
        return await self._read(_events, self.run, task)

    async def lanes(self, task: str, step: str, after: int) -> list[tuple[int, Event]]:
        """The events of the inner steps of a step after number `after`, and of their attempts."""
        return await self._read(_lanes, self.run, task, step, after)

    async def question(self, task: str, step: str) -> StepQuestion | None:
        """What a step asks; None where version 0.1 did not record the sub-workflow that says so."""
        return await self._read(_question, self.run, task, step)

    async def retry_options(self, task: str = "", agent: str = "", step: str = "") -> RetryOffer:
        """What of this selection can be retried."""
        from agentdeck.operations.retry import retry_options

        return await self._read(retry_options, self.run, task, agent, step)

    async def ended_view(self, task: str) -> RunView:
        """A view of one ended task, folded from its own events. The last one is cached."""
        if self._ended_view is None or self._ended_view[0] != task:
            self._ended_view = task, await self._read(_task_view, self.run, task)
        return self._ended_view[1]

    async def nested(self) -> dict[str, Definition]:
        """The sub-workflows of the run by their path. They stay as they were when it began."""
        if self._nested is None:
            self._nested = await self._read(_nested, self.run)
        return self._nested


def _story(reader: Reader, run: str, task: str, step: str, known: StepStory | None) -> StepStory:
    from agentdeck.insight.step import continue_story, recorded_story

    if known is None:
        return recorded_story(reader, run, task, step)
    continue_story(reader, known)
    return known


def _events(reader: Reader, run: str, task: str) -> list[tuple[int, Event]]:
    events = reader.outer_events(run, limit=MAX_EVENTS)
    return [(seq, e) for seq, e in events if not task or getattr(e, "task", "") == task]


def _question(reader: Reader, run: str, task: str, step: str) -> StepQuestion | None:
    from agentdeck.operations.questions import question_of

    return question_of(reader, reader.run(run), step, task)


def _lanes(reader: Reader, run: str, task: str, step: str, after: int) -> list[tuple[int, Event]]:
    from agentdeck.views.inner_lanes import KINDS

    return list(reader.step_events(run, task, step, KINDS, after))


def _task_view(reader: Reader, run: str, task: str) -> RunView:
    from agentdeck.operations.recorded_run import task_view
    from agentdeck.workflow.model import restored

    row = reader.run(run)
    return task_view(reader, row, restored(reader.definition(row.identity)), task)


def _nested(reader: Reader, run: str) -> dict[str, Definition]:
    from agentdeck.engine.resume import nested_of

    return nested_of(reader, reader.run(run))
