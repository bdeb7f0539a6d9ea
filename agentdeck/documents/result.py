"""What the Python API returns of a run: its result, the results of its tasks and steps, and why one failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, computed_field, model_validator

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


class Details(Document):
    """The parts of a result that take as long to make as the workflow is large."""

    steps: dict[str, StepResult] = Field(description="By agent.")
    summary: dict[str, Json] = Field(description="What `agentdeck run --json` prints.")


class Result(Document):
    """What a run gave. Its steps and its summary are made when they are first read."""

    run: str
    workflow: str
    state: str = Field(description="done, failed, cancelled; drained or interrupted: it can be resumed.")
    output: Json = Field(default=None, description="The output of its task, where the run has one task.")
    error: StepFault | None = Field(default=None, description="Why it failed, or the first task that failed.")

    _make_details: Callable[[], Details] = PrivateAttr()
    _tasks: Callable[[], AsyncIterator[TaskResult]] | None = PrivateAttr(default=None)

    @computed_field(repr=False, description=Details.model_fields["steps"].description)  # type: ignore[prop-decorator]
    @cached_property
    def steps(self) -> dict[str, StepResult]:
        return self._details.steps

    @computed_field(repr=False, description=Details.model_fields["summary"].description)  # type: ignore[prop-decorator]
    @cached_property
    def summary(self) -> dict[str, Json]:
        return self._details.summary

    @cached_property
    def _details(self) -> Details:
        return self._make_details()

    def with_details(self, make: Callable[[], Details]) -> Self:
        """This result, whose steps and summary `make` gives."""
        self._make_details = make
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Read a result that was written: with its steps and its summary."""
        if not isinstance(data, dict):
            return read(data)
        values = dict(data)
        details = Details.model_validate({key: values.pop(key) for key in Details.model_fields if key in values})
        return read(values).with_details(lambda: details)

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
