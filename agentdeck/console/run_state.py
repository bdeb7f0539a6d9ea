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
from typing import Protocol

from agentdeck.console.feed import CHUNK, Feed
from agentdeck.console.log.lines import LineStore
from agentdeck.store.reader import LogLine
from agentdeck.store.run_list import RunRow
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition

SLICE = 0.002  # seconds of folding at a time
PAUSE = 0.002  # between two slices, at least
FEW = 100  # events that may be missing from a view that is up to date
LATE = 0.25  # seconds behind after which the screen says so
MAX_STEPS = 20_000  # steps whose last log line is remembered


class RunState(Protocol):
    """What actions read of the run on the screen. A live run and a replay both have it.

    `view` is replaced by another object when a run is first read and when a replay seeks. `row` is the run as the
    store lists it; None while it is not there, and in a replay. `calls` is the current use of the providers'
    limits. `now` is the run's clock.
    """

    @property
    def db(self) -> Path: ...

    @property
    def run(self) -> str: ...

    @property
    def view(self) -> RunView: ...

    @property
    def row(self) -> RunRow | None: ...

    @property
    def calls(self) -> Mapping[str, float]: ...

    @property
    def now(self) -> float: ...

    def last_output(self, task: str, step: str) -> float | None:
        """When a running step last wrote a log line; None where that is not known."""


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


class LiveRun:
    """A run followed in the store, of any process, live or ended: its feed, and the view that its events are
    folded into. `intake` is None until the feed has read the run's definition."""

    def __init__(self, db: Path, run: str, feed: Feed | None = None) -> None:
        self.db, self.run = db, run
        self.feed = Feed(db, run) if feed is None else feed
        self.intake: Intake | None = None
        self.view = RunView()

    def open(self, definition: Definition, lines: LineStore) -> Intake:
        """Fold what the feed reads into a new view and into these lines from now on."""
        self.view = RunView(definition)
        self.intake = Intake(self.feed, self.view, lines)
        return self.intake

    async def close(self) -> None:
        """Stop reading. Returns when the feed's connection is closed."""
        if self.intake is not None:
            self.intake.close()
        await self.feed.close()

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
        return self.intake.last_output.get((task, step)) if self.intake is not None else None
