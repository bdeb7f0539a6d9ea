"""What the fold of events leaves to be decided before anything else starts."""

from __future__ import annotations

from collections import deque

from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import WAITING, Step, Task


class Pending:
    """Queues that the fold fills and the scheduler empties after every event.

    `unsatisfiable`: steps whose join can no longer be satisfied, with its verdict. `unneeded`: steps that started
    with `rest: cancel`, so that needs which no other step waits for are cancelled. `undecided`: steps whose round
    or last item has ended. `finished`: tasks whose steps have all ended. `recovered`: steps that ended well after
    they had become dead letters.
    """

    __slots__ = ("finished", "recovered", "undecided", "unneeded", "unsatisfiable")

    def __init__(self) -> None:
        self.unsatisfiable: deque[tuple[Step, str]] = deque()
        self.unneeded: deque[Step] = deque()
        self.undecided: deque[Step] = deque()
        self.finished: deque[Task] = deque()
        self.recovered: deque[Step] = deque()

    def drop_stale(self, state: RunState) -> None:
        """Drop what needs no decision any more."""
        self.unneeded = deque(step for step in self.unneeded if state.holds(step.task))
        self.unsatisfiable = deque(entry for entry in self.unsatisfiable if entry[0].state == WAITING)
        self.undecided = deque(step for step in self.undecided if not step.ended)
