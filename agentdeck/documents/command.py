"""Documents of the other verbs: plans, limits, budgets, comparisons, checks, settings, pruning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from agentdeck.documents.document import Document, Json


class Answer(Document):
    """The answer of the process that runs a run to `limits`, `resume` or `retry`."""

    run: str
    ok: bool
    answer: str


class Limits(RootModel[dict[str, Json]]):
    """Each limit of a run with its value: `workers`, `agents.extract.timeout`, `openai.requests`, …"""


class AgentLeft(Document):
    """The prompts of one agent that are still to be sent; token and dollar figures are per prompt."""

    prompts: int
    tokens: float | None
    usd: float | None
    usd_routing: float | None = Field(description="The same on the routing tier.")


class BudgetLeft(Document):
    """The prompts that are still to be sent; null is not known."""

    prompts: float | None
    tokens: float | None
    usd: float | None
    usd_routing: float | None
    unopened: int | None = Field(
        description="How many tasks that are not open yet are counted; null where their number is not known."
    )
    agents: dict[str, AgentLeft]


class RunBudget(Document):
    """The budget of a run and its use."""

    usd: float | None
    used_usd: float
    held_usd: float = Field(description="Reserved for attempts that are running.")
    likely_usd: float = Field(description="What these attempts will probably use of it.")
    tokens: int | None
    used_tokens: int
    held_tokens: int
    likely_tokens: int
    rungs: list[str] = Field(description="The rungs of the ladder that are in force.")
    tier: str | None = Field(description="`routing` where all remaining prompts go to the routing tier.")
    left: BudgetLeft


class Budget(RootModel[RunBudget | None]):
    """The budget of a run; null where it has none."""


class PlanAgent(Document):
    """One agent of a plan."""

    verb: str
    target: str
    seconds: float = Field(description="One attempt.")
    source: str = Field(description="Where `seconds` comes from: seen, elsewhere, simulated or assumed.")
    slack: float = Field(description="Seconds by which it can end later without delaying its task.")
    each: bool
    spare: bool


class PlanOrder(Document):
    """The order in which the steps of one task start."""

    agents: list[str] = Field(
        description="As a search found it; empty where the longest remaining path goes first."
    )
    seconds: float = Field(description="What the run takes in this order; 0 where nothing was searched.")
    path_seconds: float = Field(description="What it takes with the longest remaining path first, or 0.")
    reason: str = Field(description="Why no order was searched, or none was found.")


class PlanResource(Document):
    """A shared resource of a plan."""

    limit: float
    agents: dict[str, float] = Field(description="What one step of each agent uses of it.")
    seconds: float = Field(description="The least time that it alone takes for all that use it.")


class Plan(Document):
    """What a workflow will do, and how long it takes at least."""

    workflow: str
    tasks: int
    workers: int | None
    levels: list[list[str]]
    critical_path: list[str]
    critical_path_seconds: float
    lower_bound_seconds: float
    request_bound_seconds: float = Field(
        description="The least that limits of requests take, at one call of each prompt for a task."
    )
    request_bound_limit: str = Field(description="The limit that takes that long; empty where none does.")
    order: PlanOrder
    sequential_seconds: float
    assumed: list[str] = Field(description="Agents whose duration is a guess.")
    items_not_known: list[str] = Field(description="Agents with `each` whose number of items is not known.")
    runs: dict[str, list[str]] = Field(
        description="What the agents use, by heading: commands, modules, hosts, models, files, people, and those"
        " of plugins."
    )
    gateway: list[str] = Field(description="Agents whose own code calls models, through the gateway.")
    agents: dict[str, PlanAgent]
    resources: dict[str, PlanResource]


#: The values of both runs, in the order of the arguments.
Pair = list[Json]


class DefinitionDiff(Document):
    """How the workflows of two runs differ. Keys of the maps are dotted names of values."""

    same: bool
    added: list[str]
    removed: list[str]
    changed: dict[str, dict[str, Pair]]
    workflow: dict[str, Pair]


class AgentDiff(Document):
    """One agent in both runs."""

    done: Pair
    failed: Pair
    attempts: Pair
    p50: Pair
    p95: Pair
    tokens_in: Pair
    tokens_out: Pair
    usd: Pair
    waiting: dict[str, Pair]


class TaskDiff(Document):
    """One task that ended differently in both runs."""

    tasks: list[str]
    states: list[str]
    same_inputs: bool
    step: str = Field(description="The first step that ended differently.")
    step_states: list[str]
    outputs: Pair = Field(description="What that step returned, or the task where no step differs.")


class TasksDiff(Document):
    """The tasks of both runs, matched by their inputs, then by their names."""

    matched: int
    same: int
    parted: int = Field(description="Matched tasks with another state or output.")
    only: list[int] = Field(description="How many tasks only the one and only the other run has.")
    first: list[TaskDiff]


class Diff(Document):
    """All differences of two runs. What has two values is a list of both."""

    runs: list[str]
    workflows: list[str]
    definition: DefinitionDiff
    inputs: dict[str, Pair]
    limits: dict[str, Pair]
    state: Pair
    seconds: Pair
    attempts: Pair
    letters: Pair
    critical_path: Pair
    usd: Pair
    agents: dict[str, AgentDiff]
    tasks: TasksDiff


class Issue(Document):
    """A fault or a warning in a file. Lines and columns begin with 1; 0 is not known."""

    file: str
    line: int
    column: int
    what: str
    fix: str
    warning: bool


class Check(Document):
    """What `check` found in all files."""

    ok: bool
    files: list[str]
    issues: list[Issue]


class Plugin(Document):
    """An entry point at one of the seams."""

    seam: str = Field(description="agents, providers, places, observers or frameworks.")
    name: str
    package: str
    version: str
    target: str = Field(description="`module:object`.")
    ok: bool
    why: str = Field(description="Why it does not load and is left out; empty where it loads.")


class Plugins(Document):
    """What is installed at each seam, agentdeck's own parts included."""

    ok: bool = Field(description="Whether all of them load.")
    plugins: list[Plugin]


class WorkerState(Document):
    """A worker of a place: a process of a cluster, or an interpreter of this machine."""

    name: str
    threads: int | None
    load: float | None = Field(description="Of the processor, in percent of all its cores.")
    memory: int | None = Field(description="Bytes in use.")
    python: str
    agentdeck: str
    version: str = Field(description="Of the cluster's software; empty elsewhere.")
    latency: float | None = Field(description="Seconds from a question to its answer.")
    problem: str = Field(description="Why it cannot be used; empty where it can.")


class PlaceState(Document):
    """A place of the deck, or `local`."""

    name: str
    type: str
    slots: int | None
    ok: bool
    problem: str = Field(description="Why it cannot be used; empty where it can.")
    workers: list[WorkerState]


class PlaceStates(Document):
    """The places of a deck."""

    ok: bool = Field(description="Whether all of them can be used.")
    deck: str | None
    places: list[PlaceState]


class Setting(Document):
    """The value of a setting and its origin: flag, env, project, user or default."""

    value: str | int
    origin: str
    place: str = Field(description="The option, the variable or the file.")


class Config(Document):
    """All settings."""

    db: Setting
    workers: Setting


class Info(Document):
    """Versions and places."""

    agentdeck: str
    core: Literal["compiled", "interpreted"] = Field(
        description="How the scheduler, limits, views and expressions are installed."
    )
    python: str
    system: str
    sqlite: str
    db: str
    db_bytes: int | None = Field(description="null if the file does not exist yet.")
    config: str
    deck: str | None


class SpansSent(Document):
    """What `otel export` sent of a run."""

    run: str
    receiver: str
    spans: int
    after: int = Field(description="The number of the event up to which the receiver had all spans before.")
    last: int = Field(description="The number of the event up to which it has all now.")
    running: bool = Field(description="Whether the run executes, so that more will follow.")


class Pruned(Document):
    """How many rows `prune` deleted, and how many bytes of the file it freed."""

    runs: int
    events: int
    logs: int
    letters: int
    results: int
    definitions: int
    cached: int
    freed: int
    left: int = Field(description="Bytes that are free in the file and will be used again.")
    task_blocks: int


class PrunableRun(Document):
    """A run that `prune` would delete."""

    run: str
    workflow: str
    state: str
    started: float
    events: int
    tasks: str = Field(description="The file that its tasks came from.")


class PrunePreview(Document):
    """What `prune --dry-run` would delete."""

    runs: list[PrunableRun] = Field(description="The oldest first.")
