"""The chart of a timeline: time along an axis, and rows of attempts or of activity drawn on it."""

from __future__ import annotations

from math import floor
from typing import NamedTuple

from agentdeck.console.line_widget import Piece, Pieces, block, joined
from agentdeck.insight.formatting import seconds
from agentdeck.terminal_text import clean
from agentdeck.views.agent_activity import AgentActivity
from agentdeck.views.task_timeline import TimelineRow
from agentdeck.workflow.units import show_duration

#: Possible distances between two marks, in seconds.
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


#: How an attempt that did not end well ends.
ENDS = {"failed": "✗", "lost": "!", "cancelled": "⊘", "rejected": "¬", "asking": "?", "asked": "?"}
ROLES = {"lost": "interrupted", "ready": "failed", "asked": "asking"}


def attempts(row: TimelineRow, axis: Axis, end: float, now: float | None, *, critical: bool) -> Pieces:
    """Waits as dotted lines in the colour of their reason, attempts as bars. The first cell of a second or later
    attempt is its number, the last cell of a failed one its end; after the last attempt comes its duration. A
    line marks the present moment."""
    cells: list[Piece] = [(" ", "text")] * axis.width
    body = "█" if critical else "━"
    edge = 0
    for span in row.spans:
        until = end if span.until is None else span.until
        first, last = axis.column(span.since), axis.column(until)
        if last < 0 or first >= axis.width:
            continue
        if not span.attempt:
            _paint(cells, first, last, "·" if span.kind == "needs" else "┄", span.kind)
            word = clean(span.kind)
            if last - max(0, first) >= len(word) + 3 and word != "needs" and word.isascii():
                _write(cells, max(0, first) + 1, word, span.kind)
            edge = max(edge, last)
            continue
        role = ROLES.get(span.kind, span.kind)
        last = max(last, first + 1)
        _paint(cells, first, last, body, role)
        if span.attempt > 1 and last - first > 1:
            _write(cells, first, str(span.attempt), role)
        if span.kind in ENDS:
            _write(cells, last - 1, ENDS[span.kind], role)
        edge = max(edge, last)
    if row.spans and row.spans[-1].attempt and edge < axis.width:
        span = row.spans[-1]
        _write(cells, edge + 1, seconds((end if span.until is None else span.until) - span.since), "dim")
    if now is not None and 0 <= (column := axis.column(now)) < axis.width and cells[column] == (" ", "text"):
        cells[column] = ("│", "accent")
    return joined(cells)


def busy(name: str, activity: AgentActivity, axis: Axis, end: float) -> Pieces:
    """How many attempts of an agent ran at once, as shares of the most; where some failed, in their colour."""
    found = activity.along(name, axis.start, (axis.end - axis.start) / axis.width, axis.width)
    high = max((many for many, _ in found), default=0.0)
    cells: list[Piece] = []
    for column, (many, failed) in enumerate(found):
        if axis.moment(column) > end:
            cells.append((" ", "text"))
        elif high <= 0 or many <= 0:
            cells.append(("·" if failed == 0 else "✗", "line" if failed == 0 else "failed"))
        else:
            cells.append((block(many, high), "failed" if failed else "running"))
    return joined(cells)


def _paint(cells: list[Piece], first: int, last: int, mark: str, role: str) -> None:
    for column in range(max(0, first), min(last, len(cells))):
        cells[column] = (mark, role)


def _write(cells: list[Piece], at: int, text: str, role: str) -> None:
    for column, mark in enumerate(text, at):
        if 0 <= column < len(cells):
            cells[column] = (mark, role)
