"""The moments of a run that an operator would want to notice."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from agentdeck.scheduler import events as ev

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


class RunTimeline(deque[TimelineEntry]):
    """The newest moments, oldest first."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT_ENTRIES)

    def add(self, seq: int, at: float, kind: str, text: str, task: str = "", step: str = "") -> None:
        self.append(TimelineEntry(seq, at, kind, text, task, step))


def by(who: str) -> str:
    return f", by {who}" if who else ""
