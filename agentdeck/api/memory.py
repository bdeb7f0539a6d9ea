"""What is remembered of a run without a store: its newest events, and the results of the last tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import islice

from agentdeck.documents.result import TaskResult
from agentdeck.errors import UsageError
from agentdeck.operations.results import task_result
from agentdeck.scheduler.events import Event
from agentdeck.views.task_outcome import TaskOutcome, TaskOutcomes

#: Events that a reader may be behind.
KEPT_EVENTS = 1000
#: Seconds in which a reader of a new run begins.
GRACE = 1.0
#: Events or results that are read together.
PAGE = 100


class RunMemory:
    """Filled in the thread of an observer, read on the run's loop. `keep` is how many results stay; they become
    documents when they are read. `readers` is how many follow the run now."""

    def __init__(self, run: str, keep: int) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._last = 0
        self._outcomes = TaskOutcomes()
        self._kept: deque[TaskOutcome] = deque(maxlen=keep)
        self.ended = 0
        self.readers = 0
        #: Set when the caller has begun to read, or waits for the result only.
        self.expected = threading.Event()
        #: So many events can be added before a reader that has read everything would lose one, or a result.
        self.piece = max(1, min(KEPT_EVENTS, keep) // 2)

    def wait_for_reader(self) -> None:
        """Give the caller a moment to begin reading, once: a quick run has thousands of events by the time that
        its handle is there."""
        self.expected.wait(GRACE)
        self.expected.set()

    def add(self, last: int, events: Sequence[Event]) -> None:
        """Add the next events of the run, up to the one with this number."""
        ended = [outcome for event in events if (outcome := self._outcomes.apply(event)) is not None]
        with self._lock:
            if last - len(events) != self._last:
                self._events.clear()  # some before them were dropped
            self._events.extend(events)
            self._last = last
            self.ended += len(ended)
            self._kept.extend(ended)

    def events(self, after: int, last: float) -> list[tuple[int, Event]]:
        """The next events after a number, up to number `last`. Raises UsageError where they were dropped."""
        with self._lock:
            first = self._last - len(self._events) + 1
            start = after + 1 - first
            stop = min(start + PAGE, last + 1 - first)
            found = list(islice(self._events, start, max(start, int(stop)))) if start >= 0 else []
        if start < 0:
            raise UsageError(
                f"events {after + 1} to {first - 1} of {self._run} are lost: without a store only the last "
                f"{KEPT_EVENTS:,} are remembered, and this reader is behind. Give the run a store: db=…"
            )
        return list(enumerate(found, after + 1))

    def results(self, after: int) -> list[TaskResult]:
        """The next results after the first `after`, in the order in which the tasks ended. Raises UsageError
        where they were dropped."""
        with self._lock:
            ended, first = self.ended, self.ended - len(self._kept)
            found = list(islice(self._kept, after - first, after - first + PAGE)) if after >= first else []
        if after < first:
            most = self._kept.maxlen or 0
            raise UsageError(
                f"{ended:,} tasks of {self._run} have ended, and the results of the last {most:,} are kept. "
                f"Give the run a store (db=…), or keep={ended} where memory allows"
            )
        return [task_result(outcome) for outcome in found]

    async def in_order(self) -> AsyncIterator[TaskResult]:
        """The results of all tasks that have ended, in the order of the tasks. Raises UsageError where some were
        dropped."""
        self.results(0)
        with self._lock:
            kept = list(self._kept)
        for outcome in sorted(kept, key=lambda outcome: int(outcome.task)):
            yield task_result(outcome)

    @property
    def newest(self) -> TaskResult | None:
        """The task that ended last; where none has ended, the one that is open."""
        newest = self._kept[-1] if self._kept else next(iter(self._outcomes.open.values()), None)
        return None if newest is None else task_result(newest)
