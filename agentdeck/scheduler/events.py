"""Everything that can happen in a run.

Events are past tense and are what the log holds; what the core asks for in return is in `scheduler/actions.py`.
Every event begins with `at`, seconds since the epoch on the run's clock: the core has no clock of its own.

An event reaches the core by `Scheduler.handle`. What it accepts it records (a `Record` action), together with
what follows from it. Folding the recorded events with `Scheduler.apply` gives the same state again.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from agentdeck.errors import Fault
from agentdeck.limits.budget import Hold
from agentdeck.workflow.model import Data

#: `who` of a limit that the engine changed by itself: it is shown, and is no limit that an operator set.
AUTO = "auto"


class Usage(NamedTuple):
    """What an attempt used, all its requests together. Token counts of None are unknown, never zero; so is `usd`.
    `estimated`: a part of it was never counted by the provider, because a request was cut or cancelled, and is
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
    """Who did something: the user of the operating system, the host, and the tool (`console`, `cli`, `api`). `by`
    is the name that was given with `--by`, where one account serves several people."""

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
    """The first event of every log. `inputs` are the run's own, before defaults; `limits` as launched. `origin`
    is the run whose results a forked one shares. `tasks` is how many were given, where they were counted."""

    at: float
    run: str
    workflow: str
    identity: str
    inputs: dict[str, Data]
    limits: dict[str, Data]
    who: str = ""
    origin: str = ""
    tasks: int | None = None


class RunResumed(NamedTuple):
    """A process took the run up again after its owner died or drained. Attempts still open are lost.
    `idle` is how long nobody ran it: clocks of joins and attempts leave that time out."""

    at: float
    idle: float = 0.0
    who: str = ""


class RunPaused(NamedTuple):
    """Nothing new starts. What runs goes on. `why` is the reason shown; empty when a person asked."""

    at: float
    why: str = ""
    who: str = ""


class RunUnpaused(NamedTuple):
    at: float
    who: str = ""


class RunDrained(NamedTuple):
    """The owner stops: nothing runs any more, the rest is for whoever resumes."""

    at: float
    who: str = ""


class RunEnded(NamedTuple):
    """The last event, until somebody retries. `state`: done, failed, cancelled."""

    at: float
    state: str


class LimitChanged(NamedTuple):
    """`name` is dotted: `workers`, `agents.extract.timeout`, `openai.requests`. Values are plain data."""

    at: float
    name: str
    old: Data
    new: Data
    who: str = ""


# Tasks -----------------------------------------------------------------------------------------------------


class TaskOpened(NamedTuple):
    """A task entered the graph. `inputs` are complete. A nested one names the step it belongs to."""

    at: float
    task: str
    inputs: dict[str, Data]
    parent: tuple[str, str] | None = None


class TasksExhausted(NamedTuple):
    """No more tasks are opened; `total` have been. `cut`: the run was cancelled, and the source was not at its
    end."""

    at: float
    total: int
    cut: bool = False


class TaskEnded(NamedTuple):
    """`state`: done, failed, cancelled. A retry opens the task again."""

    at: float
    task: str
    state: str
    output: Data = None
    fault: Fault | None = None


class TaskHurried(NamedTuple):
    """The task goes before all others from now on."""

    at: float
    task: str
    who: str = ""


# Steps -----------------------------------------------------------------------------------------------------


class StepStarted(NamedTuple):
    """An attempt began. `agent` is who does the work (another one's name for a fallback). `ready` is when the
    step became ready; `waits` tells how that time went, by reason, where it was not all `pool`. Where it names
    `pool` it is the whole of it, a backoff before included; in logs of version 0.1 it is a part. `model` is the
    deck's name of who answers; so much is reserved for it, and so much it likely uses. `eased` tells what a low
    budget did to it."""

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


class ReservationGrew(NamedTuple):
    """One more request of an attempt is about to be sent. So much is reserved for all of its requests from now
    on: what those before used, and the most that this one can use."""

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
    """What is reserved of the budgets by this event."""
    if isinstance(event, Reserved):
        return Hold(event.tokens, event.usd, event.likely_in, event.likely_out, event.likely_usd)
    return Hold(event.reserved_tokens, event.reserved_usd, *event[-3:])


class StepSucceeded(NamedTuple):
    """An attempt ended well. `reused` when the result came from `once` or `cache`."""

    at: float
    task: str
    step: str
    attempt: int
    output: Data = None
    usage: Usage | None = None
    input_bytes: int = 0
    reused: bool = False


class AttemptFailed(NamedTuple):
    """An attempt ended badly. What follows is told by the next event on this step."""

    at: float
    task: str
    step: str
    attempt: int
    fault: Fault
    usage: Usage | None = None
    input_bytes: int = 0


class AttemptLost(NamedTuple):
    """The process that ran it died. It counts against nothing but its tokens, which are estimated."""

    at: float
    task: str
    step: str
    attempt: int
    usage: Usage | None = None


class AttemptDeferred(NamedTuple):
    """An attempt ended before it did anything: the step waits, without a worker, for `reason`, and begins anew
    when what it waits for has happened. It counts against nothing. `why` is a sentence for people."""

    at: float
    task: str
    step: str
    attempt: int
    reason: str
    why: str = ""


class StepRetrying(NamedTuple):
    """The step waits (reason `backoff`, or `cooldown` where the other side asked) and goes again at `until`."""

    at: float
    task: str
    step: str
    until: float
    reason: str = "backoff"
    tier_up: int = 0


class StepFellBack(NamedTuple):
    """From now on `agent` does this step's work."""

    at: float
    task: str
    step: str
    agent: str


class StepRepeated(NamedTuple):
    """A round ended and another one follows: `repeat`, or the next arrival of a progressive join."""

    at: float
    task: str
    step: str
    round: int


class StepExpanded(NamedTuple):
    """An agent with `each` got its items: steps `step[0]` to `step[size - 1]` exist now."""

    at: float
    task: str
    step: str
    size: int


class StepDone(NamedTuple):
    """A step that no attempt ends by itself is done: all items of an `each`, all rounds of a progressive join."""

    at: float
    task: str
    step: str


class StepFailed(NamedTuple):
    """Finally. `tolerated` with `on_error: continue`. `letter`: whether it becomes one; a step that failed only
    because what it needs failed does not. `usage` is that of an attempt which this ended."""

    at: float
    task: str
    step: str
    fault: Fault
    tolerated: bool = False
    letter: bool = True
    usage: Usage | None = None


class StepSkipped(NamedTuple):
    """It will not run, and that is no failure. `why` is for people; `usage` is that of an attempt which this
    ended."""

    at: float
    task: str
    step: str
    why: str
    usage: Usage | None = None


class StepCancelled(NamedTuple):
    """`usage` is that of an attempt which this ended."""

    at: float
    task: str
    step: str
    why: str = ""
    usage: Usage | None = None


class StepReleased(NamedTuple):
    """A person let a join go with what has arrived."""

    at: float
    task: str
    step: str
    who: str = ""


class StepAnswered(NamedTuple):
    """An approval was decided. `how`: by a `person`, by `timeout` (nobody answered in time), by `yes` (the run
    was started with --yes); empty in logs of version 0.1, which recorded no more than `who`. `who` is the text of
    `author`. `defaults` names the fields that were not given and took their default."""

    at: float
    task: str
    step: str
    approved: bool
    fields: dict[str, Data]
    who: str = ""
    how: str = ""
    author: Author | None = None
    defaults: tuple[str, ...] = ()


class StepReopened(NamedTuple):
    """A step that had ended goes again, and with it what depended on it, in the same task.

    `inputs` are laid over the task's. `was` is how the task had ended; empty if it is open. `again` names every
    step of the task that goes again, and how it stood. `nested`: the step waits for a task under it that is
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
    """A ready step is held back from now on for `reason`, with a sentence for people. Told only for reasons
    that the rest of the log does not tell: requests, tokens, concurrent, budget, cooldown."""

    at: float
    task: str
    step: str
    reason: str
    why: str = ""


class Noted(NamedTuple):
    """Something worth a line in the history that changes no state."""

    at: float
    text: str
    task: str = ""
    step: str = ""
    data: dict[str, Data] | None = None

    @property
    def asks(self) -> bool:
        """Whether this is the question with which a step asks a person."""
        return self.data is not None and "asks" in self.data


# Never recorded: they only let the core decide ----------------------------------------------------------------


class TimerFired(NamedTuple):
    """It is `at` now; whatever is due is due."""

    at: float


class Committed(NamedTuple):
    """All records up to the sequence number are on disk: what read them may start."""

    at: float
    seq: int


class CancelAsked(NamedTuple):
    """Cancel the run, one task, or one step. `task` empty is the run. `now`: without grace."""

    at: float
    task: str = ""
    step: str = ""
    who: str = ""
    now: bool = False


class SkipAsked(NamedTuple):
    """Go on without a step that has not ended."""

    at: float
    task: str
    step: str
    who: str = ""


class DeferralEnded(NamedTuple):
    """What the deferred attempt waited for has happened, or may have."""

    at: float
    task: str
    step: str
    attempt: int


class Batch(NamedTuple):
    """Events that are all taken in before anything is decided: a run that is over and taken up for a retry would
    else be over again before the first step is reopened."""

    at: float
    events: tuple[Event | Signal, ...]


class Reserved(NamedTuple):
    """The answer to `Reserve` number `ask`: the attempt may begin, with this model of this provider, which holds
    so much for it. The dollars are 0 where the price is not known."""

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
    """The answer to `Reserve` number `ask`: not now, for a reason of `StepWaited`. It is worth asking again at
    `until`, or when something is given back."""

    at: float
    ask: int
    task: str
    step: str
    provider: str
    reason: str
    until: float
    why: str = ""


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | RunPaused
    | RunUnpaused
    | RunDrained
    | RunEnded
    | LimitChanged
    | TaskOpened
    | TasksExhausted
    | TaskEnded
    | TaskHurried
    | StepStarted
    | ReservationGrew
    | StepSucceeded
    | AttemptFailed
    | AttemptLost
    | AttemptDeferred
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
Signal: TypeAlias = TimerFired | Committed | CancelAsked | SkipAsked | DeferralEnded | Batch | Reserved | Refused
