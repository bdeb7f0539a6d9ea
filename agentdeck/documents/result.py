"""What the Python API returns of a run: its result, the results of its tasks and steps, and why one failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal

from pydantic import Field, PrivateAttr

from agentdeck.documents.document import Document, Json
from agentdeck.errors import UsageError


class StepFault(Document):
    """Why a task or a step failed."""

    step: str = Field(description="The step that failed: `payment`, or `review/security` in a sub-workflow.")
    agent: str = Field(description="The agent that did its work: its own, or a fallback.")
    kind: str = Field(description="exception, timeout, network, rate_limit, rejected, invalid, exit, …")
    message: str
    detail: str = Field(default="", description="More for a reader, such as a traceback.")
    clock: str = Field(default="", description="The clock that ran out, where the kind is timeout.")


class StepResult(Document):
    """How one step of a task ended; or one agent, over all tasks of a run."""

    state: str
    seconds: float | None = Field(
        default=None, description="The last attempt; over many tasks, the median of those that succeeded."
    )
    output: Json = Field(default=None, description="null over many tasks.")
    attempts: int = 0
    error: StepFault | None = None


class TaskResult(Document):
    """One task of a run."""

    task: str
    state: Literal["running", "done", "failed", "cancelled"]
    inputs: dict[str, Json]
    output: Json = None
    error: StepFault | None = Field(default=None, description="Why it failed; null where it has not.")
    steps: dict[str, StepResult]


class Result(Document):
    """What a run gave."""

    run: str
    workflow: str
    state: str = Field(description="done, failed, cancelled; drained or interrupted: it can be resumed.")
    output: Json = Field(default=None, description="The output of its task, where the run has one task.")
    error: StepFault | None = Field(default=None, description="Why it failed, or the first task that failed.")
    steps: dict[str, StepResult] = Field(repr=False, description="By agent.")
    summary: dict[str, Json] = Field(repr=False, description="What `agentdeck run --json` prints.")

    _tasks: Callable[[], AsyncIterator[TaskResult]] | None = PrivateAttr(default=None)

    async def tasks(self) -> AsyncIterator[TaskResult]:
        """The result of each task of the run, in their order: `async for task in result.tasks()`.

        Of a run with a store they are read from there, a page at a time. Without a store the last `keep` ones are
        in memory; raises UsageError where the run had more, and for a result that was made from JSON.
        """
        if self._tasks is None:
            raise UsageError(
                f"this result of {self.run} has no tasks, as no run returned it: ask its store for them"
            )
        async for task in self._tasks():
            yield task
