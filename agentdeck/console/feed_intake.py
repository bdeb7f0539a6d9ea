"""Folds what a feed has read into a view, in slices, so that no key waits.

A busy engine writes thirty thousand events a second, and a long run is opened with a million of them. After each
slice is a pause in which the loop handles keys, mouse and painting.
"""

from __future__ import annotations

import asyncio
import time

from agentdeck.console.feed import CHUNK, Feed
from agentdeck.console.log.lines import LineStore
from agentdeck.store.reader import LogLine
from agentdeck.views.run_view import RunView

SLICE = 0.002  # seconds of folding at a time
PAUSE = 0.002  # between two slices, at least
FEW = 100  # events that may be missing from a view that is up to date
LATE = 0.25  # seconds behind after which the screen says so
MAX_STEPS = 20_000  # steps whose last log line is remembered


class Intake:
    """Moves what `feed` has read into `view` and `lines`. Call `take` in every frame, `close` at the end.

    `last_output` is the time of the last log line of each step, by task and key; of many steps, those that have
    ended are dropped. `late` is for how many seconds the view has been behind, 0 while it is up to date.
    `caught_up` is set once the view has all events that existed when it was opened: before that it shows a state
    that the run had at no time of interest.
    """

    def __init__(self, feed: Feed, view: RunView, lines: LineStore) -> None:
        self.feed, self.view, self.lines = feed, view, lines
        self.taken = 0
        self.caught_up = False
        self._opened_at = feed.known
        self.last_output: dict[tuple[str, str], float] = {}
        self._complete = time.monotonic()
        self._next: asyncio.TimerHandle | None = None

    def take(self) -> None:
        """Fold a slice now, and schedule further ones while something is left."""
        if self._next is None:
            self._slice()

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    @property
    def behind(self) -> int:
        """How many known events the view has not applied yet."""
        return self.feed.behind(self.view)

    @property
    def late(self) -> float:
        return 0.0 if self.behind <= FEW else time.monotonic() - self._complete

    @property
    def reading(self) -> float | None:
        """The share of known events that the view has, while it is catching up; None otherwise."""
        if self.caught_up and self.late <= LATE:
            return None
        known = self.feed.known
        return (known - self.behind) / known if known else 0.0

    def _slice(self) -> None:
        feed = self.feed
        end = time.perf_counter() + SLICE
        self.taken += feed.fold(self.view, SLICE)
        while lines := feed.lines(CHUNK):
            self.lines.append(lines)
            self.taken += len(lines)
            self._note_output(lines)
            if time.perf_counter() > end:
                break
        if self.behind <= FEW:
            self._complete = time.monotonic()
            self.caught_up |= self.behind == 0 or self.view.seq >= self._opened_at
        self._next = asyncio.get_running_loop().call_later(PAUSE, self._slice) if feed.waiting else None

    def _note_output(self, lines: list[LogLine]) -> None:
        for line in lines:
            self.last_output[line.task, line.step] = line.at
        if len(self.last_output) > MAX_STEPS:
            running = self.view.running
            self.last_output = {key: at for key, at in self.last_output.items() if key in running}
