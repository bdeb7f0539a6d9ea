"""The columns of a table, and which of them fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from agentdeck.console.line_widget import Pieces

R = TypeVar("R")

#: A cell between columns is enough where two of them would cost a column.
GAPS = (2, 1)


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """What a table shows of a row. `show` gives the cell: text, or pieces with their roles, already harmless.

    `width` is the least it takes; what is left over goes to columns with `flex`, up to `most`. Where there is
    too little room the column with the highest `rank` vanishes first, and those with rank 0 never. `order`
    gives what the rows are sorted by (None comes last); without it the column cannot be sorted by.
    """

    name: str
    show: Callable[[R], str | Pieces]
    width: int
    flex: int = 0
    most: int = 10_000
    right: bool = False
    rank: int = 0
    order: Callable[[R], object] | None = None
    title: str | None = None


class Layout(NamedTuple, Generic[R]):
    """Columns that fit, each with its width, and the gap between them. One cell before them is for marks."""

    shown: tuple[tuple[Column[R], int], ...]
    gap: int


def fitted(columns: Sequence[Column[R]], width: int) -> Layout[R]:
    """The columns for this width: those of the highest rank left out first, what is left over shared."""
    kept = list(columns)
    while _least(kept, GAPS[-1]) > width and any(column.rank for column in kept):
        kept.remove(max(reversed(kept), key=lambda column: column.rank))
    gap = next((gap for gap in GAPS if _least(kept, gap) <= width), GAPS[-1])
    widths = {column.name: column.width for column in kept}
    left = width - _least(kept, gap)
    while left > 0 and (growing := [c for c in kept if c.flex and widths[c.name] < c.most]):
        total, shared = sum(column.flex for column in growing), left
        for column in growing:
            more = min(left, max(1, shared * column.flex // total), column.most - widths[column.name])
            widths[column.name] += more
            left -= more
    for column in reversed(kept):
        # Not even those that never vanish have room: the last ones are cut.
        cut = min(widths[column.name], max(0, -left))
        widths[column.name] -= cut
        left += cut
    return Layout(tuple((column, widths[column.name]) for column in kept), gap)


def _least(columns: Sequence[Column[R]], gap: int) -> int:
    """The width that these columns need, with the cell for marks."""
    return 1 + sum(column.width for column in columns) + gap * max(0, len(columns) - 1)
