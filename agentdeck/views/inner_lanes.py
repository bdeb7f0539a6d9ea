"""When the inner steps of one step ran: without their values, so that all of them fit into memory."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, RUNNING
from agentdeck.views.step_transitions import ATTEMPT_ENDS
from agentdeck.views.task_timeline import TimelineRow, TimelineSpan

#: Inner steps that are remembered, of all attempts together.
MOST = 40_000
#: The events that lanes are made of, as the store names them.
KINDS = (
    "step_started", "inner_started", "inner_ended", "step_succeeded", "attempt_failed", "attempt_lost",
    "attempt_deferred", "attempt_asked", "step_done", "step_failed", "step_skipped", "step_cancelled",
)  # fmt: skip


@dataclass(slots=True)
class _Lane:
    name: str
    depth: int
    attempt: int
    since: float
    until: float | None = None
    state: str = RUNNING
    end_seq: int = 0


class InnerLanes:
    """The inner steps of one step in the order in which they began. `seq` is the number of the last event."""

    def __init__(self) -> None:
        self.seq = 0
        self._seqs: list[int] = []
        self._lanes: list[_Lane] = []
        self._open: dict[int, _Lane] = {}

    def apply(self, seq: int, event: Any) -> None:
        """Apply an event of the step, of KINDS."""
        self.seq = seq
        kind = type(event)
        if kind is ev.InnerStarted:
            above = self._open.get(event.parent)
            depth = 0 if above is None else above.depth + 1
            lane = self._open[event.inner] = _Lane(event.name, depth, event.attempt, event.at)
            self._lanes.append(lane)
            self._seqs.append(seq)
            if len(self._lanes) > MOST:
                del self._lanes[: MOST // 4], self._seqs[: MOST // 4]
        elif kind is ev.InnerEnded:
            self._end(self._open.pop(event.inner, None), seq, event.at, DONE if event.fault is None else FAILED)
        elif kind in ATTEMPT_ENDS:
            for lane in self._open.values():
                self._end(lane, seq, event.at, CANCELLED)
            self._open.clear()

    def _end(self, lane: _Lane | None, seq: int, at: float, state: str) -> None:
        if lane is not None:
            lane.until, lane.state, lane.end_seq = max(at, lane.since), state, seq

    def rows(self, seq: int, most: int) -> tuple[int, list[TimelineRow]]:
        """The newest inner steps as they were after the event with this number, at most so many, and the number
        of those before them. Each is a row whose `step` is its name, indented."""
        end = bisect_right(self._seqs, seq)
        first = max(0, end - most)
        return first, [_row(lane, seq) for lane in self._lanes[first:end]]


def _row(lane: _Lane, seq: int) -> TimelineRow:
    ended = 0 < lane.end_seq <= seq
    state, until = (lane.state, lane.until) if ended else (RUNNING, None)
    name = "  " * min(lane.depth, 6) + lane.name
    return TimelineRow(name, "", state, (TimelineSpan(state, lane.since, until, 1),))
