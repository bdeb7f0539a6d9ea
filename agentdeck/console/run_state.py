"""A run that a screen shows: its view, its row in the store, its clock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from agentdeck.console.feed import Feed
from agentdeck.console.feed_intake import Intake
from agentdeck.console.log.lines import LineStore
from agentdeck.store.run_list import RunRow
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition


class RunState(Protocol):
    """What actions read of the run on the screen. A live run and a replay both have it.

    `view` is replaced by another object when a run is first read and when a replay seeks. `row` is the run as the
    store lists it; None while it is not there, and in a replay. `now` is the run's clock.
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
    def now(self) -> float: ...

    def last_output(self, task: str, step: str) -> float | None:
        """When a running step last wrote a log line; None where that is not known."""


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
    def now(self) -> float:
        """This moment while a process executes the run, else the moment of its last event."""
        row = self.row
        alive = row is not None and row.state in ("running", "paused") and self.view.ended is None
        return time.time() if alive else self.view.now

    def last_output(self, task: str, step: str) -> float | None:
        return self.intake.last_output.get((task, step)) if self.intake is not None else None
