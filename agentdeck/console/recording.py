"""A run's events and log lines, read whole in a thread: what a replay is played from."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.store.reader import LogLine, Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Definition, restored

#: What is kept in memory at most. Of a longer run its first events are played, and the screen says so.
MOST_EVENTS = 1_000_000
MOST_LINES = 500_000
PAGE = 5000


class Recording:
    """`read` is how many of `known` events are there; `ready` when all of them are, and the lines too."""

    def __init__(self, db: Path, run: str) -> None:
        self.run = run
        self.row: RunRow | None = None
        self.definition: Definition | None = None
        self.events: list[tuple[int, Event]] = []
        self.lines: Sequence[LogLine] = ()
        self.known = 0
        self.ready = False
        self.fault = ""
        self._db = db
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="agentdeck-recording", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    @property
    def cut(self) -> int:
        """How many events there are beyond those that are played."""
        return max(0, self.known - MOST_EVENTS)

    def _work(self) -> None:
        try:
            reader = Reader(self._db)
            try:
                self.row = reader.run(self.run)
                self.definition = restored(reader.definition(self.row.identity))
                self.known = reader.last_seq(self.run)
                after = 0
                while not self._stop.is_set() and len(self.events) < MOST_EVENTS:
                    page = list(reader.events(self.run, after, PAGE))
                    self.events += page
                    if len(page) < PAGE:
                        break
                    after = page[-1][0]
                self.lines = reader.logs(self.run, limit=MOST_LINES)
            finally:
                reader.close()
            self.ready = True
        except AgentdeckError as error:
            self.fault = str(error)
