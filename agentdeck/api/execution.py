"""A run that this process executes, as a task of the caller's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from agentdeck.api.answering import Answers, OpenQuestions
from agentdeck.api.memory import RunMemory
from agentdeck.documents.question import Question
from agentdeck.engine.author import current_author
from agentdeck.engine.launch import Outcome, Watch
from agentdeck.engine.observers import EventBatch, Observer
from agentdeck.engine.run_control import ControlledEngine, RunControl
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.operations.commands import RunCommand
from agentdeck.scheduler import events as ev
from agentdeck.store.commands import Request
from agentdeck.workflow.model import Data

#: Executes a run, until it has ended or drained.
Execute: TypeAlias = Callable[[Watch], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is executed here. `keep` is how many results of tasks stay in memory without a store."""

    wait: bool = False
    answers: Answers | None = None
    keep: int = 1000
    tags: tuple[str, ...] = ()
    observers: tuple[Observer, ...] = ()


class _Receiver:
    """Observer: fills the memory of a run that has one, and passes the questions on to the run's loop, with the
    number of the last event."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[int, Sequence[ev.Noted]], None],
        memory: RunMemory | None,
    ) -> None:
        self._loop = loop
        self._take = take
        self._memory = memory

    def observe(self, batch: EventBatch) -> None:
        if self._memory is not None:
            self._memory.add(batch.last, batch.events)
        asked = [event for event in batch.events if type(event) is ev.Noted and event.asks]
        with suppress(RuntimeError):  # the loop is closed: nothing waits for them
            self._loop.call_soon_threadsafe(self._take, batch.last, asked)

    def close(self) -> None:
        """Nothing to release."""


class Execution:
    """Executes a run from `begin` to its end. All methods are called on the loop of `begin`. `last` is the last
    committed event of the run that has been taken."""

    def __init__(self, run: str, options: RunOptions, memory: RunMemory | None, last: int) -> None:
        self.run = run
        self.last = last
        self.options = options
        self.memory = memory
        self._author = current_author("api")
        self._begun = asyncio.Event()
        self._news = asyncio.Event()
        self._control = RunControl(self._author.text, self._begun.set)
        self._questions = OpenQuestions(options.answers, self.carry_out, self._fail)
        self._task: asyncio.Task[Outcome] | None = None
        self._error: BaseException | None = None

    async def begin(self, execute: Execute) -> None:
        """Start it, and return when the run has begun. Raises what prevents that."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("agentdeck runs on asyncio's event loop (or uvloop's), not on this one") from None
        answering = self._questions.answering if self.options.answers is not None else None
        receiver = _Receiver(loop, self._take, self.memory)
        watch = Watch((receiver, *self.options.observers), control=self._control, answering=answering)
        self._task = asyncio.create_task(self._execute(execute, watch), name=f"agentdeck run {self.run}")
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait((self._task, begun), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        finally:
            begun.cancel()
        if not self._begun.is_set():
            self._task.result()

    async def _execute(self, execute: Execute, watch: Watch) -> Outcome:
        try:
            outcome = await execute(watch)
        finally:
            with anyio.CancelScope(shield=True):
                await self._questions.close()
            self._wake()
        if self._error is not None:
            raise self._error
        return outcome

    # While it runs

    @property
    def over(self) -> bool:
        return self._task is None or self._task.done()

    @property
    def engine(self) -> ControlledEngine:
        """The engine: of a run that is over, as it was at the end."""
        assert self._control.engine is not None
        return self._control.engine

    def carry_out(self, command: RunCommand) -> Data:
        """Carry out a command now; returns the answer. Raises UsageError."""
        if self.over:
            raise UsageError(f"{self.run} has ended: no process executes it")
        request = Request(0, self.run, command.verb, command.args, self._author, time.time())
        return self.engine.carry_out(request)

    def open_questions(self) -> list[Question]:
        """The questions that have no answer, the oldest first."""
        return self._questions.open(self.engine.scheduler)

    @property
    def news(self) -> asyncio.Event:
        """Set when there are further events, or the run is over. Ask for it before looking at either."""
        return self._news

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, last: int, asked: Sequence[ev.Noted]) -> None:
        """The events up to this number are committed; these of them ask."""
        self.last = last
        for event in asked:
            self._questions.ask(self.engine.scheduler, event)
        self._wake()

    def _fail(self, error: BaseException) -> None:
        """Stop the run, which can be resumed, and raise the error from `outcome`."""
        if self._error is None:
            self._error = error
            self._control.drain()

    # Its end

    async def outcome(self) -> Outcome:
        """Wait for its end. Cancelling this does not stop the run. Raises what ended the execution, if it was an
        error."""
        assert self._task is not None
        await asyncio.wait((self._task,))
        if self._task.cancelled():
            raise AgentdeckError(f"{self.run} was stopped before its end, as its task was cancelled")
        return self._task.result()

    async def stop(self) -> None:
        """Stop the execution now, without an end of the run, and wait until nothing of it is left."""
        if self._task is None:
            return
        self._task.cancel()
        with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):
            await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.exception()  # it was raised where the run was awaited, or the caller no longer waits
