"""Steps that end by something other than an attempt: a sub-workflow by its task, an approval by an answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentdeck.agents.template_rendering import render, render_text
from agentdeck.engine.clock import Clock
from agentdeck.engine.log_lines import AttemptLog, LogLine
from agentdeck.errors import AgentdeckError, Fault, StepError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import YES, complete, describe
from agentdeck.scheduler.questions import as_approval, by_decision, current
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import OPEN, RUNNING, Step
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Approve, Data, SubWorkflow


@dataclass(slots=True, eq=False)
class OpenSteps:
    """Opens these steps: starts the task of a sub-workflow, asks for an approval. With `yes`, `author`
    approves."""

    _scheduler: Scheduler
    _clock: Clock
    _feed: Callable[[ev.Event | ev.Signal], None]
    _lines: deque[LogLine]
    _yes: bool
    _author: ev.Author | None

    async def open(self, step: Step, started: ev.StepStarted, with_: Template | None) -> None:
        """Open a step that has started. Leaves it as it is where it has ended while its values were rendered."""
        does = step.acting.agent.does
        try:
            if isinstance(does, SubWorkflow):
                await self._open_task(step, started, does, with_)
            elif isinstance(does, Approve):
                await self._ask(step, started, does)
        except AgentdeckError as error:
            fault = fault_of(error, "expression")
            if not _is_over(step, started):
                at = self._clock.now()
                self._feed(ev.AttemptFailed(at, started.task, started.step, started.attempt, fault))

    async def _open_task(
        self, step: Step, started: ev.StepStarted, does: SubWorkflow, with_: Template | None
    ) -> None:
        given = {} if with_ is None else await render(with_, scope_of(step, self._scheduler.state.run))
        if _is_over(step, started):
            return
        nested = step.task.program.nested[step.acting.name].definition
        inputs = {name: given.get(name, spec.default) for name, spec in nested.inputs.items()}
        missing = [name for name, spec in nested.inputs.items() if spec.required and name not in given]
        if missing:
            raise StepError("setup", f"{does.file} needs the input {', '.join(missing)}; give it in `with`")
        parent = started.task, started.step
        self._feed(ev.TaskOpened(self._clock.now(), "/".join(parent), inputs, parent))

    async def _ask(self, step: Step, started: ev.StepStarted, does: Approve) -> None:
        at, task, name = self._clock.now(), started.task, started.step
        if self._yes:
            fields, defaults = complete(does, {})
            who = self._author.text if self._author is not None else ""
            self._feed(ev.StepAnswered(at, task, name, True, fields, who, YES, self._author, defaults))
            return
        scope = scope_of(step, self._scheduler.state.run)
        question = await render_text(Template(does.ask), scope)
        shown = await render(Template(does.show), scope) if does.show else None
        if _is_over(step, started):
            return
        self._log(at, task, name, started.attempt, f"asks for approval: {question}")
        self._feed(ev.Noted(at, question, task, name, {"asks": question, "shows": shown}))

    def asked(self, key: tuple[str, str, int], questions: Sequence[Mapping[str, Data]]) -> None:
        """An attempt has ended with these questions: write them into its log. With `yes`, each is answered that a
        plain yes answers."""
        task, name, attempt = key
        step = self._scheduler.state.find(task, name)
        if step is None or current(step) is None:
            return
        for question in questions:
            self._log(self._clock.now(), task, name, attempt, f"asks: {question['text']}")
        for question in questions if self._yes else ():
            given = by_decision(question, True)
            if given is None:
                return
            fields, defaults = complete(as_approval(question), given)
            who = self._author.text if self._author is not None else ""
            at, number = self._clock.now(), str(question["id"])
            self._feed(ev.StepAnswered(at, task, name, True, fields, who, YES, self._author, defaults, number))

    def log_answer(self, event: ev.StepAnswered) -> None:
        """Write a decision into the log of its step."""
        step = self._scheduler.state.find(event.task, event.step)
        self._log(event.at, event.task, event.step, step.attempt if step is not None else 1, describe(event))

    def _log(self, at: float, task: str, step: str, attempt: int, text: str) -> None:
        AttemptLog(self._lines, lambda: at, lambda: None, (task, step, attempt))(text)


def fault_of(error: Exception, kind: str) -> Fault:
    """The fault of a StepError; a fault of this kind for agentdeck's other errors, `exception` for the rest."""
    if isinstance(error, StepError):
        return error.fault
    if isinstance(error, AgentdeckError):
        return Fault(kind, str(error))
    return Fault("exception", f"{type(error).__name__}: {error}")


def _is_over(step: Step, started: ev.StepStarted) -> bool:
    return step.attempt != started.attempt or step.state not in (RUNNING, OPEN)
