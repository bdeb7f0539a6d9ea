"""Follows the log of one run: reads its events in order and each once, as they are committed.

A live run, a run of another process and a run that is over are read by the same code; they differ only in whether
more comes. `agentdeck watch`, the console and an observer that has fallen behind read through this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agentdeck.scheduler.events import Event
from agentdeck.store.reader import PAGE, LogLine, Reader
from agentdeck.workflow.model import Data


class EventBatch(NamedTuple):
    """Committed events of a run that follow each other. `first` is the sequence number of the first one; the
    numbers of a run begin at 1 and have no gaps. `missed` is how many events right before these were dropped: it
    is above 0 only for an observer that fell behind in a run without a store."""

    run: str
    first: int
    events: Sequence[Event]
    missed: int = 0

    @property
    def last(self) -> int:
        """The sequence number of the last event; `first - 1` where there is none."""
        return self.first + len(self.events) - 1

    def numbered(self) -> Iterator[tuple[int, Event]]:
        """The events with their sequence numbers."""
        return enumerate(self.events, self.first)


class LogFollower:
    """Up to where a run has been read. `event` is the sequence number of the last event, `line` the id of the
    last log line. The methods take any reader of the run's store."""

    def __init__(self, run: str, after: int = 0) -> None:
        self.run = run
        self.event = after
        self.line = 0
        self._version = -2  # of the store, when everything in it had been read
        self._seen = -2

    def has_news(self, reader: Reader) -> bool:
        """Whether the store was written to since everything in it was read. Cheap enough for every frame."""
        self._seen = reader.version()
        return self._seen != self._version

    def read_page(self, reader: Reader, limit: int = PAGE) -> tuple[EventBatch, list[LogLine]]:
        """The next events and log lines, at most `limit` of each. Where either cannot be read, both are read
        again the next time."""
        lines = reader.logs(self.run, after=self.line, limit=limit)
        batch = self.read_events(reader, limit)
        if lines:
            self.line = lines[-1].id
        if len(batch.events) < limit and len(lines) < limit:
            self._version = self._seen
        return batch, lines

    def read_events(self, reader: Reader, limit: int = PAGE) -> EventBatch:
        """The next events, at most `limit`; none where all have been read."""
        batch = EventBatch(
            self.run, self.event + 1, [event for _, event in reader.events(self.run, self.event, limit)]
        )
        self.event = batch.last
        return batch

    def read_raw(self, reader: Reader) -> Iterator[dict[str, Data]]:
        """All events that are there and were not read yet, as plain data (`Reader.raw_events`)."""
        seen = self._seen
        for row in reader.raw_events(self.run, self.event):
            self.event = row["seq"]
            yield row
        self._version = seen
