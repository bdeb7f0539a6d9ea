"""What is remembered of a run without a store: its newest events, and the results of the last tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import islice

from agentdeck.documents.result import TaskResult
from agentdeck.errors import UsageError
from agentdeck.operations.results import task_result
from agentdeck.scheduler.events import Event
from agentdeck.views.task_outcome import TaskOutcomes

#: Events that a reader may be behind.
KEPT_EVENTS = 1000
#: Events or results that are read together.
PAGE = 100


class RunMemory:
    """Used on the run's loop only. `keep` is how many results stay."""

    def __init__(self, run: str, keep: int) -> None:
        self._run = run
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._last = 0
        self._outcomes = TaskOutcomes()
        self._results: deque[TaskResult] = deque(maxlen=keep)
        self.ended = 0

    def add(self, last: int, events: Sequence[Event]) -> None:
        """Add the next events of the run, up to the one with this number."""
        if last - len(events) != self._last:
            self._events.clear()  # some before them were dropped
        self._events.extend(events)
        self._last = last
        for event in events:
            outcome = self._outcomes.apply(event)
            if outcome is not None:
                self.ended += 1
                self._results.append(task_result(outcome))

    def events(self, after: int) -> list[tuple[int, Event]]:
        """The next events after a number. Raises UsageError where they were dropped."""
        first = self._last - len(self._events) + 1
        if after + 1 < first:
            raise UsageError(
                f"events {after + 1} to {first - 1} of {self._run} are lost: without a store only the last "
                f"{KEPT_EVENTS:,} are remembered, and this reader is behind. Give the run a store: db=…"
            )
        start = after + 1 - first
        return list(enumerate(islice(self._events, start, start + PAGE), after + 1))

    def results(self, after: int) -> list[TaskResult]:
        """The next results after the first `after`, in the order in which the tasks ended. Raises UsageError
        where they were dropped."""
        first = self.ended - len(self._results)
        if after < first:
            kept = self._results.maxlen or 0
            raise UsageError(
                f"{self.ended:,} tasks of {self._run} have ended, and the results of the last {kept:,} are kept. "
                f"Give the run a store (db=…), or keep={self.ended} where memory allows"
            )
        return list(islice(self._results, after - first, after - first + PAGE))

    async def in_order(self) -> AsyncIterator[TaskResult]:
        """The results of all tasks that have ended, in the order of the tasks. Raises UsageError where some were
        dropped."""
        self.results(0)
        for result in sorted(self._results, key=lambda result: int(result.task)):
            yield result

    @property
    def newest(self) -> TaskResult | None:
        """The task that ended last; where none has ended, the one that is open."""
        if self._results:
            return self._results[-1]
        return next((task_result(outcome) for outcome in self._outcomes.open.values()), None)
