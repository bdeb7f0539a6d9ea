"""Steps that wait for a provider or for a budget: one queue for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import heappush

from agentdeck.scheduler.ready_queue import Entry
from agentdeck.scheduler.state import Step

FOREVER = float("inf")
#: The name of the queue of steps that wait for a budget and not for a provider.
BUDGET = "budget"
#: Reasons that may no longer apply once an attempt ends and releases what it held.
RELEASABLE = ("tokens", "concurrent", "budget")


class ProviderQueue:
    """Steps that wait for one provider: those that need a worker too in `heap`, calls in `calls`. `until` is when
    the queue opens by itself, None while it is open. `notified` holds the steps whose wait for an operator is
    recorded."""

    __slots__ = ("calls", "heap", "notified", "reason", "until", "why")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self.calls: list[Entry] = []
        self.until: float | None = None
        self.reason = self.why = ""
        self.notified: set[Step] = set()

    def add(self, entry: Entry) -> None:
        heappush(self.calls if entry[6].rule.is_call else self.heap, entry)

    def entries(self) -> list[Entry]:
        """Both together."""
        return [*self.heap, *self.calls]

    def open(self) -> None:
        self.until = None

    def close(self, until: float, reason: str, why: str) -> None:
        """Let steps wait until then. Another `why` is recorded again for those that wait for an operator."""
        if why != self.why:
            self.notified.clear()
        self.until, self.reason, self.why = until, reason, why


class ProviderQueues:
    """All queues of a run by provider. `releases` counts the moments at which capacity came back or a limit
    changed, and `forced` is its value when an operator changed something last: a refusal that was asked for
    before that is out of date."""

    __slots__ = ("forced", "limit_changes", "queues", "releases")

    def __init__(self) -> None:
        self.queues: dict[str, ProviderQueue] = defaultdict(ProviderQueue)
        self.releases = 0
        self.forced = 0
        self.limit_changes = 0

    def closed(self, name: str) -> ProviderQueue | None:
        """The queue of this provider if steps have to wait in it now."""
        queue = self.queues.get(name)
        return queue if queue is not None and queue.until is not None else None

    def first(self, ready: list[Entry]) -> list[Entry]:
        """Of `ready` and the open queues, the heap whose first entry comes first; it may be empty."""
        best = ready
        for queue in self.queues.values():
            if queue.until is None and queue.heap and (not best or queue.heap[0] < best[0]):
                best = queue.heap
        return best

    def first_call(self, ready: list[Entry]) -> list[Entry]:
        """The same for calls, which need no worker."""
        best = ready
        for queue in self.queues.values():
            if queue.until is None and queue.calls and (not best or queue.calls[0] < best[0]):
                best = queue.calls
        return best

    @property
    def opens_at(self) -> float:
        """When the next queue opens by itself, infinite where none does."""
        return min((q.until for q in self.queues.values() if q.until is not None), default=FOREVER)

    def will_open(self) -> bool:
        """Whether a queue with steps in it opens by itself."""
        return any(
            (queue.heap or queue.calls) and queue.until not in (None, FOREVER) for queue in self.queues.values()
        )

    def open_due(self, at: float) -> None:
        for queue in self.queues.values():
            if queue.until is not None and queue.until <= at:
                queue.open()

    def open_released(self) -> None:
        """Capacity came back, or the engine changed a limit: the steps that wait for capacity try again."""
        self.releases += 1
        for queue in self.queues.values():
            if queue.reason in RELEASABLE:
                queue.open()

    def open_all(self) -> None:
        """An operator changed a limit or resumed the run: all steps try again, whatever they wait for."""
        self.releases += 1
        self.forced = self.releases
        self.limit_changes += 1
        for queue in self.queues.values():
            queue.open()

    def stopped(self) -> Iterator[tuple[str, ProviderQueue]]:
        """Queues that open only when an operator acts."""
        return ((name, queue) for name, queue in self.queues.items() if queue.until == FOREVER)
