"""A recorded run played at a chosen speed.

The position of the playback is a number of events, and the view is the fold of these. Going forward applies the
events between; going back folds again from the start, in slices, so that no frame waits for it.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.views.run_timeline import MARKS
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition

SPEEDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Mark(NamedTuple):
    """A moment on the bar."""

    at: float
    place: int
    kind: str


class Playback:
    """Invariant: `view` is the fold of the first `index` events; `target` is the index to reach."""

    def __init__(self, definition: Definition | None, events: Sequence[tuple[int, ev.Event]]) -> None:
        self.definition = definition
        self.events = events
        self.view = RunView(definition)
        self.index = self.target = 0
        self.playing = False
        self.speed = 1.0
        self._times = [event.at for _, event in events]
        for i in range(1, len(self._times)):  # a clock that was set back must not reverse the bar
            self._times[i] = max(self._times[i], self._times[i - 1])
        self.begin = self._times[0] if self._times else 0.0
        self.end = self._times[-1] if self._times else 0.0
        self.now = self.begin
        self.marks = [
            Mark(self._times[i], i + 1, MARKS[type(event)])
            for i, (_, event) in enumerate(events)
            if type(event) in MARKS
        ]

    @property
    def at_end(self) -> bool:
        return self.target >= len(self.events)

    @property
    def settled(self) -> bool:
        """Whether the view has reached the target."""
        return self.index == self.target

    def advance(self, seconds: float) -> None:
        """Move the target on by this wall time. Does nothing unless it plays; stops at the end."""
        if not self.playing or not self.settled:
            return
        self.now = min(self.end, self.now + seconds * self.speed)
        self.target = bisect_right(self._times, self.now)
        if self.at_end:
            self.playing = False

    def fold(self, budget: float) -> int:
        """Apply events towards the target for about `budget` seconds. Returns how many."""
        if self.target < self.index:
            self.view, self.index = RunView(self.definition), 0
        began, until = self.index, time.perf_counter() + budget
        while self.index < self.target:
            stop = min(self.target, self.index + 64)
            for seq, event in self.events[self.index : stop]:
                self.view.apply(seq, event)
            self.index = stop
            if time.perf_counter() > until:
                break
        return self.index - began

    def seek(self, at: float) -> None:
        """Move the target to a time on the run's clock."""
        self.now = min(max(at, self.begin), self.end)
        self.target = bisect_right(self._times, self.now)

    def step(self, by: int) -> None:
        """Move the target by so many events, and pause."""
        self.playing = False
        self.target = min(max(self.target + by, 0), len(self.events))
        self.now = self._times[self.target - 1] if self.target else self.begin

    def jump(self, direction: int) -> Mark | None:
        """Move the target to the next mark, or to the one before (`direction` -1). Returns None without one."""
        indices = [mark.place for mark in self.marks]
        place = bisect_right(indices, self.target) if direction > 0 else bisect_left(indices, self.target) - 1
        if not 0 <= place < len(indices):
            return None
        mark = self.marks[place]
        self.playing, self.target, self.now = False, mark.place, mark.at
        return mark

    def faster(self, by: int) -> None:
        """Change the speed by so many notches."""
        near = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
        self.speed = SPEEDS[min(max(near + by, 0), len(SPEEDS) - 1)]
