"""Everything that can happen in a run.

Events are past tense and are what the log holds; the actions that they lead to are in `actions.py`. Every event
begins with `at`, seconds since the epoch on the run's clock: the scheduler has no clock of its own.

`Scheduler.handle` takes an event, and records it (a `Record` action) with what follows from it. `Fold.apply` of
the recorded events gives the same state again."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from agentdeck.errors import Fault
from agentdeck.limits.budget import Hold
from agentdeck.workflow.model import Data

#: `who` of a limit that the engine changed by itself: it is shown, and is no limit that an operator set.
AUTO = "auto"


class Usage(NamedTuple):
    """What all requests of an attempt used. Token counts and dollars of None are unknown, never zero.
    `estimated`: the provider did not count a part, because a request was cut or cancelled, so that part is
    estimated from the text."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    cached_in: int | None = None
    usd: float | None = None
    usd_reasoning: float | None = None
    model: str = ""
    simulated: bool = False
    estimated: bool = False


class Author(NamedTuple):
    """Who gave a command: the user of the operating system, the host, and the tool (`console`, `cli`, `api`,
    `airflow`). `by` is the name given with `--by`, where several operators share an account."""

    user: str
    host: str = ""
    tool: str = ""
    by: str = ""

    @property
    def text(self) -> str:
        """`ada@mica (cli)`, or `Grace (ada@mica, cli)`."""
        account = f"{self.user}@{self.host}" if self.host else self.user
        if self.by:
            return f"{self.by} ({', '.join(filter(None, (account, self.tool)))})"
        return f"{account} ({self.tool})" if self.tool else account


# The run ---------------------------------------------------------------------------------------------------


class RunStarted(NamedTuple):
    """The first event of every log. `inputs` are those of the run, before defaults; `limits` as launched.
    `origin` is the run whose results a fork shares. `tasks` is how many were given, where that is known. `order`
    is the order of agents that a search found (`order_search.py`), empty where the longest remaining path goes
    first."""

    at: float
    run: str
    workflow: str
    identity: str
    inputs: dict[str, Data]
    limits: dict[str, Data]
    who: str = ""
    origin: str = ""
    tasks: int | None = None
    order: tuple[str, ...] = ()


class RunResumed(NamedTuple):
    """Another process goes on with the run after its owner died or drained. Attempts that were under way are
    lost. `idle` is how long no process executed the run: timers of joins, approvals and queues leave that time
    out."""

    at: float
    idle: float = 0.0
    who: str = ""


class RunPaused(NamedTuple):
    """Nothing new starts; attempts under way go on. `why` is the reason, empty where an operator paused it."""

    at: float
    why: str = ""
    who: str = ""


class RunUnpaused(NamedTuple):
    at: float
    who: str = ""


class RunDrained(NamedTuple):
    """The process of the run stops once no attempt is under way. Another one may resume the run."""

    at: float
    who: str = ""


class RunEnded(NamedTuple):
    """The last event, unless a step is reopened. `state`: done, failed, cancelled."""

    at: float
    state: str


class LimitChanged(NamedTuple):
    """`name` is dotted: `agents.extract.timeout`, `openai.requests`. That of `workers` and of a shared resource
    is the name alone. Values are plain data."""

    at: float
    name: str
    old: Data
    new: Data
    who: str = ""


class PlaceClosed(NamedTuple):
    """A place of the deck is out of reach: until it is open again, no attempt starts there."""

    at: float
    place: str
    why: str


class PlaceOpened(NamedTuple):
    """A place that was out of reach is there again."""

    at: float
    place: str


# Tasks -----------------------------------------------------------------------------------------------------


class TaskOpened(NamedTuple):
    """A task entered the graph. `inputs` are complete. `parent` is the step that contains a nested task. With
    `called`, the task is a call that the attempt of that step makes: only this agent takes part, and the attempt
    goes on when the task ends."""

    at: float
    task: str
    inputs: dict[str, Data]
    parent: tuple[str, str] | None = None
    called: str = ""


class TasksExhausted(NamedTuple):
    """No more tasks are opened; `total` have been. `cut`: the run was cancelled before the source was at its
    end."""

    at: float
    total: int
    cut: bool = False


class TaskEnded(NamedTuple):
    """All steps of a task have ended. `state`: done, failed, cancelled. Reopening a step reopens its task."""

    at: float
    task: str
    state: str
    output: Data = None
    fault: Fault | None = None


class TaskHurried(NamedTuple):
    """From now on the steps of this task start before those of all others."""

    at: float
    task: str
    who: str = ""


# Steps -----------------------------------------------------------------------------------------------------


class StepStarted(NamedTuple):
    """An attempt started. `agent` does the work: the step's own, or its fallback. `ready` is when the step became
    ready; `waits` holds the seconds since then by reason, None where all of it was `pool`. Where it contains
    `pool`, the sum is the whole time, with a backoff before it; in logs of version 0.1 it is a part. `model`
    is the deck's name of the model; the reserved amounts are the most that the attempt can use, the likely ones
    what it probably uses. `eased` says what a low budget changed. `uses` is what it takes of shared resources, by
    name."""

    at: float
    task: str
    step: str
    agent: str
    attempt: int
    ready: float
    waits: dict[str, float] | None = None
    round: int = 1
    tier_up: int = 0
    model: str = ""
    reserved_tokens: int = 0
    reserved_usd: float = 0.0
    eased: str = ""
    likely_in: int = 0
    likely_out: int = 0
    likely_usd: float = 0.0
    uses: dict[str, float] | None = None


class AttemptPlaced(NamedTuple):
    """The place of the attempt has begun it on the one of its workers with this name."""

    at: float
    task: str
    step: str
    attempt: int
    worker: str


class ReservationGrew(NamedTuple):
    """An attempt is about to send one more request. The amounts replace those reserved so far: what the requests
    before used, plus the most that this one can use."""

    at: float
    task: str
    step: str
    attempt: int
    reserved_tokens: int = 0
    reserved_usd: float = 0.0
    likely_in: int = 0
    likely_out: int = 0
    likely_usd: float = 0.0


def hold_of(event: StepStarted | ReservationGrew | Reserved) -> Hold:
    """What this event reserves of the budgets."""
    if isinstance(event, Reserved):
        return Hold(event.tokens, event.usd, event.likely_in, event.likely_out, event.likely_usd)
    likely = event.likely_in, event.likely_out, event.likely_usd
    return Hold(event.reserved_tokens, event.reserved_usd, *likely)


class StepSucceeded(NamedTuple):
    """An attempt ended well. `reused`: the result came from `once`, `cache` or the run that this one forks."""

    at: float
    task: str
    step: str
    attempt: int
    output: Data = None
    usage: Usage | None = None
    input_bytes: int = 0
    reused: bool = False


class AttemptFailed(NamedTuple):
    """An attempt failed. The next event of the step says what follows."""

    at: float
    task: str
    step: str
    attempt: int
    fault: Fault
    usage: Usage | None = None
    input_bytes: int = 0


class AttemptLost(NamedTuple):
    """What executed the attempt is gone. It does not count as a try; its tokens are estimated. `why` says what
    its place has lost, and is empty where the engine's own process died."""

    at: float
    task: str
    step: str
    attempt: int
    usage: Usage | None = None
    why: str = ""


class AttemptDeferred(NamedTuple):
    """An attempt ended before it did any work: the step waits, without a worker, for `reason`, and starts another
    attempt afterwards. It does not count as a try. `why` is a sentence for the operator."""

    at: float
    task: str
    step: str
    attempt: int
    reason: str
    why: str = ""


class AttemptAsked(NamedTuple):
    """An attempt ended with questions to the operator: the step waits, without a worker, until each is answered,
    and then goes on with another attempt, which is given the answers. It does not count as a try. Each of
    `questions` has an `id`, a `text`, and where they are known what it `shows` and the JSON `schema` of its
    answer."""

    at: float
    task: str
    step: str
    attempt: int
    questions: tuple[dict[str, Data], ...]
    usage: Usage | None = None


class InnerStarted(NamedTuple):
    """A step inside an attempt began: a node of a graph, a call of a model or of a tool. `inner` is its number in
    the attempt, from 1; `parent` is that of the inner step around it, 0 where there is none."""

    at: float
    task: str
    step: str
    attempt: int
    inner: int
    name: str
    parent: int = 0
    kind: str = ""
    inputs: Data = None


class InnerEnded(NamedTuple):
    """A step inside an attempt ended. `usage` is its own, and is part of that of the attempt."""

    at: float
    task: str
    step: str
    attempt: int
    inner: int
    output: Data = None
    fault: Fault | None = None
    usage: Usage | None = None


class WorkerHeld(NamedTuple):
    """A thread of an attempt goes on after the attempt was cancelled, and holds a worker until it ends. `attempt`
    is `task/step#number`, as its task may be forgotten by then; `name` is that of its agent."""

    at: float
    attempt: str
    name: str


class WorkerFreed(NamedTuple):
    """The thread that held a worker has ended."""

    at: float
    attempt: str


class StepRetrying(NamedTuple):
    """The step is retried at `until`. The reason is `backoff`, or `cooldown` where the provider asked to wait."""

    at: float
    task: str
    step: str
    until: float
    reason: str = "backoff"
    tier_up: int = 0


class StepFellBack(NamedTuple):
    """From now on the fallback `agent` does the work of this step."""

    at: float
    task: str
    step: str
    agent: str


class StepRepeated(NamedTuple):
    """A further round starts: `repeat`, or the next arrival of a progressive join."""

    at: float
    task: str
    step: str
    round: int


class StepExpanded(NamedTuple):
    """The items of an `each` are known: steps `step[0]` to `step[size - 1]` exist from now on."""

    at: float
    task: str
    step: str
    size: int


class StepDone(NamedTuple):
    """All items of an `each`, or all rounds of a step, have ended."""

    at: float
    task: str
    step: str


class StepFailed(NamedTuple):
    """A step failed for good. `tolerated`: by `on_error: continue`. `letter`: whether it becomes a dead letter,
    which a step that failed only because its needs did does not. `usage` is that of an attempt which this
    ended."""

    at: float
    task: str
    step: str
    fault: Fault
    tolerated: bool = False
    letter: bool = True
    usage: Usage | None = None


class StepSkipped(NamedTuple):
    """A step is not needed, which is no failure. `why` is for the operator; `usage` is that of an attempt which
    this ended."""

    at: float
    task: str
    step: str
    why: str
    usage: Usage | None = None


class StepCancelled(NamedTuple):
    """A step was cancelled. `usage` is that of an attempt which this ended."""

    at: float
    task: str
    step: str
    why: str = ""
    usage: Usage | None = None


class StepReleased(NamedTuple):
    """A join goes on with what has arrived: an operator released it (`who`), or `within` is over (`clock`)."""

    at: float
    task: str
    step: str
    who: str = ""


class StepAnswered(NamedTuple):
    """An approval was decided, or the `question` with this id was answered. `how`: by a `person`, by `timeout`
    (no answer came in time), or by `yes` (the run was started with --yes); empty in logs of version 0.1, which
    recorded only `who`. `who` is the text of `author`. `defaults` names the fields that were not given and took
    their default."""

    at: float
    task: str
    step: str
    approved: bool
    fields: dict[str, Data]
    who: str = ""
    how: str = ""
    author: Author | None = None
    defaults: tuple[str, ...] = ()
    question: str = ""


class StepReopened(NamedTuple):
    """A step that had ended runs again, and with it all steps of the task that used its result.

    `inputs` replace those of the task by name. `was` is how the task had ended, empty where it is open. `again`
    holds every step that runs again with the state that it had. `nested`: the step contains a task that is
    reopened next."""

    at: float
    task: str
    step: str
    who: str = ""
    inputs: dict[str, Data] | None = None
    was: str = ""
    again: dict[str, str] | None = None
    nested: bool = False


class StepWaited(NamedTuple):
    """From now on a ready step waits for `reason`; `why` is a sentence for the operator. Recorded only for
    reasons that do not follow from the rest of the log: requests, tokens, pace, concurrent, budget, cooldown; for
    resources only when what becomes free is kept for the step."""

    at: float
    task: str
    step: str
    reason: str
    why: str = ""


class Noted(NamedTuple):
    """A line in the history. Where `data` has a `rung` or a `mode`, that rung or mode is in force from now on."""

    at: float
    text: str
    task: str = ""
    step: str = ""
    data: dict[str, Data] | None = None

    @property
    def asks(self) -> bool:
        """Whether this is the question of an approval, or of an agent."""
        return self.data is not None and "asks" in self.data


# Never recorded: they only make the scheduler decide -----------------------------------------------------------


class TimerFired(NamedTuple):
    """Time has passed: everything due by `at` is handled."""

    at: float


class Committed(NamedTuple):
    """All records up to `seq` are on disk: steps that read them may start."""

    at: float
    seq: int


class CancelAsked(NamedTuple):
    """Cancel the run (empty `task`), a task or a step. `now`: processes get no time to end by themselves."""

    at: float
    task: str = ""
    step: str = ""
    who: str = ""
    now: bool = False


class SkipAsked(NamedTuple):
    """Skip a step that has not ended."""

    at: float
    task: str
    step: str
    who: str = ""


class DeferralEnded(NamedTuple):
    """What a deferred attempt waited for has happened, or may have."""

    at: float
    task: str
    step: str
    attempt: int


class Batch(NamedTuple):
    """Events that are all handled before anything is decided. Otherwise a run that has ended and is resumed for a
    retry would end again before its first step is reopened, and of attempts that end together the first alone
    would say what starts next."""

    at: float
    events: tuple[Event | Signal, ...]


class Reserved(NamedTuple):
    """The answer to the `Reserve` with the number `ask`: the attempt may start with this model of this provider,
    for which these amounts are held. Dollars are 0 where the price is unknown."""

    at: float
    ask: int
    task: str
    step: str
    provider: str
    model: str
    tokens: int = 0
    usd: float = 0.0
    likely_in: int = 0
    likely_out: int = 0
    likely_usd: float = 0.0


class Refused(NamedTuple):
    """The answer to the `Reserve` with the number `ask`: there is no room, for a reason of `StepWaited`. There
    may be at `until`, or once other attempts release what they hold."""

    at: float
    ask: int
    task: str
    step: str
    provider: str
    reason: str
    until: float
    why: str = ""


class OutputRendered(NamedTuple):
    """The answer to the `RenderOutput` with the number `ask`: the result of the task, or why it has none."""

    at: float
    ask: int
    task: str
    output: Data = None
    fault: Fault | None = None


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | RunPaused
    | RunUnpaused
    | RunDrained
    | RunEnded
    | LimitChanged
    | PlaceClosed
    | PlaceOpened
    | TaskOpened
    | TasksExhausted
    | TaskEnded
    | TaskHurried
    | StepStarted
    | AttemptPlaced
    | ReservationGrew
    | StepSucceeded
    | AttemptFailed
    | AttemptLost
    | AttemptDeferred
    | AttemptAsked
    | InnerStarted
    | InnerEnded
    | WorkerHeld
    | WorkerFreed
    | StepRetrying
    | StepFellBack
    | StepRepeated
    | StepExpanded
    | StepDone
    | StepFailed
    | StepSkipped
    | StepCancelled
    | StepReleased
    | StepAnswered
    | StepReopened
    | StepWaited
    | Noted
)
#: How an attempt reports its end.
AttemptEnd: TypeAlias = StepSucceeded | AttemptFailed

Signal: TypeAlias = (
    TimerFired | Committed | CancelAsked | SkipAsked | DeferralEnded | Batch | Reserved | Refused | OutputRendered
)
