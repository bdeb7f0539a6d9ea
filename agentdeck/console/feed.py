"""Following one run in the store: a thread reads, the screen's frame folds what was read into a view.

One's own run, another process's run and a finished one are read by the same code; they differ only in whether
more comes. The thread never touches a widget, and the frame never touches the store.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.store.reader import LogLine, Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.usage import in_use
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Definition, restored

LOOK = 0.05  # seconds between looks while nothing is new
REST = 0.4  # the same for a run that is over: somebody may still retry in it
ROW = 0.5  # seconds after which the run's row is read again even if nobody wrote: its owner may have died
PAGE = 2000
AHEAD = 40_000  # events and lines read before the loop has taken any
CHUNK = 64  # events or lines between two looks at the clock


class Feed:
    """What the store tells of one run.

    Invariant: events reach `fold` in order and each once. `row` is the run as the store lists it, None until it
    is there; `definition` comes with it. `fault` says why the store cannot be read now, empty while it can.
    `calls` is what is in use of the limits of providers that `windows` names, while somebody runs it.
    """

    def __init__(self, db: Path, run: str) -> None:
        self.run = run
        self.row: RunRow | None = None
        self.definition: Definition | None = None
        self.fault = ""
        self.known = 0
        self.windows: Mapping[str, float] = {}
        self.calls: Mapping[str, float] = {}
        self._db = db
        self._events: deque[tuple[int, Event]] = deque()
        self._lines: deque[LogLine] = deque()
        self._looked = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="agentdeck-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop reading. Returns when the thread has let go of the store, or a second has passed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    # In the loop --------------------------------------------------------------------------------------------

    def fold(self, view: RunView, budget: float) -> int:
        """Apply what has come, for at most `budget` seconds; how many events that were."""
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
        """Log lines that have come since the last call, in order."""
        lines = self._lines
        return [lines.popleft() for _ in range(min(most, len(lines)))]

    @property
    def waiting(self) -> int:
        """Events and lines that were read and not taken yet."""
        return len(self._events) + len(self._lines)

    def behind(self, view: RunView) -> int:
        """How many events the view has yet to take in, as far as that is known."""
        return max(0, self.known - view.seq)

    @property
    def age(self) -> float:
        """Seconds since the store was last seen as it is."""
        return time.monotonic() - self._looked

    # In the thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        reader: Reader | None = None
        version, event, line, rowed = -2, 0, 0, 0.0
        try:
            while not self._stop.is_set():
                try:
                    reader = reader or Reader(self._db)
                    now = reader.version()
                    again = False
                    if now != version or (self._alive and time.monotonic() - rowed > ROW):
                        self._look(reader)
                        rowed = time.monotonic()
                        self.calls = in_use(reader, self.windows, time.time()) if self._alive else {}
                    if self.row is not None and now != version:
                        event, line, again = self._read(reader, event, line)
                    if self.row is not None and not again:
                        version = now
                    self._looked, self.fault = time.monotonic(), ""
                    if again:
                        continue
                except AgentdeckError as error:
                    self.fault = str(error)
                self._stop.wait(LOOK if self.fault or self._alive else REST)
        finally:
            if reader is not None:
                reader.close()

    @property
    def _alive(self) -> bool:
        """Somebody runs it, or is about to."""
        return self.row is None or self.row.state in ("running", "paused")

    def _look(self, reader: Reader) -> None:
        """The run's row. One that is not there yet is being started."""
        last = reader.last_seq(self.run)
        if not last:
            return
        row = reader.run(self.run)
        if self.definition is None:
            self.definition = restored(reader.definition(row.identity))
        self.known = last
        self.row = row

    def _read(self, reader: Reader, event: int, line: int) -> tuple[int, int, bool]:
        """A page of each; where both stand now, and whether there may be more. Waits while nobody takes any."""
        while len(self._events) + len(self._lines) > AHEAD:
            if self._stop.wait(LOOK):
                return event, line, False
        events = list(reader.events(self.run, event, PAGE))
        self._events.extend(events)
        if events:
            event = events[-1][0]
            self.known = max(self.known, event)
        lines = reader.logs(self.run, after=line, limit=PAGE)
        self._lines.extend(lines)
        if lines:
            line = lines[-1].id
        return event, line, len(events) == PAGE or len(lines) == PAGE
