"""Which event takes a step, a task and a run from which states to which.

The fold checks every event against these tables while VALIDATE is on (it is on in the tests). `python -m
agentdeck.scheduler` prints them; docs/scheduler.md contains that output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import (
    BETWEEN,
    CANCELLED,
    DEFERRED,
    DONE,
    ENDED,
    FAILED,
    HELD,
    OPEN,
    READY,
    RUNNING,
    SKIPPED,
    WAITING,
)

#: Whether folds that are made from now on check each event. It costs about as much as applying the event.
VALIDATE = False

#: A step or task that did not exist, and one that stays as it was.
NEW, UNCHANGED = "new", "unchanged"

ORDER = (NEW, WAITING, READY, RUNNING, HELD, BETWEEN, OPEN, DEFERRED, DONE, FAILED, SKIPPED, CANCELLED)
UNENDED = (WAITING, READY, RUNNING, HELD, BETWEEN, OPEN, DEFERRED)
#: A step that is ready. While a log is read back it may still be held or deferred: the end of a backoff and of a
#: deferral is not recorded.
STARTABLE = (READY, HELD, DEFERRED)


class InvalidTransition(RuntimeError):
    """An event was applied to a step, task or run whose state does not allow it."""


class Transition(NamedTuple):
    """An event, the states that it may find, and the states that it may leave."""

    event: type
    before: tuple[str, ...]
    after: tuple[str, ...]
    meaning: str


STEPS = (
    Transition(ev.TaskOpened, (NEW,), (WAITING, READY), "each step of the task; ready where it has no needs"),
    Transition(ev.StepStarted, STARTABLE, (RUNNING, OPEN), "an attempt starts; open if it uses no worker"),
    Transition(ev.AttemptPlaced, (RUNNING,), (UNCHANGED,), "a worker of its place has begun the attempt"),
    Transition(ev.ReservationGrew, (RUNNING,), (UNCHANGED,), "the attempt reserves more for its next request"),
    Transition(
        ev.StepSucceeded,
        (RUNNING, OPEN, WAITING, READY),
        (DONE, BETWEEN),
        "an attempt ended well; between where rounds follow. From waiting or ready in a fork: a shared result",
    ),
    Transition(ev.AttemptFailed, (RUNNING, OPEN), (BETWEEN,), "the next event says what follows"),
    Transition(ev.AttemptLost, (RUNNING,), (READY,), "the process that executed it is gone"),
    Transition(ev.AttemptDeferred, (RUNNING,), (DEFERRED,), "it waits for something outside the run"),
    Transition(ev.AttemptAsked, (RUNNING,), (OPEN,), "it has questions to the operator"),
    Transition(ev.InnerStarted, (RUNNING,), (UNCHANGED,), "a step inside the attempt began"),
    Transition(ev.InnerEnded, (RUNNING,), (UNCHANGED,), "a step inside the attempt ended"),
    Transition(ev.StepRetrying, (BETWEEN,), (HELD,), "it waits for a backoff"),
    Transition(ev.StepFellBack, (BETWEEN,), (READY,), "the fallback does its work"),
    Transition(ev.StepRepeated, (BETWEEN,), (READY,), "a further round"),
    Transition(
        ev.StepExpanded, (READY, WAITING), (OPEN,), "`each`: its items are new and ready. From waiting in a fork"
    ),
    Transition(
        ev.StepWaited,
        STARTABLE,
        (UNCHANGED,),
        "it waits for a provider or a budget, or a resource is kept for it",
    ),
    Transition(ev.StepReleased, (WAITING,), (READY,), "the step starts with what has arrived"),
    Transition(
        ev.StepAnswered,
        (OPEN,),
        (DONE, READY, UNCHANGED),
        "an approval is decided; ready after the last answer to the questions of an attempt",
    ),
    Transition(ev.StepDone, (OPEN, BETWEEN), (DONE,), "all items or all rounds have ended"),
    Transition(ev.StepFailed, UNENDED, (FAILED,), "for good"),
    Transition(ev.StepSkipped, UNENDED, (SKIPPED,), "by `when`, a dispatch, a budget, its needs or an operator"),
    Transition(
        ev.StepCancelled, UNENDED, (CANCELLED,), "by an operator, a budget, or a step that needs it no more"
    ),
    Transition(
        ev.StepReopened,
        (DONE, FAILED, SKIPPED, CANCELLED),
        (WAITING, READY, OPEN),
        "the step and all that used its result; open where an item or a nested task runs again",
    ),
)

#: Moves that are not recorded, because the log implies them, with the signal that makes them.
UNRECORDED = (
    Transition(ev.TimerFired, (HELD,), (READY,), "the backoff is over, at the time that `StepRetrying` names"),
    Transition(ev.DeferralEnded, (DEFERRED,), (READY,), "what it waited for has happened"),
    Transition(ev.RunResumed, (DEFERRED,), (READY,), "another process checks again what it waited for"),
)

TASKS = (
    Transition(ev.TaskOpened, (NEW,), ("open",), "a nested task names the step that it belongs to"),
    Transition(ev.TaskEnded, ("open",), (DONE, FAILED, CANCELLED), "all its steps have ended"),
    Transition(ev.StepReopened, ("open", DONE, FAILED, CANCELLED), ("open",), "a step of it is reopened"),
)

RUN_STATES = ("running", "paused", "drained")
RUN = (
    Transition(ev.RunStarted, ("running",), ("running",), "the first event"),
    Transition(
        ev.RunResumed, (*RUN_STATES, DONE, FAILED, CANCELLED), ("running",), "another process continues it"
    ),
    Transition(ev.RunPaused, RUN_STATES, ("paused",), "nothing new starts"),
    Transition(ev.RunUnpaused, RUN_STATES, ("running",), "steps start again"),
    Transition(ev.RunDrained, RUN_STATES, ("drained",), "nothing new starts; the process ends once nothing runs"),
    Transition(ev.RunEnded, RUN_STATES, (DONE, FAILED, CANCELLED), "all tasks have ended"),
    Transition(
        ev.StepReopened, (*RUN_STATES, DONE, FAILED, CANCELLED), RUN_STATES, "a run that has ended runs again"
    ),
)

#: Events that change no state of a step, a task or the run, and what they change.
OTHERS: dict[type, str] = {
    ev.LimitChanged: "a limit of the run, an agent, a budget or a provider",
    ev.PlaceClosed: "a place of the deck is out of reach: its steps wait",
    ev.PlaceOpened: "it is there again, as every place is after a resume",
    ev.TasksExhausted: "no more tasks are opened",
    ev.TaskHurried: "the task starts before all others",
    ev.WorkerHeld: "a thread of a cancelled attempt goes on and holds a worker",
    ev.WorkerFreed: "that thread has ended",
    ev.Noted: "a rung of a budget that is in force, or whether steps run one after another; else nothing",
}

_STEPS = {row.event: row for row in STEPS}
_RUN = {row.event: row for row in RUN}


# Validation -----------------------------------------------------------------------------------------------------


def validated(kind: type, handler: Callable[[Any], None], state: RunState) -> Callable[[Any], None]:
    """The handler of an event, with a check of the steps and the run before and after it.

    Raises InvalidTransition where the tables do not allow the event.
    """

    def apply(event: Any) -> None:
        before, run = _states(state, event), state.status
        handler(event)
        after = _states(state, event)
        _check(event, run, state.status, _RUN.get(kind))
        for step, was in before.items():
            _check(event, was, after[step], _STEPS.get(kind))

    return apply


def _states(state: RunState, event: Any) -> dict[str, str]:
    """The steps that an event is about, with their states."""
    task = state.tasks.get(getattr(event, "task", "")) or state.closed.get(getattr(event, "task", ""))
    if task is None or isinstance(event, ev.Noted):
        return {}
    names = event.again or () if isinstance(event, ev.StepReopened) else [getattr(event, "step", "")]
    found = {name: task.step(name) for name in names}
    return {name: step.state for name, step in found.items() if step is not None}


def _check(event: object, before: str, after: str, row: Transition | None) -> None:
    same = before == after
    if row is None:
        if not same:
            raise InvalidTransition(f"{type(event).__name__} may not move {before} to {after}: {event}")
        return
    if before not in row.before or not (after in row.after or (same and UNCHANGED in row.after)):
        allowed = f"{', '.join(row.before)} to {', '.join(row.after)}"
        raise InvalidTransition(f"{type(event).__name__} moved {before} to {after}, not {allowed}: {event}")


# Printing -------------------------------------------------------------------------------------------------------


def as_markdown() -> str:
    """The tables as markdown."""
    parts = [
        "### Steps\n",
        _table(STEPS),
        "\nNot recorded, because the log implies them:\n",
        _table(UNRECORDED),
        "\n### Tasks\n",
        _table(TASKS),
        "\n### The run\n",
        _table(RUN),
        "\n### Events that change no state\n",
        "| event | changes |\n|---|---|",
        *(f"| `{kind.__name__}` | {text} |" for kind, text in OTHERS.items()),
    ]
    return "\n".join(parts) + "\n"


def _table(rows: Iterable[Transition]) -> str:
    lines = ["| event | from | to | meaning |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| `{row.event.__name__}` | {_names(row.before)} | {_names(row.after)} | {row.meaning} |")
    return "\n".join(lines)


def _names(states: tuple[str, ...]) -> str:
    if states == UNENDED:
        return "any that has not ended"
    if set(states) == ENDED:
        return "any that has ended"
    ordered = sorted(states, key=lambda name: ORDER.index(name) if name in ORDER else -1)
    return ", ".join(ordered)
