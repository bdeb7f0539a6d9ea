"""A run that a screen shows: its view, its row in the store, its clock, and how its events come into the view.

What a feed has read is folded in slices, so that no key waits: a busy engine writes thirty thousand events a
second, and a long run is opened with a million of them. After each slice is a pause in which the loop handles
keys, mouse and painting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from agentdeck.console.feed import CHUNK, Feed
from agentdeck.console.log.lines import LineStore
from agentdeck.store.run_list import RunRow
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition

SLICE = 0.002  # seconds of folding at a time
PAUSE = 0.002  # between two slices, at least
FEW = 100  # events that may be missing from a view that is up to date
LATE = 0.25  # seconds behind after which the screen says so
MAX_STEPS = 20_000  # steps whose last log line is remembered


class RunState:
    """What actions read of the run on the screen: in a replay, as it was at the moment that is shown.

    `view` is replaced by another object when a run is first read and when a replay seeks.
    """

    def __init__(self, db: Path, run: str) -> None:
        self.db, self.run = db, run
        self.view = RunView()

    @property
    def row(self) -> RunRow | None:
        """The run as the store lists it; None while it is not there, and in a replay."""
        return None

    @property
    def calls(self) -> Mapping[str, float]:
        """The current use of the providers' limits; empty in a replay."""
        return {}

    @property
    def now(self) -> float:
        """The run's clock."""
        return self.view.now

    def last_output(self, task: str, step: str) -> float | None:
        """When a running step last wrote a log line; None where that is not known."""
        return None


class LiveRun(RunState):
    """A run followed in the store, of any process, live or ended: what `feed` reads is folded into `view` and
    added to `lines`. Call `open` when the feed has read the definition, and `take` in every frame from then on.

    `taken` counts events and log lines. `late` is for how many seconds the view has been behind, 0 while it is up
    to date. `caught_up` is set once the view has all events that existed when it was opened: before that it shows
    a state that the run had at no time of interest.
    """

    def __init__(self, db: Path, run: str, feed: Feed | None = None) -> None:
        super().__init__(db, run)
        self.feed = Feed(db, run) if feed is None else feed
        self.lines = LineStore()
        self.is_open = self.caught_up = False
        self.taken = self._known_at_first = 0
        self._complete = 0.0
        self._next: asyncio.TimerHandle | None = None
        #: The time of the last log line of each step; of many steps, those that have ended are dropped.
        self._last_output: dict[tuple[str, str], float] = {}

    def open(self, definition: Definition | None, lines: LineStore) -> None:
        """Fold into the view of the feed and into these lines from now on."""
        self.view, self.lines = self.feed.view or RunView(definition), lines
        self._known_at_first, self._complete = self.feed.known, time.monotonic()
        self.is_open = True

    async def close(self) -> None:
        """Stop folding and reading. Returns when the feed's connection is closed."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        await self.feed.close()

    def take(self) -> None:
        """Fold a slice now, and schedule further ones while something is left."""
        if self._next is None:
            self._slice()

    def _slice(self) -> None:
        feed = self.feed
        end = time.perf_counter() + SLICE
        self.taken += feed.fold(self.view, SLICE)
        while lines := feed.lines(CHUNK):
            self.lines.append(lines)
            self.taken += len(lines)
            self._last_output |= {(line.task, line.step): line.at for line in lines}
            if time.perf_counter() > end:
                break
        if len(self._last_output) > MAX_STEPS:
            running = self.view.running
            self._last_output = {key: at for key, at in self._last_output.items() if key in running}
        if self.behind <= FEW:
            self._complete = time.monotonic()
            self.caught_up |= self.behind == 0 or self.view.seq >= self._known_at_first
        self._next = asyncio.get_running_loop().call_later(PAUSE, self._slice) if feed.waiting else None

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

    @property
    def row(self) -> RunRow | None:
        return self.feed.row

    @property
    def calls(self) -> Mapping[str, float]:
        return self.feed.calls

    @property
    def now(self) -> float:
        """This moment while a process executes the run, else the moment of its last event."""
        row = self.row
        alive = row is not None and row.state in ("running", "paused") and self.view.ended is None
        return time.time() if alive else self.view.now

    def last_output(self, task: str, step: str) -> float | None:
        return self._last_output.get((task, step))
