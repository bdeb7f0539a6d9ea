"""Taking in what a feed has read, without ever holding up a key.

A busy engine writes thirty thousand events a second, and a long run is opened with a million of them. They are
folded in slices, with a pause after each in which the loop handles whatever else has come: keys, mouse, paint.
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
LATE = 0.25  # seconds behind, after which that is told
HEARD = 20_000  # steps of which it is known when they last said something


class Intake:
    """What `feed` has read goes into `view` and `lines`. `take` in every frame; `close` at the end.

    `heard` is when each step, by task and key, last said something; of many, those that ended are forgotten.
    `late` is since how many seconds the view has not been up to date, 0 while it is: nothing that is shown is
    older than that and the feed's own look at the store. `caught_up` once the view has had all events that there
    were when it was opened: before that, nothing in it is true of any moment that an operator would ask about.
    """

    def __init__(self, feed: Feed, view: RunView, lines: LineStore) -> None:
        self.feed, self.view, self.lines = feed, view, lines
        self.taken = 0
        self.caught_up = False
        self._opened_at = feed.known
        self.heard: dict[tuple[str, str], float] = {}
        self._complete = time.monotonic()
        self._next: asyncio.TimerHandle | None = None

    def take(self) -> None:
        """A slice now, and more of them soon for as long as there is more."""
        if self._next is None:
            self._slice()

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    @property
    def behind(self) -> int:
        """Events that are known and not in the view."""
        return self.feed.behind(self.view)

    @property
    def late(self) -> float:
        return 0.0 if self.behind <= FEW else time.monotonic() - self._complete

    @property
    def reading(self) -> float | None:
        """The share of all known events that the view has, while it is catching up; None while it is not."""
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
            self._hear(lines)
            if time.perf_counter() > end:
                break
        if self.behind <= FEW:
            self._complete = time.monotonic()
            self.caught_up |= self.behind == 0 or self.view.seq >= self._opened_at
        self._next = asyncio.get_running_loop().call_later(PAUSE, self._slice) if feed.waiting else None

    def _hear(self, lines: list[LogLine]) -> None:
        for line in lines:
            self.heard[line.task, line.step] = line.at
        if len(self.heard) > HEARD:
            running = self.view.running
            self.heard = {key: at for key, at in self.heard.items() if key in running}
