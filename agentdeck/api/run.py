"""The handle of a run: of this process, or of another one that uses the same store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from agentdeck.api.answering import answer_command
from agentdeck.api.arguments import Kind, checked
from agentdeck.api.execution import Execute, Execution, RunOptions
from agentdeck.api.failures import RunBlocked, RunFailed
from agentdeck.api.memory import RunMemory
from agentdeck.api.records import News, ended_tasks, follow, result_at_end, task_of, tasks_in_order
from agentdeck.command_hint import with_db
from agentdeck.documents.question import Question
from agentdeck.documents.result import Result, TaskResult
from agentdeck.documents.run import RunStatus
from agentdeck.documents.run_event import RunEvent
from agentdeck.engine.author import current_author
from agentdeck.engine.launch import Outcome
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.stalled import stopped
from agentdeck.errors import UsageError
from agentdeck.operations import commands
from agentdeck.operations.commands import RunCommand
from agentdeck.operations.questions import recorded_questions
from agentdeck.operations.recorded_run import LIVE
from agentdeck.operations.results import has_one_task, live_status, run_result, run_status
from agentdeck.operations.resume import prepare_resume
from agentdeck.operations.retry import plan_failed
from agentdeck.scheduler.events import Event
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.codec import plain_row
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Data

QUESTION = Kind("one of questions(), or the name of a step", lambda value: isinstance(value, Question | str))
#: Questions that an error names.
NAMED = 3


class Run:
    """A run that was started, or one in a store.

    `Workflow.start` makes it, or `Store.run`. All of it can be asked and steered while the run executes, in this
    process or in another one that uses the same store:

        async with order.start(text="2 x KB-87", db="orders.db") as run:
            async for event in run.events():
                print(event.kind, event.task, event.step)
            print((await run.result()).output)

    The methods work on asyncio's event loop, on the one where the run was started.
    """

    def __init__(
        self,
        run: str,
        db: Path | None,
        options: RunOptions | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        #: The run's id.
        self.id = run
        #: The file of its store, None where it has none.
        self.db = db
        self._options = options or RunOptions()
        self._functions = functions
        self._memory = RunMemory(run, self._options.keep)  # stays empty where there is a store
        self._execution: Execution | None = None
        self._seen = False  # whether the caller knows how it ends
        self._ended: tuple[Outcome, Result] | None = None  # how it ended here, once that was asked

    def __repr__(self) -> str:
        return f"<Run {self.id}{'' if self.db is None else f' in {self.db}'}>"

    # What it is doing

    async def status(self) -> RunStatus:
        """Its state and its counts of tasks, now."""
        execution = self._execution
        if execution is not None and (self.db is None or not execution.over):
            engine = execution.engine
            return live_status(engine.view, engine.scheduler.state.pause_reason, self._options.tags)
        return run_status(await self._row())

    async def questions(self) -> list[Question]:
        """The questions that wait for an answer, the oldest first."""
        if self._execution is not None and not self._execution.over:
            return self._execution.open_questions()
        if self.db is None:
            return []
        async with AsyncReader(self.db) as store:
            row = await store.read(Reader.run, self.id)
            return await store.read(recorded_questions, row) if row.state in LIVE else []

    @checked()
    async def events(self, after: int = 0) -> AsyncIterator[RunEvent]:
        """Its events in order, from the one with the number `after` + 1, until the run has ended or drained.

        Of a run with a store they are those that are on disk, and a slow reader loses none. Without a store the
        newest 1,000 are remembered, and 20,000 wait for a reader; raises UsageError for one that is further
        behind.
        """
        async for seq, event in self._numbered(after):
            yield RunEvent.model_construct(**plain_row(self.id, seq, event))

    async def results(self) -> AsyncIterator[TaskResult]:
        """The result of each task when the task has ended, until the run has ended or drained. A task that ends
        again after a retry comes again.

        Without a store, raises UsageError for a reader that is more than 20,000 results behind.
        """
        if self.db is not None:
            async for result in ended_tasks(self.db, self.id, self._numbered(0)):
                yield result
            return
        with self._memory.reading_results() as reading:
            while True:
                more, over, _ = self._news()
                page = self._memory.results(reading)
                for result in page:
                    yield result
                if page:
                    continue
                if over or more is None:
                    return
                await more.wait()

    # Steering it

    @checked(question=QUESTION)
    async def answer(
        self,
        question: Question | str,
        answer: bool | Mapping[str, Data] = True,
        *,
        task: int | str | None = None,
    ) -> None:
        """Answer a question: True, False, or a map of the values of its fields, which approves, unless its
        `approved` is False.

        `question` is one of `questions()`, or the name of the step that asks; `task` is needed where that step
        asks in several tasks. Raises UsageError where nothing asks there, or where the answer does not fit.
        """
        step = question if isinstance(question, str) else question.step
        asked_in = _number(task) if isinstance(question, str) else question.task
        await self._send(answer_command(step, asked_in, answer))

    @checked()
    async def set_limit(self, name: str, value: Data) -> None:
        """Change a limit while the run executes: `workers`, `agents.extract.timeout`, `openai.requests`.

        A text is read as `agentdeck limits` reads it: "5s", "80/min". Raises UsageError for a limit that does not
        exist, or a value that is out of its range.
        """
        change = commands.limit_change(f"{name}={value}") if isinstance(value, str) else (name, value)
        await self._send(commands.set_limits(dict([change])))

    @checked()
    async def cancel(self, task: int | str | None = None, step: str | None = None, *, now: bool = False) -> None:
        """Cancel the run, a task of it, or a step. `now` kills programs without a grace period. A run that is
        over stays as it is."""
        command = commands.cancel(_number(task), step, now=now)
        if task is None and step is None:
            await self._end_by(command)
        else:
            await self._send(command)

    async def drain(self) -> None:
        """Let running steps finish and start no others; the run can be resumed. A run that is over stays as it
        is."""
        await self._end_by(commands.drain())

    async def pause(self) -> None:
        """Start no more steps until `unpause`."""
        await self._send(commands.pause())

    async def unpause(self) -> None:
        """Go on after `pause`."""
        await self._send(commands.unpause())

    @checked()
    async def retry_failed(self, *, agent: str | None = None, task: int | str | None = None) -> int:
        """Run the failed steps again, and what depends on them; of one agent, of one task. Returns how many
        failed steps run again, 0 where there are none.

        A run that executes does so at once, in its process. One that is over begins again in this process, and
        `result` waits for its new end. Of two calls at once on a run that is over, one begins it, and the other
        raises UsageError. Needs a store.
        """
        db = self._needs_store("retry")
        async with AsyncReader(db) as store:
            row = await store.read(Reader.run, self.id)
            plan = await store.read(plan_failed, row, agent=agent, task=_number(task))
            executed = await store.read(Reader.takes_commands, row)
        if plan.steps and not (executed and await self._send_to_owner(plan.command, or_run_over=True)):
            await self._resume(db, row, reopened=plan.reopened)
        return len(plan.steps)

    @checked()
    async def resume(self, *, accept_changes: bool = False) -> None:
        """Go on in this process with a run that was interrupted or drained. Needs a store.

        `accept_changes`: also where files that it depends on have changed. Raises UsageError where a process
        executes it, or where it has ended.
        """
        db = self._needs_store("resume")
        await self._resume(db, await self._row(), accept_changes=accept_changes)

    # Its end

    @checked()
    async def result(self, *, check: bool = True) -> Result:
        """Wait for the end of the run, and return its result. Cancelling this does not stop the run.

        With `check`, raises RunFailed where it did not end well: RunBlocked where it stopped, as nothing could go
        on until an operator acts.
        """
        self._seen = True
        self._memory.expect_no_reader()
        if self._execution is None:
            assert self.db is not None
            result = await result_at_end(self.db, self.id)
            outcome = None
        else:
            outcome = await self._execution.outcome()
            result = await self._result_of(outcome)
        result._tasks = self._tasks
        if check and outcome is not None and outcome.causes:
            assert self._execution is not None
            questions = tuple(self._execution.open_questions()[:NAMED])
            raise RunBlocked(self._blocked(outcome, questions), result, questions)
        if check and result.state != "done":
            raise RunFailed(self._failure(result), result)
        return result

    async def wait(self) -> Result:
        """The result, also of a run that did not end well: `result(check=False)`."""
        return await self.result(check=False)

    async def stop(self) -> None:
        """Stop executing the run now, as if the process had died, and wait until no thread and no process of it
        is left. Where it has a store, it can be resumed. (`cancel` ends a run.)"""
        if self._execution is not None:
            await self._execution.stop()

    # Inside

    async def _begin(self, execute: Execute, last: int = 0) -> None:
        """Execute the run in this process, from now on. `last` is its last event so far."""
        earlier = self._execution
        if earlier is not None and not earlier.over:
            raise UsageError(f"{self.id} is executing already: wait for its end (run.result()) before this")
        self._execution = Execution(self.id, self._options, self._memory if self.db is None else None, last)
        try:
            await self._execution.begin(execute)
        except BaseException:
            self._execution = earlier
            raise
        self._seen = False
        self._options = replace(self._options, observers=())  # closed at its end: a retry is not theirs

    async def _resume(
        self, db: Path, row: RunRow, *, reopened: ReopenRequest | None = None, accept_changes: bool = False
    ) -> None:
        prepare = partial(
            prepare_resume,
            db,
            row,
            current_author("api"),
            _report_nothing,
            wait=self._options.wait,
            accept_changes=accept_changes,
            reopened=reopened,
            functions=self._functions,
        )
        prepared = await anyio.to_thread.run_sync(prepare)
        await self._begin(prepared.execute, prepared.view.seq)

    async def _end(self) -> None:
        """Wait for the end. Raises as `result` does, where the caller has not seen how it ends."""
        await self.result(check=not self._seen)

    async def _end_by(self, command: RunCommand) -> None:
        """Send a command that ends the run, which may end by itself meanwhile."""
        self._seen = True
        try:
            await self._send(command)
        except UsageError:
            if not await self._is_over():
                raise

    async def _send(self, command: RunCommand) -> None:
        """Have a command carried out by what executes the run. Raises UsageError where that is not possible."""
        if self._execution is not None and not self._execution.over:
            self._execution.carry_out(command)
        elif self.db is None:
            raise UsageError(f"{self.id} has ended: no process executes it")
        else:
            await self._send_to_owner(command)

    async def _send_to_owner(self, command: RunCommand, *, or_run_over: bool = False) -> bool:
        """Put a command into the store, and wait until the process that executes the run has carried it out.
        Raises UsageError where that is not possible; with `or_run_over`, returns False if the run has ended."""
        assert self.db is not None
        answer = await anyio.to_thread.run_sync(commands.send, self.db, self.id, command, current_author("api"))
        if answer.run_over and or_run_over:
            return False
        if not answer.ok:
            raise UsageError(with_db(answer.text, str(self.db)))
        return True

    async def _row(self) -> RunRow:
        assert self.db is not None
        async with AsyncReader(self.db) as store:
            return await store.read(Reader.run, self.id)

    async def _is_over(self) -> bool:
        if self._execution is not None and not self._execution.over:
            return False
        return self.db is None or (await self._row()).state not in LIVE

    def _needs_store(self, what: str) -> Path:
        if self.db is None:
            raise UsageError(f'{self.id} has no store, which is needed to {what} it: start it with db="runs.db"')
        return self.db

    def _news(self) -> News:
        if self._execution is None or (self._execution.over and self.db is not None):
            return News(None)
        return News(self._execution.news, self._execution.over, self._execution.last)

    async def _numbered(self, after: int) -> AsyncIterator[tuple[int, Event]]:
        """The events after a number with their numbers, until the run is over."""
        if self.db is not None:
            async for numbered in follow(self.db, self.id, after, self._news):
                yield numbered
            return
        with self._memory.reading_events(after) as reading:
            while True:
                more, over, last = self._news()
                page = self._memory.events(reading, last)
                for numbered in page:
                    yield numbered
                if page:
                    continue
                if over or more is None:
                    return
                await more.wait()

    async def _result_of(self, outcome: Outcome) -> Result:
        if self._ended is not None and self._ended[0] is outcome:
            return self._ended[1]
        view = outcome.view
        assert view.definition is not None
        only = None
        if has_one_task(view):
            only = self._memory.newest if self.db is None else await task_of(self.db, self.id, "1")
        result = run_result(view, view.definition, outcome.state, only)
        self._ended = outcome, result
        return result

    def _tasks(self) -> AsyncIterator[TaskResult]:
        return self._memory.in_order() if self.db is None else tasks_in_order(self.db, self.id)

    def _failure(self, result: Result) -> str:
        """What a run did not do well, and why."""
        text = f"{result.workflow}: run {self.id} ended {result.state}"
        if result.state in ("drained", "interrupted"):
            text = f"{result.workflow}: run {self.id} was {result.state} before its end"
            text += "" if self.db is None else f"; continue with run.resume(), or: agentdeck resume {self.id}"
        elif result.error is not None:
            counts = result.summary["tasks"]
            text += f": {result.error.step}: {result.error.message}".replace(": : ", ": ")
            if counts["total"] > 1:
                text += f" ({counts['failed']:,} of {counts['total']:,} tasks failed; result.tasks() has each)"
        return with_db(text, str(self.db) if self.db is not None else "")

    def _blocked(self, outcome: Outcome, questions: tuple[Question, ...]) -> str:
        """Why a run stopped, and how to answer what it asks."""
        why = stopped(self.id, outcome.causes, resumable=self.db is not None)
        text = f"{outcome.view.workflow}: run {self.id} {why}"
        if questions:
            first = questions[0]
            needed = [f"{name!r}: …" for name, field in first.fields.items() if field.required]
            answer = f"{{{', '.join(needed)}}}" if needed else "True"
            text += (
                f". {first.step} of task {first.task} asks: {first.text!r}. To answer in Python, give answers=…,"
                f" or give wait=True and call run.answer({first.step!r}, {answer})"
            )
        return with_db(text, str(self.db) if self.db is not None else "")


def _number(task: int | str | None) -> str | None:
    """The number of a task as the store has it."""
    return None if task is None else str(task)


def _report_nothing(text: str, details: Sequence[str]) -> None:
    """For the tasks of version 0.1, whose files are read again: a program has no place for what they lack."""
