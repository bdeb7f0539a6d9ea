"""Time on a line: where a moment stands, and what is written along the edge."""

from __future__ import annotations

from math import floor
from typing import NamedTuple

from agentdeck.console.line_widget import Piece, Pieces
from agentdeck.workflow.units import show_duration

#: Between two marks: what people count in.
STEPS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
    3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
)  # fmt: skip
APART = 9


class Axis(NamedTuple):
    """From `start` to `end` on `width` cells; `zero` is the moment from which time is counted."""

    start: float
    end: float
    width: int
    zero: float

    def column(self, at: float) -> int:
        """The cell of a moment; below 0 or beyond the width where it cannot be seen."""
        span = self.end - self.start
        return floor((at - self.start) / span * self.width) if span > 0 else 0

    def moment(self, column: int) -> float:
        """When a cell begins."""
        return self.start + (self.end - self.start) * column / max(1, self.width)

    def marks(self) -> list[tuple[int, str]]:
        """Cells with what is written there, far enough from one another."""
        least = (self.end - self.start) * APART / max(1, self.width)
        step = next((step for step in STEPS if step >= least), max(least, STEPS[0]))
        first, last = max(0, floor((self.start - self.zero) / step)), floor((self.end - self.zero) / step)
        marks = ((self.column(self.zero + n * step), n * step) for n in range(first, last + 1))
        return [(column, show_duration(round(at, 6))) for column, at in marks if 0 <= column < self.width]

    def ruler(self) -> Pieces:
        """The marks as a line."""
        pieces: list[Piece] = []
        used = 0
        for column, label in self.marks():
            text = f"╷{label}"
            if column < used or column + len(text) > self.width:
                continue
            pieces += [(" " * (column - used), "line"), (text, "dim")]
            used = column + len(text)
        return (*pieces, (" " * (self.width - used), "line"))


def window(start: float, end: float, zoom: float, at: float | None) -> tuple[float, float]:
    """The part of the time from start to end that is shown: from `at`, or where that is None up to the end."""
    span = max(end - start, 1e-3) / zoom
    first = end - span if at is None else max(start, min(at, end - span))
    return first, first + span
