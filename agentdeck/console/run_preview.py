"""A look at a run that is not opened: its graph, as it stands."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from textual.containers import Container

if TYPE_CHECKING:
    from agentdeck.console.feed import Feed
    from agentdeck.console.graph.pane import GraphPane
    from agentdeck.store.reader import LogLine
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Definition

# All of these take longer to import than the first screen to appear, and nothing of them is on it.

EVERY = 0.05
SELDOM = 5  # looks of which one is taken, once all is read
FOLD = 0.01  # seconds of each look, for taking events in
LINES = 10  # of the log that are kept


class RunPreview(Container):
    """The graph of a workflow, or of a run while it goes on, and the last `lines` of the run's log. One at a
    time; what was there before is let go."""

    DEFAULT_CSS = "RunPreview > * { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__(id="drawn")
        self._feed: Feed | None = None
        self._view: RunView | None = None
        self._graph: GraphPane | None = None
        self._drawn: object = None
        self._caught_up = False
        self._looks = 0
        self.lines: deque[LogLine] = deque(maxlen=LINES)

    def on_mount(self) -> None:
        self._timer = self.set_interval(EVERY, self.look)

    async def on_unmount(self) -> None:
        if self._feed is not None:
            await self._feed.close()

    def show_workflow(self, definition: Definition) -> None:
        """Show what is not run."""
        self.stop()
        self._draw(definition)

    def show_run(self, db: Path, run: str) -> None:
        """Show a run, from its events; nothing happens if it is shown already."""
        if self._feed is None or self._feed.run != run:
            from agentdeck.console.feed import Feed

            self.stop()
            self.lines.clear()
            self._feed = Feed(db, run)
            self._caught_up = False
            self._feed.start()

    @property
    def has_all_events(self) -> bool:
        """All that the store has of the run is shown."""
        feed = self._feed
        return feed is not None and bool(self.lines) and self._view is not None and feed.known == self._view.seq

    @property
    def is_complete(self) -> bool:
        """There is a graph, of all that the store has of the run."""
        graph, feed = self._graph, self._feed
        there = graph is not None and graph.is_mounted and graph.size.height > 0
        return there and (
            feed is None or (self._caught_up and self.has_all_events and self._drawn is feed.definition)
        )

    @property
    def reading(self) -> str:
        """`reading 64 %` while the graph does not show how the run stands; empty where it does."""
        feed = self._feed
        if feed is None or self._caught_up:
            return ""
        seq = self._view.seq if self._view is not None and self._drawn is feed.definition else 0
        return f"reading {min(99, 100 * seq // max(1, feed.known))} %"

    def stop(self) -> None:
        """Read no more."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None

    def look(self) -> None:
        """Take in what has come of a run, and draw it."""
        self._looks += 1
        if not self._caught_up or not self._looks % SELDOM:
            self.draw()

    def draw(self) -> None:
        """Take in what has come, and draw it at once."""
        feed = self._feed
        if feed is None or feed.definition is None:
            return
        if self._view is None or self._drawn is not feed.definition:
            from agentdeck.views.run_view import RunView

            self._draw(feed.definition)
            self._view = RunView(feed.definition)
        feed.fold(self._view, FOLD)
        self.lines.extend(feed.lines())
        self._caught_up |= self._view.seq >= feed.known
        if self._graph is not None and self._graph.is_mounted and self.display and self._caught_up:
            self._graph.tick(self._view, time.time() if self._view.ended is None else self._view.now)

    def _draw(self, definition: Definition) -> None:
        if definition is not self._drawn:
            from agentdeck.console.graph.pane import GraphPane

            self._drawn, self._graph = definition, GraphPane(definition)
            self.remove_children()
            self.mount(self._graph)
