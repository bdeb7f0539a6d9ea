"""`retry: { on: module:function }`: a function of the workflow decides which failures are retried.

The rule is asked here, when an attempt has failed, and never in the scheduler: its answer is recorded with the
fault, so that a replay of the log reads the same answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import anyio
import anyio.to_thread

from agentdeck.errors import Fault, StepError
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import Retry

#: Seconds within which a rule has to answer.
PATIENCE = 10.0

#: Takes a line and its level.
Log: TypeAlias = Callable[[str, str], None]


class AttemptId(NamedTuple):
    """Names an attempt."""

    run: str
    task: str
    step: str
    agent: str
    number: int


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

    async def judge(self, fault: Fault, attempt: AttemptId, log: Log, raised: BaseException | None) -> Fault:
        """The fault with the rule's answer. Where the rule itself fails, the step's log says so, and the fault is
        judged by its kind."""
        failed = FailedAttempt(
            kind=fault.kind,
            message=fault.message,
            detail=fault.detail,
            retry_after=fault.retry_after,
            run=attempt.run,
            task=attempt.task,
            step=attempt.step,
            agent=attempt.agent,
            attempt=attempt.number,
            exception=raised,
        )
        what = f"gave no answer within {PATIENCE:g} s"
        with anyio.move_on_after(PATIENCE):
            try:
                answer = await anyio.to_thread.run_sync(self._rule, failed, abandon_on_cancel=True)
                return fault._replace(retry=bool(await answer if inspect.isawaitable(answer) else answer))
            except Exception as error:
                what = f"failed with {type(error).__name__}: {error}"
        log(f"the retry rule {self._target} {what}; the kind of the failure decides: {fault.kind}", "warning")
        return fault


def retry_rule(retry: Retry, folder: Path, functions: Mapping[str, Callable[..., Any]]) -> RetryRule | None:
    """The rule of an agent; None where it has none. `functions` are those of a workflow in Python. Raises
    StepError of kind `setup` for a rule that does not import, or is no function."""
    if retry.on is None:
        return None
    rule = functions.get(retry.on) or resolve(retry.on, folder)
    if not callable(rule):
        raise StepError("setup", f"{retry.on} is a {type(rule).__name__}, not a function")
    return RetryRule(retry.on, rule)
