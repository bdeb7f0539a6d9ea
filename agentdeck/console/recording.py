"""A run's events and log lines, read completely: what a replay plays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentdeck.console.feed import StoreTask
from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.log_follower import LogFollower
from agentdeck.store.reader import LogLine, Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Definition, restored

#: What is held in memory at most. Of a longer run the first events are played, and the screen says so.
MOST_EVENTS = 1_000_000
MOST_LINES = 500_000
PAGE = 5000


class Recording(StoreTask):
    """`events` grows until it has all of `known`, or MOST_EVENTS; `ready` then, with the `lines`."""

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

    @property
    def cut(self) -> int:
        """How many events there are beyond those that are played."""
        return max(0, self.known - MOST_EVENTS)

    async def _follow(self) -> None:
        try:
            async with AsyncReader(self._db) as store:
                self.row, self.definition, self.known = await store.read(_outline, self.run)
                log = LogFollower(self.run)
                while len(self.events) < MOST_EVENTS:
                    batch = await store.read(log.read_events, PAGE)
                    self.events += batch.numbered()
                    if len(batch.events) < PAGE:
                        break
                self.lines = await store.read(Reader.logs, self.run, limit=MOST_LINES)
            self.ready = True
        except AgentdeckError as error:
            self.fault = str(error)


def _outline(reader: Reader, run: str) -> tuple[RunRow, Definition, int]:
    row = reader.run(run)
    return row, restored(reader.definition(row.identity)), reader.last_seq(run)
