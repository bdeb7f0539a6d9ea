"""A place for pictures: the recorded store laid out in a folder, a clock that stands, frames that come when they
are asked for. Nothing in a picture depends on the machine, the hour or the folder."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.segment import Segment
from textual.pilot import Pilot
from textual.widgets import Input

from agentdeck.console import throttle
from agentdeck.console.app import DeckApp
from agentdeck.console.feed import Feed
from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.row_list import RowList
from agentdeck.console.run_preview import RunPreview
from agentdeck.console.screens.deck import DeckScreen
from agentdeck.console.screens.replay import ReplayScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.operations.bundled_files import workflows
from agentdeck.store import lease
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.reader import LogLine, Reader
from agentdeck.store.reservations import in_use
from agentdeck.views.run_view import RunView
from screenshots.record import DECK, FOLDER, NOW, RECORDED
from screenshots.svg import svg

#: A run that is looked at was on the screen for so long, with so many frames a second.
BEFORE, FRAMES = 32.0, 1.0


def lay_out(folder: Path) -> Path:
    """A shop with workflows of its own and the recorded runs; the store."""
    shop, db = folder / "shop", folder / "runs.db"
    shutil.copytree(workflows(), shop / "workflows")
    (shop / "deck.yaml").write_text(DECK, encoding="utf-8")
    db.write_bytes(gzip.decompress(RECORDED.read_bytes()))
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("UPDATE runs SET source = replace(source, ?, ?)", (FOLDER, str(shop)))
    connection.close()
    return db


class Clock:
    """What time.time() is, for the console."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@contextmanager
def stopped(clock: Clock, folder: Path, **environment: str) -> Iterator[None]:
    """In UTC, at the clock's time, with a home of nobody, in the shop."""
    names = ("NO_COLOR", "AGENTDECK_THEME", "AGENTDECK_DB", "AGENTDECK_WORKERS", "COLORTERM")
    kept, before = dict(os.environ), Path.cwd()
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(
        TZ="UTC", XDG_CONFIG_HOME=str(folder / "config"), XDG_DATA_HOME=str(folder / "data"), **environment
    )
    time.tzset()
    os.chdir(folder / "shop")
    try:
        # The recorded leases are of another machine and never renewed, however long a process draws.
        still = patch.object(lease, "UNRENEWED", float("inf"))
        with patch("time.time", clock), patch.object(throttle, "LITTLE", 1e9), still:
            yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(kept)
        time.tzset()


class Told(Feed):
    """A feed that tells no more than has happened by now. `read` once it has all there is."""

    read = False

    @property
    def calls(self) -> Mapping[str, float]:
        """What is in use now, and not when the feed last looked."""
        reader = Reader(self._db)
        try:
            return in_use(reader, self.windows, time.time())
        finally:
            reader.close()

    @calls.setter
    def calls(self, found: Mapping[str, float]) -> None:
        """Found for another moment."""

    async def _look(self, store: AsyncReader) -> bool:
        more = await super()._look(store)
        self.read = not more
        return more

    def fold(self, view: RunView, budget: float) -> int:
        events, now, count = self._events, time.time(), 0
        while events and events[0][1].at <= now:
            view.apply(*events.popleft())
            count += 1
        return count

    def lines(self, most: int = 1000) -> list[LogLine]:
        lines, now = self._lines, time.time()
        told: list[LogLine] = []
        while lines and lines[0].at <= now:
            told.append(lines.popleft())
        return told

    @property
    def waiting(self) -> int:
        return 0  # what is left is taken in the next frame

    def behind(self, view: RunView) -> int:
        return 0

    @property
    def age(self) -> float:
        return 0.0


class Still(RunScreen):
    """The run screen, whose frames come when they are asked for."""

    def __init__(self, db: Path, run: str) -> None:
        super().__init__(db, run, Told(db, run))

    def _set_frame_timer(self) -> None:
        """No timer."""

    def _least_interval(self, late: bool) -> float:
        return 0.0

    def arrived(self) -> bool:
        """Whether all of the run has been read."""
        return isinstance(self.live.feed, Told) and self.live.feed.read


class StillReplay(ReplayScreen):
    """A replay, the same way. Time does not pass in it."""

    def _set_frame_timer(self) -> None:
        """No timer."""

    async def read(self, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: self.recording.ready)
        self.frame()
        await settle(pilot)

    def frame(self) -> None:
        self._frame_at = time.monotonic()
        super().frame()


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the app go on until it is so."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true")
        await pilot.pause(0.02)


async def settle(pilot: Pilot[None]) -> None:
    """Let keys, threads and layout come to rest."""
    await pilot.pause()
    await until(pilot, lambda: not (isinstance(pilot.app, DeckApp) and pilot.app.handles_keys))
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def redrawn(pilot: Pilot[None]) -> None:
    """After something about the whole screen changed."""
    for _ in range(2):
        await settle(pilot)
        for screen in pilot.app.screen_stack:
            for field in screen.query(Input):
                field.cursor_blink = False
            if isinstance(screen, Still | StillReplay):
                screen.frame()
            if isinstance(screen, DeckScreen) and screen.is_seen:
                await drawn(pilot, screen)
    await settle(pilot)


async def drawn(pilot: Pilot[None], deck: DeckScreen) -> None:
    """The graph of the deck is there, drawn once from all that the store has of the run. It is read again when
    the size changes, also under a dialog."""
    preview = deck.query_one(RunPreview)
    await until(pilot, lambda: deck._draw_timer is None and (not preview.display or is_complete(preview)))
    for graph in preview.query(GraphPane):
        graph._built = None
    preview.draw()


def is_complete(preview: RunPreview) -> bool:
    """Whether the graph shows all events of the store."""
    graph, feed = preview._graph, preview._feed
    if graph is None or not graph.is_mounted or not graph.size.height:
        return False
    return feed is None or (preview._caught_up and has_all_events(preview) and preview._drawn is feed.definition)


def has_all_events(preview: RunPreview) -> bool:
    """Whether all events of the store are shown."""
    feed, view = preview._feed, preview._view
    return feed is not None and bool(preview.lines) and view is not None and feed.known == view.seq


async def begun(pilot: Pilot[None]) -> None:
    """The first screen is there, with what the store and the folder hold."""
    await until(pilot, lambda: any(listing.rows for listing in pilot.app.screen.query(RowList)))


async def open_run(pilot: Pilot[None], db: Path, run: str, clock: Clock) -> Still:
    """Look at a run for a while, up to now."""
    screen = Still(db, run)
    pilot.app.push_screen(screen)
    await until(pilot, screen.arrived)
    clock.now = NOW - BEFORE
    for frame in range(int(BEFORE * FRAMES) + 1):
        clock.now = NOW - BEFORE + frame / FRAMES
        screen.frame()
        if frame == 0:
            await pilot.pause()
    await redrawn(pilot)
    return screen


class Pictured(DeckApp):
    """The console, whose pictures are the same everywhere."""

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        width, height = self.size
        console = Console(
            width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor",
            record=True, legacy_windows=False,
        )  # fmt: skip
        console.print(self.screen._compositor.render_update(full=True, screen_stack=self._background_screens))
        segments = Segment.filter_control(console._record_buffer)
        lines = Segment.split_and_crop_lines(segments, width, include_new_lines=False)
        return svg(list(lines)[:height], width, height, title or "agentdeck")
