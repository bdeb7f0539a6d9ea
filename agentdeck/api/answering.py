"""Open questions of a run that this process executes, and the callback that answers them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import anyio.to_thread

from agentdeck.documents.question import Question
from agentdeck.errors import UsageError
from agentdeck.operations.commands import RunCommand, answer
from agentdeck.operations.questions import question_from
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import decision
from agentdeck.scheduler.questions import approval_of
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import OPEN
from agentdeck.workflow.model import Data

#: An answer: yes, no, yes with values of the fields, or none.
Answer: TypeAlias = bool | Mapping[str, Data] | None
#: Answers questions. A plain function is called in a thread, so it may block.
Answers: TypeAlias = Callable[[Question], Answer | Awaitable[Answer]]
Key: TypeAlias = tuple[str, str]


def answer_command(step: str, task: str | None, given: bool | Mapping[str, Data]) -> RunCommand:
    """The command that answers a question: a map is a yes with the values of its fields."""
    if isinstance(given, bool):
        return answer(step, task, given, {})
    if not isinstance(given, Mapping):
        raise UsageError(f"{given!r} is not an answer to {step}: give True, False, or a map of its fields")
    fields = {name: value for name, value in given.items() if name != "approved"}
    return answer(step, task, decision(step, given.get("approved", True)), fields)


class OpenQuestions:
    """The questions of a run that have no answer yet. Used on the run's loop only.

    With `answers`, each is given to that callback. One for which it returns None is left to others. An error of
    the callback, or an answer that the question does not take, is passed to `fail`."""

    def __init__(
        self,
        answers: Answers | None,
        carry_out: Callable[[RunCommand], object],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._answers = answers
        self._carry_out = carry_out
        self._fail = fail
        self._questions: dict[Key, Question] = {}
        self._declined: set[Key] = set()
        self._deciding: dict[Key, asyncio.Task[None]] = {}

    def ask(self, scheduler: Scheduler, asked: ev.Noted) -> None:
        """A step has asked."""
        key = asked.task, asked.step
        step = scheduler.state.find(*key)
        question = question_from(scheduler.state.run, asked, None if step is None else approval_of(step))
        self._questions[key] = question
        self._declined.discard(key)
        if self._answers is not None:
            if (earlier := self._deciding.pop(key, None)) is not None:
                earlier.cancel()
            deciding = asyncio.get_running_loop().create_task(self._decide(self._answers, key, question))
            self._deciding[key] = deciding

    def open(self, scheduler: Scheduler) -> list[Question]:
        """The questions that still wait, the oldest first."""
        for key in list(self._questions):
            step = scheduler.state.find(*key)
            if step is None or step.state != OPEN:
                self._forget(key)
        return list(self._questions.values())

    def answering(self, task: str, step: str) -> bool:
        """Whether the callback may still answer an approval: it was not asked yet, or has not decided."""
        return (task, step) not in self._declined

    async def close(self) -> None:
        """Cancel the decisions under way."""
        deciding = list(self._deciding.values())
        for one in deciding:
            one.cancel()
        if deciding:
            await asyncio.wait(deciding)

    def _forget(self, key: Key) -> None:
        del self._questions[key]
        self._declined.discard(key)
        if (earlier := self._deciding.pop(key, None)) is not None:
            earlier.cancel()

    async def _decide(self, answers: Answers, key: Key, question: Question) -> None:
        try:
            given = await _call(answers, question)
            if given is None:
                self._declined.add(key)
            elif self._questions.get(key) is question:
                self._carry_out(answer_command(question.step, question.task, given))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(error)
        finally:
            if self._deciding.get(key) is asyncio.current_task():
                del self._deciding[key]


async def _call(answers: Answers, question: Question) -> Answer:
    asynchronous = inspect.iscoroutinefunction(answers) or inspect.iscoroutinefunction(type(answers).__call__)
    if asynchronous:
        given = answers(question)
    else:
        given = await anyio.to_thread.run_sync(answers, question, abandon_on_cancel=True)
    if inspect.isawaitable(given):
        return await given
    return given
