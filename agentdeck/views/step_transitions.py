"""What each recorded event means for the step it names. Nothing else interprets the log for display.

`StepView` is the state of one step. The run view keeps one per step of each open task, the step story one, the
task timeline one per row; all of them change it only through the functions here, so they cannot disagree.

    event             state of the step               attempt            wait
    StepStarted       running                         begins             ends
    StepSucceeded     done (waiting between rounds)   ends, done
    AttemptPlaced                                     has a worker
    AttemptFailed     ready                           ends, failed       begins
    AttemptLost       ready                           ends, lost         begins
    AttemptDeferred   ready                           does not count     begins, with a reason
    AttemptAsked      running (it asks)               ends, asked
    StepRetrying      ready                                              reason `backoff`, until a time
    StepWaited        ready                                              gets another reason
    StepFellBack      ready
    StepRepeated      ready
    StepExpanded      running (its items: ready)
    StepDone          done                            ends, done         ends
    StepFailed        failed                          ends, failed       ends
    StepSkipped       skipped                         ends, skipped      ends
    StepCancelled     cancelled                       ends, cancelled    ends
    StepAnswered      done                            ends, done or rejected
                      ready after the last answer to the questions of an attempt
    StepReopened      waiting                                            begins
    TaskEnded         cancelled, unless it had ended  ends, cancelled    ends

The log does not record when the needs of a step are met: until the next event a step with met needs is `waiting`
here and `ready` in the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import describe, output_of
from agentdeck.scheduler.state import CANCELLED, DONE, ENDED, FAILED, READY, RUNNING, SKIPPED, WAITING
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.workflow.model import Data

#: Recorded waits are rounded to microseconds: less than that is no wait.
ROUNDING = 1e-6


class HasDisplayState(Protocol):
    @property
    def display_state(self) -> str: ...


#: The fields of a `StepView`: a compiled class has no `__slots__`.
STEP_FIELDS = (
    "agent", "asks", "attempt", "attempts", "ended", "fault", "held", "inside", "key", "letter", "nested",
    "other", "reason", "rejected", "seen", "since", "size", "started", "state", "until", "waited", "why",
    "worker",
)  # fmt: skip


class StepView:
    """The state of one step after the events applied so far.

    `since` is when it last stopped running; at first, when its task opened. `started` is when its last attempt
    began, or when it became items; `until` is when its backoff ends. `reason` and `why` say what a ready step
    waits for; `why` also says why a step was skipped or cancelled, and how an approval was answered. `size` is
    the number of its items, -1 for a step without; `seen` is how many of them the log has named. `agent` holds
    the totals of its agent. `attempt` runs now. `other` runs beside it: the scheduler never starts two, but a log
    may hold it. `held` lists the reasons for which it was held back since it last ran, in order; `waited` are
    the seconds of a backoff that ended before it starts. `nested` is the task that a sub-workflow's step waits
    for, where that is known. `asks` is the number of questions of its last attempt that have no answer. `inside`
    says where in its attempt it failed with `fault`, by the names of inner steps; empty where that is not known.
    `worker` is the one of its place that has its last attempt; empty where that is not known.
    """

    __slots__ = STEP_FIELDS

    def __init__(self, key: str, agent: AgentTotals, state: str, since: float) -> None:
        self.key = key
        self.agent = agent
        self.state = state
        self.since = since
        self.started: float | None = None
        self.ended: float | None = None
        self.until: float | None = None
        self.attempts = 0
        self.attempt: ev.StepStarted | None = None
        self.other: ev.StepStarted | None = None
        self.fault: Fault | None = None
        self.reason = self.why = self.inside = self.worker = ""
        self.letter = self.rejected = False
        self.size = -1
        self.seen = self.asks = 0
        self.held: tuple[str, ...] | None = None
        self.nested: HasDisplayState | None = None
        self.waited: dict[str, float] | None = None

    @property
    def display_state(self) -> str:
        """Its state as screens show it: `asking` while the operator has to answer, also for its nested task;
        `rejected` after a no."""
        if self.state == RUNNING:
            asks = (
                self.agent.asks
                or self.asks > 0
                or (self.nested is not None and self.nested.display_state == "asking")
            )
            return "asking" if asks else RUNNING
        return "rejected" if self.rejected else self.state

    def count(self, before: str) -> None:
        """Move the step from its state `before` to its state now in the counts of its agent. Of a step with items
        the items are counted, and the step is not."""
        if self.size < 0:
            self.agent.counts[before] -= 1
            self.agent.counts[self.state] += 1

    def ask(self, questions: int) -> None:
        """Set how many questions have no answer."""
        self.agent.questions += (questions > 0) - (self.asks > 0)
        self.asks = questions


class Change(NamedTuple):
    """What one event changed in a step: its state before, the seconds of the waits that ended with the event, by
    reason, in their order; the attempts that ended with it, and how they ended (done, rejected, failed, lost,
    deferred, asked, skipped, cancelled)."""

    before: str
    waits: Mapping[str, float] = {}
    ended: Sequence[ev.StepStarted] = ()
    outcome: str = ""


# Attempts -------------------------------------------------------------------------------------------------------


def start_attempt(step: StepView, e: ev.StepStarted, waits: dict[str, float]) -> None:
    """Begin an attempt. Adds to `waits` the seconds since the step last stopped running, by reason, in the order
    in which they passed. (It fills a dict of the caller: a list made for each attempt costs 10 % of the fold.)"""
    at, _, _, _, _, ready, recorded = e[:7]
    if step.attempt is not None:
        step.other = step.attempt
    else:
        since = step.since
        if recorded is not None or step.until is not None or step.waited is not None:
            _add_waits(step, at, ready, recorded, waits)
        else:  # by far the most steps wait for needs and workers only
            if ready > since:
                waits["needs"] = waits.get("needs", 0.0) + ready - since
                since = ready
            if at > since:
                waits["pool"] = waits.get("pool", 0.0) + at - since
        if step.held is not None:
            step.held = None
            step.reason = step.why = ""
    step.attempt = e
    step.worker = ""
    step.state = RUNNING
    step.started = at
    step.attempts += 1


def _add_waits(
    step: StepView, at: float, ready: float, recorded: Mapping[str, float] | None, waits: dict[str, float]
) -> None:
    """Share the time until `at` among its reasons. Where `recorded` names the pool it is complete, a backoff
    included; in logs of version 0.1 it is a part, and the rest was the pool. Reasons that the log gave while the
    step waited come in that order, after those that it did not give."""
    if step.until is not None:
        _end_backoff(step, at)
    earlier, step.waited = step.waited, None
    since = step.since
    if earlier is not None:
        _add(waits, earlier)
    elif ready > since:
        waits["needs"] = waits.get("needs", 0.0) + ready - since
        since = ready
    left: Mapping[str, float] = recorded or {}
    if "pool" not in left:
        known = ("needs", "backoff", *(earlier or ()))
        left = {reason: seconds for reason, seconds in left.items() if reason not in known}
        left = {**left, "pool": at - since - sum(left.values())}
    elif earlier is not None:
        left = {reason: seconds - earlier.get(reason, 0.0) for reason, seconds in left.items()}
    late = step.held
    if late is not None:
        left = dict(sorted(left.items(), key=lambda one: late.index(one[0]) + 1 if one[0] in late else 0))
    _add(waits, left)


def _add(waits: dict[str, float], more: Mapping[str, float]) -> None:
    for reason, seconds in more.items():
        if seconds > ROUNDING:
            waits[reason] = waits.get(reason, 0.0) + seconds


def _end_backoff(step: StepView, at: float) -> None:
    """The backoff is over, or was cut short."""
    if step.until is not None:
        end = min(step.until, at)
        if end > step.since:
            step.waited = step.waited or {}
            _add(step.waited, {step.reason or "backoff": end - step.since})
            step.since = end
        step.until, step.reason = None, ""


def _started(step: StepView, e: ev.StepStarted) -> Change:
    before, waits = step.state, dict[str, float]()
    start_attempt(step, e, waits)
    return Change(before, waits)


def _placed(step: StepView, e: ev.AttemptPlaced) -> Change:
    step.worker = e.worker
    return Change(step.state)


def complete_attempt(step: StepView, e: ev.StepSucceeded) -> ev.StepStarted | None:
    """End an attempt well, and the step with it unless it has further rounds. Returns the attempt, if known."""
    started = step.attempt
    if step.other is not None:
        started = _end_attempt(step, e.attempt)
    else:
        step.attempt = None
    step.since = step.ended = e.at
    step.fault = None
    if step.agent.rounds and step.key[-1] != "]":
        step.state = WAITING
    else:
        step.state = DONE
        step.letter = False
    return started


def _end_attempt(step: StepView, number: int) -> ev.StepStarted | None:
    """Take an attempt off those that run. Of two, the other one goes on."""
    ended, other = step.attempt, step.other
    if ended is not None and other is not None and ended.attempt != number:
        ended, other = other, ended
    step.attempt, step.other = other, None
    return ended


def _succeeded(step: StepView, e: ev.StepSucceeded) -> Change:
    before, started = step.state, complete_attempt(step, e)
    return Change(before, {}, (started,) if started else (), DONE)


def _unsuccessful(step: StepView, e: ev.AttemptFailed | ev.AttemptLost | ev.AttemptDeferred) -> Change:
    before, started = step.state, _end_attempt(step, e.attempt)
    step.since = e.at
    if step.attempt is None:
        step.state = READY
    if isinstance(e, ev.AttemptFailed):
        step.fault = e.fault
    elif isinstance(e, ev.AttemptDeferred):
        step.attempts -= 1
        step.started = None
        _hold_back(step, e)
    return Change(before, {}, (started,) if started else (), _OUTCOMES[type(e)])


def _asked(step: StepView, e: ev.AttemptAsked) -> Change:
    before, started = step.state, _end_attempt(step, e.attempt)
    step.since = e.at
    step.state = RUNNING
    step.ask(len(e.questions))
    return Change(before, {}, (started,) if started else (), "asked")


def _hold_back(step: StepView, e: ev.AttemptDeferred | ev.StepWaited) -> None:
    step.reason, step.why = e.reason, e.why
    step.held = (*(step.held or ()), e.reason)


# What follows an attempt ----------------------------------------------------------------------------------------


def _ready(step: StepView, e: ev.StepRetrying | ev.StepWaited | ev.StepFellBack | ev.StepRepeated) -> Change:
    """Another attempt follows."""
    before, step.state = step.state, READY
    match e:
        case ev.StepRetrying():
            step.until, step.reason = e.until, e.reason
        case ev.StepWaited():
            _end_backoff(step, e.at)
            _hold_back(step, e)
        case ev.StepRepeated():
            step.ended = None
    return Change(before)


def _expanded(step: StepView, e: ev.StepExpanded) -> Change:
    """A step without items is done next, and stays one step."""
    before, step.state = step.state, RUNNING
    step.started = e.at
    if step.size < 0 < e.size:
        step.size = e.size
    return Change(before)


# The end of a step, and its reopening ---------------------------------------------------------------------------


def end_step(step: StepView, at: float, state: str, outcome: str = "") -> Change:
    """End the step. Attempts that still run end with it, and so does its backoff."""
    before = step.state
    ended = [attempt for attempt in (step.attempt, step.other) if attempt is not None]
    step.attempt = step.other = step.nested = None
    _end_backoff(step, at)
    waits, step.waited, step.held = step.waited or {}, None, None
    step.reason = ""
    if step.asks:
        step.ask(0)
    step.state = state
    step.since = step.ended = at
    if state == DONE:
        step.letter = False
    return Change(before, waits, ended, outcome or state)


def _ended(step: StepView, e: ev.StepDone | ev.StepFailed | ev.StepSkipped | ev.StepCancelled) -> Change:
    if isinstance(e, ev.StepFailed):
        step.fault = e.fault
        step.letter |= e.letter
    elif not isinstance(e, ev.StepDone):
        step.why = e.why
    return end_step(step, e.at, _ENDS[type(e)])


def _answered(step: StepView, e: ev.StepAnswered) -> Change:
    """The time in which the operator was asked is a wait."""
    if e.question:
        return _question_answered(step, e)
    asked = step.started if step.started is not None else step.since
    change = end_step(step, e.at, DONE, DONE if e.approved else "rejected")
    step.why = describe(e)
    step.rejected = not e.approved
    return change._replace(waits={**change.waits, "approval": e.at - asked})


def _question_answered(step: StepView, e: ev.StepAnswered) -> Change:
    """One of the questions of an attempt has its answer; after the last one, another attempt follows."""
    before, asked = step.state, step.since
    step.ask(max(0, step.asks - 1))
    step.why = describe(e)
    if step.asks:
        return Change(before)
    step.state, step.since = READY, e.at
    return Change(before, {"approval": e.at - asked})


def reopened_steps(e: ev.StepReopened) -> Mapping[str, str]:
    """The steps that are reopened together, each with its state before."""
    return e.again if e.again is not None else {e.step: FAILED}


def reopen_step(step: StepView, e: ev.StepReopened) -> Change:
    """A step that only waits for the reopened one (its items, its nested task) runs; any other one waits for
    its needs."""
    before = step.state
    holds = e.step.startswith(step.key + "[") or (e.nested and step.key == e.step)
    step.state = RUNNING if holds else WAITING
    step.since = e.at
    step.started = step.ended = step.until = None
    step.reason = step.why = step.inside = step.worker = ""
    step.rejected = False
    step.ask(0)
    step.held = step.waited = None
    return Change(before)


_OUTCOMES: dict[type, str] = {
    ev.AttemptFailed: "failed", ev.AttemptLost: "lost", ev.AttemptDeferred: "deferred",
}  # fmt: skip
_ENDS: dict[type, str] = {
    ev.StepDone: DONE, ev.StepFailed: FAILED, ev.StepSkipped: SKIPPED, ev.StepCancelled: CANCELLED,
}  # fmt: skip
#: The events that change the step they name. The other events of a step are only shown.
_TRANSITIONS: dict[type, Callable[[StepView, Any], Change]] = {
    ev.StepStarted: _started,
    ev.AttemptPlaced: _placed,
    ev.StepSucceeded: _succeeded,
    **dict.fromkeys(_OUTCOMES, _unsuccessful),
    ev.AttemptAsked: _asked,
    **dict.fromkeys((ev.StepRetrying, ev.StepWaited, ev.StepFellBack, ev.StepRepeated), _ready),
    ev.StepExpanded: _expanded,
    **dict.fromkeys(_ENDS, _ended),
    ev.StepAnswered: _answered,
}
#: The events that end the attempts of their step, if any run.
ATTEMPT_ENDS = (
    ev.StepSucceeded, ev.AttemptFailed, ev.AttemptLost, ev.AttemptDeferred, ev.AttemptAsked, ev.StepDone,
    ev.StepFailed, ev.StepSkipped, ev.StepCancelled, ev.StepAnswered,
)  # fmt: skip


def transition(step: StepView, event: Any) -> Change:
    """Apply an event to the step that it names, one of `_TRANSITIONS`. Returns what changed."""
    return _TRANSITIONS[type(event)](step, event)


def end_with_task(step: StepView, event: ev.TaskEnded, *, named: bool) -> Change:
    """A step that the log left open ended with its task. One that it never `named` was not needed, if the task is
    done."""
    if step.state in ENDED:
        return Change(step.state)
    return end_step(step, event.at, SKIPPED if event.state == DONE and not named else CANCELLED)


def follow(step: StepView, event: Any) -> Change | None:
    """Apply any event of the step's task to the step, which the log has named before. Returns None where it does
    not concern the step: it names another one, or changes no step (`StepReleased`, `Noted`)."""
    kind, key = type(event), step.key
    if kind is ev.TaskEnded:
        return end_with_task(step, event, named=True)
    group = key.partition("[")[0]
    if kind is ev.StepReopened:
        again = reopened_steps(event)
        with_group = group != key and group in again and not event.step.startswith(group + "[")
        return reopen_step(step, event) if key in again or with_group else None
    if kind is ev.StepExpanded and event.step == group != key:
        before, step.state = step.state, READY
        return Change(before)
    return transition(step, event) if kind in _TRANSITIONS and event.step == key else None


class StepResult(NamedTuple):
    """The end of a step, or of one round of it: its state, its output or its fault."""

    task: str
    step: str
    state: str
    output: Data = None
    fault: Fault | None = None


def result_of(event: Any) -> StepResult | None:
    """The result that an event records. None where it ends no step, or one whose result its items make up."""
    kind = type(event)
    if kind is ev.StepSucceeded or (kind is ev.StepAnswered and not event.question):
        output = event.output if kind is ev.StepSucceeded else output_of(event)
        return StepResult(event.task, event.step, DONE, output)
    if kind in _ENDS and kind is not ev.StepDone:
        return StepResult(event.task, event.step, _ENDS[kind], None, getattr(event, "fault", None))
    return None
