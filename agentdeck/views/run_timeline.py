"""The moments of a run that an operator would want to notice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import describe
from agentdeck.views.inner_place import inside

#: Older entries are dropped.
KEPT_ENTRIES = 1000
#: Events that a playback marks on its bar, by the kind of mark: what an operator would want to jump to.
MARKS: dict[type, str] = {
    ev.StepFailed: "failed",
    ev.StepRetrying: "retry",
    ev.LimitChanged: "limit",
    ev.RunPaused: "paused",
    ev.RunResumed: "resumed",
    ev.StepReopened: "reopened",
    ev.StepReleased: "released",
    ev.StepAnswered: "answered",
}


class TimelineEntry(NamedTuple):
    """One moment: the number and the time of its event, its kind, and a text for the operator."""

    seq: int
    at: float
    kind: str
    text: str
    task: str = ""
    step: str = ""


def _by(who: str) -> str:
    return f", by {who}" if who else ""


def _limit(e: ev.LimitChanged) -> str | None:
    before, now = ("none" if value is None else value for value in (e.old, e.new))
    return None if e.who == ev.AUTO else f"{e.name}: {before} -> {now}" + _by(e.who)


def _failed(e: ev.StepFailed) -> str | None:
    return e.fault.message + (" (tolerated)" if e.tolerated else "") if e.letter else None


def _lost(e: ev.AttemptLost) -> str:
    return f"attempt {e.attempt} was lost" + (f": {e.why}" if e.why else " with its process")


#: The kind and the text of each event that is an entry. An event with the text None is none.
_ENTRIES: dict[type, tuple[str, Callable[[Any], str | None]]] = {
    ev.RunStarted: ("forked", lambda e: f"reuses results of {e.origin}" + _by(e.who) if e.origin else None),
    ev.RunResumed: ("resumed", lambda e: "resumed" + _by(e.who)),
    ev.RunPaused: ("paused", lambda e: e.why or "paused" + _by(e.who)),
    ev.RunUnpaused: ("unpaused", lambda e: "continued" + _by(e.who)),
    ev.RunDrained: ("drained", lambda e: "drained" + _by(e.who)),
    ev.RunEnded: ("ended", lambda e: e.state),
    ev.LimitChanged: ("limit", _limit),
    ev.PlaceClosed: ("place", lambda e: f"{e.place} is out of reach: {e.why}"),
    ev.PlaceOpened: ("place", lambda e: f"{e.place} is there again"),
    ev.TaskHurried: ("hurried", lambda e: "runs before all others" + _by(e.who)),
    ev.AttemptFailed: ("failure", lambda e: f"attempt {e.attempt}: {e.fault.message}"),
    ev.AttemptLost: ("lost", _lost),
    ev.AttemptDeferred: ("held", lambda e: e.why),
    ev.StepRetrying: ("retry", lambda e: f"retry in {max(0.0, e.until - e.at):.1f} s ({e.reason})"),
    ev.StepFellBack: ("fallback", lambda e: f"fallback to {e.agent}"),
    ev.StepFailed: ("failed", _failed),
    ev.StepReleased: ("released", lambda e: "starts with what has arrived" + _by(e.who)),
    ev.StepAnswered: ("answered", describe),
    ev.StepReopened: ("reopened", lambda e: None if e.nested else "runs again" + _by(e.who)),
    ev.Noted: ("noted", lambda e: e.text),
}


class RunTimeline(deque[TimelineEntry]):
    """The newest moments, oldest first."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT_ENTRIES)

    def apply(self, seq: int, event: Any, place: str = "") -> None:
        """Add the entry of this event, if it has one. `place` is where inside its attempt a step failed."""
        kind, text_of = _ENTRIES[type(event)]
        if place:
            fault = event.fault
            event = event._replace(fault=fault._replace(message=inside(place, fault.message)))
        if (text := text_of(event)) is not None:
            of = (getattr(event, "task", ""), getattr(event, "step", ""))
            self.append(TimelineEntry(seq, event.at, kind, text, *of))

    def last(self, kind: str) -> str:
        """The text of the newest entry of this kind; empty without one."""
        return next((entry.text for entry in reversed(self) if entry.kind == kind), "")


#: The events that may have an entry.
NOTED = frozenset(_ENTRIES)
