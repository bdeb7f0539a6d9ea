"""Follows one run in the store: reads its row, events and log lines as they are committed.

The console's own runs, runs of other processes and finished runs are read by the same code; they differ only in
whether more comes. Each look at the store runs in the reader's thread; its result is taken over on the loop, and
each frame folds some of the events into a view.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agentdeck.console.key_priority import KEYS
from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.log_follower import EventBatch, LogFollower
from agentdeck.store.reader import LogLine, Reader
from agentdeck.store.reservations import in_use
from agentdeck.store.run_list import RunRow
from agentdeck.store.view_snapshots import restore_view
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition, restored

LOOK = 0.05  # seconds between two looks while nothing is new
QUIET = 2.0  # seconds without anything new after which looks are rarer
QUIET_LOOK = 0.2  # seconds between two looks then
KEY_WAITS = 0.1  # a look waits for keys no longer than this after the last one
REST = 0.4  # the same for a run that is over: a retry may still reopen steps of it
ROW = 0.5  # seconds after which the run's row is read again although nothing was written: its owner may have died
PAGE = 500  # events and lines of one look: decoding them holds the interpreter, in turns with the loop
AHEAD = 40_000  # events and lines that may be read and not yet folded
CHUNK = 64  # events or lines between two checks of the clock


class Found(NamedTuple):
    """What one look at the store gave. `row` is None where it was not read, or the run does not exist yet.
    `view` comes with the definition; `events` and `lines` are the next page of each."""

    row: RunRow | None
    definition: Definition | None
    view: RunView | None
    known: int
    calls: Mapping[str, float] | None
    events: EventBatch
    lines: Sequence[LogLine] = ()

    @property
    def is_full_page(self) -> bool:
        """More may be there to read."""
        return len(self.events.events) == PAGE or len(self.lines) == PAGE


class StoreTask:
    """Reads the store in a task of the running loop: `_follow`."""

    _task: asyncio.Task[None] | None = None

    async def _follow(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._follow(), name=type(self).__name__)

    def stop(self) -> None:
        """Stop reading. Returns at once; the task closes its connection by itself."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop reading. Returns when the connection is closed, or after a second if a read hangs."""
        self.stop()
        if self._task is not None:
            await asyncio.wait({self._task})


class Feed(StoreTask):
    """What the store holds of one run.

    Invariant: events reach `fold` in order and each once. `row` is the run as the store lists it, None until it
    is there; `definition` comes with it, and `view`, to fold into: events before a snapshot are in it already.
    `fault` says why the store cannot be read now, empty while it can.
    `calls` is the current use of the provider limits that `windows` names, while a process executes the run.
    `on_news` is called when something new was read, after a while in which nothing was.
    """

    def __init__(self, db: Path, run: str) -> None:
        self.run = run
        self.row: RunRow | None = None
        self.definition: Definition | None = None
        self.view: RunView | None = None
        self.fault = ""
        self.known = 0
        self.windows: Mapping[str, float] = {}
        self.calls: Mapping[str, float] = {}
        self.on_news: Callable[[], None] = lambda: None
        self._db = db
        self._events: deque[tuple[int, Event]] = deque()
        self._lines: deque[LogLine] = deque()
        self._log = LogFollower(run)  # used in the reader's thread, by one look at a time
        self._looked = self._news = time.monotonic()
        self._row_read = 0.0

    # Taking what was read -----------------------------------------------------------------------------------

    def fold(self, view: RunView, budget: float) -> int:
        """Apply events that were read, for at most `budget` seconds. Returns how many."""
        events, count = self._events, 0
        end = time.perf_counter() + budget
        while events:
            for _ in range(min(CHUNK, len(events))):
                view.apply(*events.popleft())
                count += 1
            if time.perf_counter() > end:
                break
        return count

    def lines(self, most: int = 1000) -> list[LogLine]:
        """Log lines that were read since the last call, in order."""
        lines = self._lines
        return [lines.popleft() for _ in range(min(most, len(lines)))]

    @property
    def waiting(self) -> int:
        """How many events and lines were read and not taken yet."""
        return len(self._events) + len(self._lines)

    def behind(self, view: RunView) -> int:
        """How many known events the view has not applied yet."""
        return max(0, self.known - view.seq)

    @property
    def age(self) -> float:
        """Seconds since the store was last read."""
        return time.monotonic() - self._looked

    # Reading ------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        async with AsyncReader(self._db) as store:
            while True:
                more = False
                if self.waiting > AHEAD or (KEYS.waits and time.monotonic() - self._looked < KEY_WAITS):
                    await asyncio.sleep(LOOK / 2)
                    continue
                try:
                    more = await self._look(store)
                    self._looked, self.fault = time.monotonic(), ""
                except AgentdeckError as error:
                    self.fault = str(error)
                if not more:
                    await asyncio.sleep(self._pause)

    @property
    def _pause(self) -> float:
        """Seconds until the next look."""
        if not self._is_alive and not self.fault:
            return REST
        return QUIET_LOOK if self._looked - self._news > QUIET else LOOK

    @property
    def _is_alive(self) -> bool:
        """Whether a process executes the run, or is about to."""
        return self.row is None or self.row.state in ("running", "paused")

    async def _look(self, store: AsyncReader) -> bool:
        """Read the run's row and a page of what is new. Returns whether there may be more to read."""
        row = self.row
        due = self._is_alive and time.monotonic() - self._row_read > ROW
        found = await store.read(
            _look, self._log, row, due, self.windows, with_definition=self.definition is None
        )
        if found.calls is not None:
            self._row_read, self.calls = time.monotonic(), found.calls
        self.definition = found.definition or self.definition
        self.view = found.view or self.view
        self.known = max(self.known, found.known)
        self.row = found.row
        self._events.extend(found.events.numbered())
        self._lines.extend(found.lines)
        if found.events.events or found.lines:
            was_quiet, self._news = self._looked - self._news > QUIET, time.monotonic()
            if was_quiet:
                self.on_news()
        return found.is_full_page


def _look(
    reader: Reader,
    log: LogFollower,
    row: RunRow | None,
    due: bool,
    windows: Mapping[str, float],
    *,
    with_definition: bool,
) -> Found:
    """In the reader's thread: what is new. `due`: read the row even if nothing was written."""
    run, written = log.run, log.has_news(reader)
    definition, view, known, calls = None, None, 0, None
    if written or due:
        calls = {}
        known = reader.last_seq(run)
        if known:  # a run that is not there yet is being started
            row = reader.run(run)
            if with_definition:
                definition = restored(reader.definition(row.identity))
                view = restore_view(reader, run, definition)
                log.event = view.seq
        if row is None or row.state in ("running", "paused"):
            calls = in_use(reader, windows, time.time())
    if row is None or not written:
        return Found(row, definition, view, known, calls, EventBatch(run, log.event + 1, ()))
    events, lines = log.read_page(reader, PAGE)
    return Found(row, definition, view, max(known, events.last), calls, events, lines)
