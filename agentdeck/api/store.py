"""A store, for programs: its runs, and what is recorded of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from agentdeck.api.answering import Answers
from agentdeck.api.arguments import Kind, checked, one_of
from agentdeck.api.execution import RunOptions
from agentdeck.api.records import task_of, tasks_in_order
from agentdeck.api.run import Run
from agentdeck.documents.result import StepResult, TaskResult
from agentdeck.documents.run import RunStatus, Summary
from agentdeck.documents.run_event import RunEvent
from agentdeck.documents.step import Letter, LogLine, Step
from agentdeck.errors import StoreError, UsageError
from agentdeck.insight.step import recorded_story
from agentdeck.insight.summary import summary
from agentdeck.operations.letters import letter_document
from agentdeck.operations.recorded_run import STATES, load_run
from agentdeck.operations.results import log_line, run_status, task_result
from agentdeck.operations.settings import database
from agentdeck.operations.step_page import step_document
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.letters import STATES as LETTER_STATES
from agentdeck.store.reader import Reader

ROW = Kind("a RunStatus, the last of the page before", lambda value: isinstance(value, RunStatus))
#: Rows that are read together.
PAGE = 500


@checked()
def open_store(path: str | Path | None = None) -> Store:
    """The store in a file; without a path the one that `agentdeck` uses (`AGENTDECK_DB`, or your data folder):

        async with agentdeck.open_store("orders.db") as store:
            for run in await store.runs(state="failed"):
                print(run.run, run.tasks.failed)

    A file that does not exist yet is a store without runs. Raises StoreError for a folder.
    """
    return Store(database(None) if path is None else Path(path))


class Store:
    """A store, open for reading. `run` in its methods is a run's id, the beginning of one, or `last`.

    Opened by `open_store`. Reading it never blocks the processes that write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = AsyncReader(path)

    async def __aenter__(self) -> Store:
        if self.path.is_dir():
            raise StoreError(f"{self.path}: this is a folder; name the file of a store")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close it. Its runs (`Run`) stay usable."""
        await self._reader.close()

    # Runs

    @checked(state=one_of(STATES), before=ROW)
    async def runs(
        self,
        limit: int = 50,
        *,
        workflow: str | None = None,
        state: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        before: RunStatus | None = None,
    ) -> list[RunStatus]:
        """The newest runs that match, the newest first. `before` is the last one of the page before. `since` and
        `until` bound their start: a datetime (local time, where it names no zone), or seconds since the epoch.
        `text` is searched in id, workflow, tags and file."""
        rows = await self._reader.read(
            Reader.runs,
            limit,
            before=None if before is None else (before.started, before.run),
            workflow=workflow,
            state=state,
            tag=tag,
            text=text,
            since=_seconds(since),
            until=_seconds(until),
        )
        return [run_status(row) for row in rows]

    @checked()
    async def run(
        self,
        run: str = "last",
        *,
        wait: bool = False,
        answers: Answers | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Run:
        """The handle of a run, to ask it, steer it, wait for it, or go on with it.

        The other arguments are for `Run.resume` and `Run.retry_failed`, which execute it in this process: `wait`
        and `answers` as in `Workflow.run`; `functions` are those of its agents by name (`Workflow.functions`),
        where they are not those of its Python file.
        """
        row = await self._reader.read(Reader.run, run)
        return Run(row.run, self.path, RunOptions(wait, answers, tags=row.tags), functions)

    @checked()
    async def summary(self, run: str = "last") -> Summary:
        """A run as far as it has come: what `agentdeck show --json` prints."""
        return await self._reader.read(_summary, run)

    @checked()
    async def results(self, run: str = "last") -> AsyncIterator[TaskResult]:
        """Each task of a run, as it is now, in the order of the tasks. They are read a page at a time."""
        row = await self._reader.read(Reader.run, run)
        async for task in tasks_in_order(self.path, row.run):
            yield task

    @checked()
    async def task(self, run: str, task: int | str) -> TaskResult:
        """One task of a run, as it is now. Raises UsageError where it was not opened."""
        row = await self._reader.read(Reader.run, run)
        found = await task_of(self.path, row.run, str(task))
        if found is None:
            raise UsageError(f"{row.run} has no task {task}; its tasks are numbered from 1")
        return task_result(found)

    @checked()
    async def steps(self, run: str = "last", task: int | str = "1") -> dict[str, StepResult]:
        """The steps of a task by name, as they are now."""
        return (await self.task(run, task)).steps

    @checked()
    async def step(self, run: str, task: int | str, step: str) -> Step:
        """All about one step: what it read, what it was asked to do, its attempts, its output."""
        return step_document(await self._reader.read(recorded_story, run, str(task), step))

    # Records

    @checked(state=one_of((*LETTER_STATES, None)))
    async def dead_letters(
        self, run: str | None = None, *, state: Literal["open", "retried", "closed", "dropped"] | None = "open"
    ) -> AsyncIterator[Letter]:
        """The steps that failed for good, the oldest first; of one run or of all. `state` None: of every
        state."""
        name = None if run is None else (await self._reader.read(Reader.run, run)).run
        after = 0
        while page := await self._reader.read(Reader.letters, name, state=state, after=after, limit=PAGE):
            for letter in page:
                yield letter_document(letter)
            after = page[-1].id

    @checked()
    async def events(self, run: str = "last", *, after: int = 0) -> AsyncIterator[RunEvent]:
        """The events of a run after the one with this number, as far as they are recorded. `Run.events` waits for
        those that come."""
        name = (await self._reader.read(Reader.run, run)).run
        while page := await self._reader.read(_raw_events, name, after):
            for row in page:
                yield RunEvent.model_construct(**row)
            after = page[-1]["seq"]

    @checked()
    async def logs(
        self, run: str = "last", *, agent: str | None = None, task: int | str | None = None, after: int = 0
    ) -> AsyncIterator[LogLine]:
        """What agents logged, in order; of an agent, of a task, after the line with this id."""
        name = (await self._reader.read(Reader.run, run)).run
        of = None if task is None else str(task)
        while page := await self._reader.read(Reader.logs, name, agent=agent, task=of, after=after, limit=PAGE):
            for line in page:
                yield log_line(name, line)
            after = page[-1].id


def _seconds(moment: datetime | float | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else moment


def _summary(reader: Reader, run: str) -> Summary:
    row, definition, view = load_run(reader, run)
    return summary(view, definition).model_copy(update={"state": row.state})


def _raw_events(reader: Reader, run: str, after: int) -> list[dict[str, Any]]:
    return list(reader.raw_events(run, after, PAGE))
