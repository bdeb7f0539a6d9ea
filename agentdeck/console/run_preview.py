"""A preview of a workflow or of a run that is not opened: its graph."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from textual.containers import Container

if TYPE_CHECKING:
    from textual.timer import Timer

    from agentdeck.console.feed import Feed
    from agentdeck.console.graph.pane import GraphPane
    from agentdeck.store.reader import LogLine
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Definition

# Importing these takes longer than showing the first screen, which uses none of them.

READING = 0.05  # seconds between two looks while the run's events are read
LIVE = 0.25  # the same once all are read
ENDED = 1.0  # the same for a run that has ended: a retry may still reopen steps of it
FOLD = 0.01  # seconds of folding events at a time
LINES = 10  # log lines that are shown


class RunPreview(Container):
    """The graph of a workflow, or of a run as it executes, and the last `lines` of its log. It shows one at a
    time."""

    DEFAULT_CSS = "RunPreview > * { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__(id="drawn")
        self._feed: Feed | None = None
        self._view: RunView | None = None
        self._graph: GraphPane | None = None
        self._drawn: object = None
        self._caught_up = False
        self._next: Timer | None = None
        self.lines: deque[LogLine] = deque(maxlen=LINES)

    async def on_unmount(self) -> None:
        if self._feed is not None:
            await self._feed.close()

    def show_workflow(self, definition: Definition) -> None:
        """Show a workflow."""
        self.stop()
        self._draw(definition)

    def show_run(self, db: Path, run: str) -> None:
        """Show a run, from its events; does nothing if it is shown already."""
        if self._feed is None or self._feed.run != run:
            from agentdeck.console.feed import Feed

            self.stop()
            self.lines.clear()
            self._feed = Feed(db, run)
            self._caught_up = False
            self._feed.start()
            self._look()

    @property
    def reading(self) -> str:
        """`reading 64 %` while the graph is not up to date; empty when it is."""
        feed = self._feed
        if feed is None or self._caught_up:
            return ""
        seq = self._view.seq if self._view is not None and self._drawn is feed.definition else 0
        return f"reading {min(99, 100 * seq // max(1, feed.known))} %"

    def stop(self) -> None:
        """Stop reading."""
        if self._feed is not None:
            self._feed.stop()
            self._feed = None
        if self._next is not None:
            self._next.stop()
            self._next = None

    def _look(self) -> None:
        """Draw now, and from time to time until `stop`."""
        self.draw()
        ended = self._view is not None and self._view.ended is not None
        self._next = self.set_timer(READING if not self._caught_up else ENDED if ended else LIVE, self._look)

    def draw(self) -> None:
        """Fold new events, and draw them."""
        feed = self._feed
        if feed is None or feed.definition is None:
            return
        if self._view is None or self._drawn is not feed.definition:
            from agentdeck.views.run_view import RunView

            self._draw(feed.definition)
            self._view = feed.view or RunView(feed.definition)
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
