"""`retry: { on: module:function }`: a rule of the workflow's own for what is worth another attempt.

The rule is asked here, when an attempt has failed, and never in the scheduler: its answer is recorded with the
fault, so that a replay of the log reads the same answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from agentdeck.agents.verb import AttemptContext
from agentdeck.engine.open_steps import fault_of
from agentdeck.errors import StepError
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import Retry


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """What a retry rule gets. `kind`, `message`, `detail` and `retry_after` are those of the recorded fault, and
    `attempt` is its number, from 1. `exception` is what the agent's own code raised, None where nothing was
    raised in this process."""

    kind: str
    message: str
    detail: str
    retry_after: float | None
    run: str
    task: str
    step: str
    agent: str
    attempt: int
    exception: BaseException | None


class RetryRule:
    """The rule of one agent."""

    def __init__(self, target: str, rule: Callable[[FailedAttempt], Any]) -> None:
        self._target = target
        self._rule = rule

    async def judge(self, error: Exception, work: AttemptContext) -> StepError:
        """The error with the rule's answer in its fault. Where the rule itself fails, the step's log says so, and
        the fault is judged by its kind."""
        fault = fault_of(error, "expression")
        exception = error.exception if isinstance(error, StepError) else error
        failed = FailedAttempt(
            kind=fault.kind,
            message=fault.message,
            detail=fault.detail,
            retry_after=fault.retry_after,
            run=work.run,
            task=work.task,
            step=work.step,
            agent=work.agent.name,
            attempt=work.attempt,
            exception=exception,
        )
        judged = StepError(fault.kind, fault.message)
        judged.fault = fault
        try:
            answer = await anyio.to_thread.run_sync(self._rule, failed, abandon_on_cancel=True)
            judged.fault = fault._replace(retry=bool(await answer if inspect.isawaitable(answer) else answer))
        except Exception as wrong:
            what = f"the retry rule {self._target} failed with {type(wrong).__name__}: {wrong}"
            work.log(f"{what}; retrying as usual for {fault.kind}", "warning")
        return judged


def retry_rule(retry: Retry, folder: Path, functions: Mapping[str, Callable[..., Any]]) -> RetryRule | None:
    """The rule of an agent; None where it has none. `functions` are those of a workflow in Python. Raises
    StepError of kind `setup` for a rule that does not import, or is no function."""
    if retry.on is None:
        return None
    rule = functions.get(retry.on) or resolve(retry.on, folder)
    if not callable(rule):
        raise StepError("setup", f"{retry.on} is a {type(rule).__name__}, not a function")
    return RetryRule(retry.on, rule)
