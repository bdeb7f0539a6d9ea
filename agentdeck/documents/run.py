"""Documents on a whole run: its summary, its row in a list, the results of its tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from agentdeck.documents.document import Document, Json
from agentdeck.documents.step import Decision


class TaskCounts(Document):
    """How many tasks of a run are in which state."""

    total: int
    done: int
    failed: int
    cancelled: int


class SummaryTaskCounts(TaskCounts):
    """As in a list of runs, and how many tasks the run ended without opening."""

    never_started: int | None = Field(description="null where the number of tasks is not known.")


class Approvals(Document):
    """The decisions on approvals."""

    approved: int
    rejected: int
    how: dict[str, int] = Field(
        description="Counts by `person`, `timeout`, `yes` (the option) and `unknown` (logs of version 0.1)."
    )
    latest: list[Decision] = Field(description="The last 100.")


class AgentSummary(Document):
    """One agent over all tasks of a run."""

    steps: int
    done: int
    failed: int
    attempts: int
    success_rate: float | None = Field(
        description="Share of attempts that succeeded; null before the first one ended."
    )
    p50: float | None = Field(description="Seconds of an attempt that succeeded.")
    p95: float | None
    input_bytes: int
    waiting: dict[str, float] = Field(description="Seconds that ready steps waited, by reason.")
    tokens_in: int | None
    tokens_out: int | None
    cached_in: int | None
    usage_missing: int = Field(description="Calls whose usage is not known.")
    eased: dict[str, int] = Field(description="How many attempts a low budget made cheaper, by rung.")
    estimated: int = Field(description="Attempts whose usage is partly estimated, because a request was cut off.")
    usd: float | None
    usd_all_reasoning: float | None
    saved: float | None


class InnerSummary(Document):
    """The steps of one name inside an agent's attempts, over all tasks of a run. What ran inside them counts for
    them, too; all of it is a part of what their agent used."""

    started: int
    running: int
    done: int
    failed: int
    cancelled: int
    p50: float | None = Field(description="Seconds of one that ended well.")
    p95: float | None
    tokens_in: int | None
    tokens_out: int | None
    cached_in: int | None
    usd: float | None


class PlaceWorker(Document):
    """A worker of a place, over all attempts that it had."""

    running: int
    done: int
    failed: int
    lost: int
    cancelled: int


class ClosedPlace(Document):
    """A place that is out of reach."""

    since: float
    why: str


class Moment(Document):
    """One line of the timeline."""

    seq: int
    at: float
    kind: str
    text: str
    task: str
    step: str


class Summary(Document):
    """A run: what `run`, `resume`, `retry`, `fork` and `show` print. null is unknown."""

    run: str
    workflow: str
    state: str
    seconds: float
    simulated: bool
    simulated_agents: int
    tasks: SummaryTaskCounts
    steps: dict[str, int] = Field(description="Counts by state.")
    attempts: int
    letters: int
    approvals: Approvals
    critical_path: list[str]
    lower_bound_seconds: float = Field(description="No schedule with these workers is shorter.")
    sequential_seconds: float = Field(description="All attempts one after another.")
    speedup: float | None
    agents: dict[str, AgentSummary]
    inner: dict[str, InnerSummary] = Field(
        description="Steps inside attempts by agent and name: `review/critic/model`, the outer ones first."
    )
    place_workers: dict[str, PlaceWorker] = Field(
        description="The workers of places that had attempts, by name; `…` sums up those beyond the first 500."
    )
    closed_places: dict[str, ClosedPlace] = Field(description="The places that are out of reach, by name.")
    usd: float | None
    usd_all_reasoning: float | None = Field(description="What the same tokens cost on the reasoning tier.")
    saved: float | None
    output: Json = Field(description="The output of the task, where the run has one task.")
    timeline: list[Moment] = Field(default=[], description="Only with `show --timeline N`.")


class RunStatus(Document):
    """A run as `runs` lists it: its state and its counts."""

    run: str
    workflow: str
    state: str
    pause_reason: str = Field(
        default="",
        description="Why a paused run is paused, where the engine paused it: `budget of the run: …`, `store: …`.",
    )
    started: float
    seconds: float | None
    simulated: bool
    tags: list[str]
    tasks: TaskCounts


class Runs(RootModel[list[RunStatus]]):
    """Runs, the newest first."""


class ResultLine(Document):
    """The final state of one task: a line of `results` and of `--out`."""

    task: str
    state: Literal["done", "failed", "cancelled"]
    inputs: dict[str, Json]
    output: Json
    error: str | None
