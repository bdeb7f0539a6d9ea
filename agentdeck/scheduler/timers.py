"""The timers of a run, ordered by when they are due."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import DEFERRED, HELD, OPEN, READY, WAITING, Step

INFINITE = float("inf")
#: Timers that do not count while no process executes the run: nothing could have met them then.
STOPPED = frozenset({"join", "answer", "queue"})


class Timers:
    """A heap of (due, ticket, kind, step, token). A timer is never removed when its step moves on: its token no
    longer equals the field of the step that it was made from, so it is ignored once it is due.

    `next_due` is the earliest moment at which an attempt could exceed its timeout. Attempts have no timer each:
    there are at most as many as workers, and looking at all of them when the first one could be late costs
    nothing per attempt.
    """

    __slots__ = ("_state", "_ticket", "heap", "next_due")

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._ticket = 0
        self.heap: list[tuple[float, int, str, Step, object]] = []
        self.next_due = INFINITE

    def add(self, due: float, kind: str, step: Step, token: object) -> None:
        self._ticket += 1
        heappush(self.heap, (due, self._ticket, kind, step, token))

    def pop(self, at: float) -> tuple[str, Step] | None:
        """The kind and step of the next timer that is due and applies to its step; None where none is."""
        while self.heap and self.heap[0][0] <= at:
            _, _, kind, step, token = heappop(self.heap)
            if self._applies(kind, step, token):
                return kind, step
        return None

    def expect_timeout(self, due: float) -> None:
        """No attempt exceeds its timeout before `due`."""
        self.next_due = due

    @property
    def first(self) -> float:
        """When the next timer or timeout is due, infinite where there is none."""
        return min(self.heap[0][0], self.next_due) if self.heap else self.next_due

    def any_active(self) -> bool:
        """Whether some timer still applies to its step."""
        return any(self._applies(kind, step, token) for _, _, kind, step, token in self.heap)

    def _applies(self, kind: str, step: Step, token: object) -> bool:
        if not self._state.holds(step.task) or step.ended:
            return False
        wants = {
            "backoff": (HELD, step.until),
            "join": (WAITING, step.join_since),
            "queue": (DEFERRED if step.state == DEFERRED else READY, step.ready_at),
            "answer": (OPEN, step.attempt),
            "total": (step.state, step.total_at),
        }
        return wants[kind] == (step.state, token)

    def shift(self, seconds: float) -> None:
        """Move the timers of kinds in STOPPED, by the time in which no process executed the run."""
        moved = []
        for due, ticket, kind, step, token in self.heap:
            # A queue timer is recognised by when its step became ready, which moves as well.
            token = token + seconds if kind == "queue" and isinstance(token, float) else token
            moved.append((due + seconds if kind in STOPPED else due, ticket, kind, step, token))
        self.heap = moved
        self.heap.sort(key=lambda timer: timer[:2])

    def drop_stale(self) -> None:
        """Drop the timers of tasks that are no longer open."""
        self.heap = [timer for timer in self.heap if self._state.holds(timer[3].task)]
        heapify(self.heap)

    def __len__(self) -> int:
        return len(self.heap)
