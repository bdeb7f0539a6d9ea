"""Documents on single steps: their story, the reason of their state, dead letters, log lines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from agentdeck.documents.document import Document, Json


class Decision(Document):
    """One decision on an approval. null is what logs of version 0.1 do not hold."""

    task: str
    step: str
    at: float
    decision: Literal["approved", "rejected"]
    how: str
    who: str | None
    by: str | None
    user: str | None
    host: str | None
    tool: str | None
    fields: dict[str, Json]
    defaults: list[str] = Field(description="The fields that took their default.")


class Fault(Document):
    """Why an attempt or a step failed."""

    kind: str
    message: str
    retry_after: float | None
    clock: str
    detail: str
    cut_at: int
    once_key: str
    retry: bool | None = Field(
        description="What the workflow's own rule (`retry: { on: … }`) answered; null where it was not asked."
    )


class Usage(Document):
    """What an attempt used. null is unknown, never zero."""

    tokens_in: int | None
    tokens_out: int | None
    cached_in: int | None
    usd: float | None
    usd_reasoning: float | None
    model: str
    simulated: bool
    estimated: bool


class InnerStep(Document):
    """A step inside an attempt: a node of a framework's graph, a call of a model or of a tool."""

    number: int = Field(description="In its attempt, from 1.")
    parent: int = Field(description="The number of the inner step around it; 0 where there is none.")
    name: str
    kind: str
    state: Literal["running", "done", "failed", "asked", "cancelled"]
    started: float
    ended: float | None
    seconds: float | None
    inputs: Json = Field(description="The beginning of it, where it is large.")
    output: Json = Field(description="The beginning of it, where it is large.")
    fault: Fault | None
    usage: Usage | None = Field(description="Of itself and of all inside it; a part of what the attempt used.")


class Attempt(Document):
    """One attempt of a step."""

    attempt: int
    trace_id: str = Field(description="Of its span, where the run is exported (`agentdeck otel export`).")
    span_id: str
    agent: str
    state: str
    round: int
    tier_up: int
    model: str
    eased: str
    worker: str = Field(description="The worker of its place that had it; empty where it ran in the engine.")
    uses: dict[str, float] | None = Field(description="What it took of shared resources; null for nothing.")
    ready: float
    started: float
    ended: float | None
    seconds: float | None
    waited: float
    waits: dict[str, float]
    reused: bool
    fault: Fault | None
    inside: str = Field(description="The inner step in which it failed: `critic › model`; empty for none.")
    usage: Usage | None
    inner: list[InnerStep] = Field(
        description="Steps inside it: those that run, and of the others the newest and those that failed."
    )
    inner_count: int = Field(description="How many inner steps it has; `--inner N` shows more of them.")
    retry_at: float | None
    retry_for: str


class Note(Document):
    """A moment between attempts."""

    at: float
    text: str


class Step(Document):
    """All about one step of one task."""

    run: str
    task: str
    step: str
    agent: str
    verb: str
    place: str = Field(description="Where its attempts run; empty for the engine's own process.")
    state: str
    opened: float | None
    ended: float | None
    items: int | None = Field(description="How many items a step with `each` has.")
    inputs: dict[str, Json] = Field(description="What its last attempt could read.")
    asked: dict[str, Json] = Field(
        description="What its agent was asked to do, in named parts, with all values filled in."
    )
    output: Json
    fault: Fault | None
    letter: bool
    attempts: list[Attempt]
    decision: Decision | None
    notes: list[Note]


class Why(Document):
    """Why a step is in its state, in one sentence."""

    run: str
    task: str
    step: str
    state: str
    reason: str = Field(description="What it waits for (needs, pool, paused, …); empty where it does not wait.")
    why: str


class LetterError(Document):
    """The fault of a letter, without its empty values."""

    kind: str
    message: str = ""
    retry_after: float | None = None
    clock: str = ""
    detail: str = ""
    cut_at: int = 0
    once_key: str = ""


class Letter(Document):
    """A step that failed for good."""

    id: int
    run: str
    task: str
    step: str
    agent: str
    state: str
    why: str
    cause: str = Field(description="A hash: equal for letters of the same agent and the same error.")
    error: LetterError
    inputs: Json
    attempts: int
    definition: str = Field(description="The identity of the workflow that it failed under.")
    at: float


class Cause(Document):
    """Letters with the same cause."""

    cause: str
    count: int
    agent: str
    kind: str
    message: str
    letters: list[Letter]


class Letters(RootModel[list[Cause]]):
    """Letters by cause, the most frequent first."""


class LogLine(Document):
    """One line that an agent logged."""

    run: str
    id: int
    at: float
    task: str
    step: str
    attempt: int
    level: str
    text: str
    trace_id: str = Field(description="Of the span of its attempt, as in `step`.")
    span_id: str
