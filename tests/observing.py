"""An observer that keeps what it receives."""

from __future__ import annotations

from collections.abc import Callable

from agentdeck.engine.observers import EventBatch
from agentdeck.scheduler.events import Event


class EventCollector:
    """Keeps all events; `see` is called with each, in the observer's thread."""

    def __init__(self, see: Callable[[Event], object] | None = None) -> None:
        self.batches: list[EventBatch] = []
        self.closed = False
        self._see = see

    def observe(self, batch: EventBatch) -> None:
        assert not batch.missed, "this observer is never behind"
        self.batches.append(batch)
        if self._see is not None:
            for event in batch.events:
                self._see(event)

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def numbered(self) -> list[tuple[int, Event]]:
        return [pair for batch in self.batches for pair in batch.numbered()]
