"""What is remembered of a run without a store: its newest events, and the results of the last tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from agentdeck.documents.result import TaskResult
from agentdeck.errors import UsageError
from agentdeck.operations.results import task_result
from agentdeck.scheduler.events import Event
from agentdeck.views.task_outcome import TaskOutcome, TaskOutcomes

#: Events that stay, whether they were read or not.
KEPT_EVENTS = 1000
#: Events and results that wait for a reader at most. A run whose steps take no time makes thousands before the
#: loop that it shares with its reader comes back to the reader.
UNREAD = 20_000
#: Events or results that are read together.
PAGE = 100


class Reading:
    """How far a reader has come: the number of the last event, or of results."""

    def __init__(self, position: int) -> None:
        self.position = position


class RunMemory:
    """Filled in the thread of an observer, read on the run's loop. `keep` is how many results stay; they become
    documents when they are read."""

    def __init__(self, run: str, keep: int) -> None:
        self._run = run
        self._keep = keep
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._last = 0  # number of the last event
        self._outcomes = TaskOutcomes()
        self._kept: deque[TaskOutcome] = deque()
        self._ended = 0
        self._lost = False  # events were dropped before they got here
        # Until the caller reads, or waits for the result, it may begin to read from the first event on.
        self._expected = Reading(0)
        self._event_readers = [self._expected]
        self._result_readers = [self._expected]

    def add(self, last: int, events: Sequence[Event]) -> None:
        """Add the next events of the run, up to the one with this number."""
        ended = [outcome for event in events if (outcome := self._outcomes.apply(event)) is not None]
        with self._lock:
            if last - len(events) != self._last:
                self._events.clear()
                self._lost = True
            self._events.extend(events)
            self._last = last
            self._kept.extend(ended)
            self._ended += len(ended)
            self._trim()

    def expect_no_reader(self) -> None:
        """The caller does not begin to read, or has begun."""
        with self._lock:
            if self._expected in self._event_readers:
                self._event_readers.remove(self._expected)
                self._result_readers.remove(self._expected)
            self._trim()

    @contextmanager
    def reading_events(self, after: int) -> Iterator[Reading]:
        """While a reader follows the events after a number."""
        with self._registered(self._event_readers, Reading(after)) as reading:
            yield reading

    @contextmanager
    def reading_results(self) -> Iterator[Reading]:
        """While a reader follows the results."""
        with self._registered(self._result_readers, Reading(0)) as reading:
            yield reading

    @contextmanager
    def _registered(self, readers: list[Reading], reading: Reading) -> Iterator[Reading]:
        with self._lock:
            readers.append(reading)
        self.expect_no_reader()
        try:
            yield reading
        finally:
            with self._lock:
                readers.remove(reading)
                self._trim()

    def _trim(self) -> None:
        """Drop what need not stay and was read by all readers, or waits for too long."""
        read = min((one.position for one in self._event_readers), default=self._last)
        wanted = min(max(KEPT_EVENTS, self._last - read), max(UNREAD, KEPT_EVENTS))
        while len(self._events) > wanted:
            self._events.popleft()
        read = min((one.position for one in self._result_readers), default=self._ended)
        wanted = min(max(self._keep, self._ended - read), max(UNREAD, self._keep))
        while len(self._kept) > wanted:
            self._kept.popleft()

    def events(self, reading: Reading, last: float) -> list[tuple[int, Event]]:
        """The next events of a reader, up to number `last`. Raises UsageError where they were dropped."""
        with self._lock:
            after, first = reading.position, self._last - len(self._events) + 1
            start = after + 1 - first
            stop = min(start + PAGE, last + 1 - first)
            found = list(islice(self._events, start, max(start, int(stop)))) if start >= 0 else []
            reading.position += len(found)
        if start < 0:
            raise UsageError(
                f"events {after + 1} to {first - 1} of {self._run} are lost: it has no store, and this reader is "
                "too far behind. Give the run a store: db=…"
            )
        return list(enumerate(found, after + 1))

    def results(self, reading: Reading) -> list[TaskResult]:
        """The next results of a reader, in the order in which the tasks ended. Raises UsageError where they were
        dropped."""
        with self._lock:
            start = reading.position - (self._ended - len(self._kept))
            found = list(islice(self._kept, start, start + PAGE)) if start >= 0 else []
            reading.position += len(found)
        if start < 0 or self._lost:
            raise self._dropped()
        return [task_result(outcome) for outcome in found]

    async def in_order(self) -> AsyncIterator[TaskResult]:
        """The results of all tasks that have ended, in the order of the tasks. Raises UsageError where more have
        ended than are kept."""
        self.expect_no_reader()
        with self._lock:
            kept = list(self._kept)
            if self._ended > self._keep or self._lost:
                raise self._dropped()
        for outcome in sorted(kept, key=lambda outcome: int(outcome.task)):
            yield task_result(outcome)

    def _dropped(self) -> UsageError:
        return UsageError(
            f"{self._ended:,} tasks of {self._run} have ended, and without a store the results of the last "
            f"{self._keep:,} are kept. Give the run a store (db=…), or keep={self._ended} where memory allows"
        )

    @property
    def newest(self) -> TaskOutcome | None:
        """The task that ended last; where none has ended, the one that is open."""
        return self._kept[-1] if self._kept else next(iter(self._outcomes.open.values()), None)
