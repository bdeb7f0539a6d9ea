"""The inner steps of the step that is unfolded in a timeline: read bit by bit, shown as lanes below its row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.terminal_text import clean
from agentdeck.views.inner_lanes import InnerLanes
from agentdeck.views.task_timeline import TimelineRow

#: Lanes below a step.
MOST = 20

#: Reads the events of the lanes of a step, by task and step, after an event.
LaneSource: TypeAlias = Callable[[str, str, int], Awaitable[list[tuple[int, Event]]]]


class StepLanes:
    """The lanes of one step. `read_at` is when they were last read, `seq` the number of the event up to which;
    `fault` says why they cannot be read."""

    def __init__(self, source: LaneSource, task: str, step: str) -> None:
        self.task, self.step = task, step
        self.read_at = float("-inf")
        self.seq = 0
        self.fault = ""
        self._source = source
        self._lanes = InnerLanes()

    async def read(self, committed: int) -> None:
        """Read what was recorded since. The event with the number `committed` is."""
        try:
            found = await self._source(self.task, self.step, self.seq)
        except AgentdeckError as error:
            self.fault = str(error)
            return
        for seq, event in found:
            self._lanes.apply(seq, event)
        self.seq, self.fault = max(committed, self._lanes.seq), ""

    def rows(self, seq: int) -> list[TimelineRow]:
        """The newest lanes as of this event, after a row that says how many were before."""
        if self.fault:
            return [TimelineRow(clean(self.fault), "", "failed")]
        before, rows = self._lanes.rows(seq, MOST)
        more = [TimelineRow(f"… {before:,} more", "", "waiting")] if before else []
        return [*more, *rows]
