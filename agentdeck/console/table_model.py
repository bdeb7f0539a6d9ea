"""The columns and rows of a table: which columns fit, and rows in memory, sorted and filtered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast

from agentdeck.console.line_widget import Pieces
from agentdeck.console.throttle import Throttle

R = TypeVar("R")

#: Two cells between columns, or one where two would hide a column.
GAPS = (2, 1)


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """What a table shows of a row. `show` gives the cell: text, or pieces with their roles, without control
    characters.

    `width` is the least it takes; what is left over goes to columns with `flex`, up to `most`. Where there is
    too little room the column with the highest `rank` is hidden first; those with rank 0 are never hidden.
    `order` gives what the rows are sorted by (None comes last); a column without it cannot be sorted by.
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
        # Not even the columns that are never hidden fit: the last ones are cut.
        cut = min(widths[column.name], max(0, -left))
        widths[column.name] -= cut
        left += cut
    return Layout(tuple((column, widths[column.name]) for column in kept), gap)


def _least(columns: Sequence[Column[R]], gap: int) -> int:
    """The width that these columns need, with the cell for marks."""
    return 1 + sum(column.width for column in columns) + gap * max(0, len(columns) - 1)


class TableRows(Generic[R]):
    """The rows of a table. `key` identifies a row; `text` is what the filter searches.

    A filter is a part of the text in any case; with `!` in front, what must not be in it.
    """

    def __init__(self, key: Callable[[R], Hashable], text: Callable[[R], str], items: Sequence[R] = ()) -> None:
        self._key = key
        self._text = text
        self._items = items
        self._shown = items
        self._column: Column[R] | None = None
        self._reverse = False
        self._filter = ""
        self._throttle = Throttle()

    @property
    def count(self) -> int:
        return len(self._shown)

    def row(self, at: int) -> R:
        return self._shown[at]

    def key(self, at: int) -> Hashable:
        return self._key(self._shown[at])

    def find(self, key: Hashable) -> int | None:
        """The position of the row with this key; None if there is none."""
        return next((at for at, row in enumerate(self._shown) if self._key(row) == key), None)

    def set_rows(self, items: Sequence[R]) -> None:
        """Set the rows. Where sorting them takes long it is done less often."""
        grew = len(items) != len(self._items)
        self._items = items
        if self._column is None and not self._filter and not self._reverse:
            self._shown = items
        elif grew or self._throttle.due():
            with self._throttle:
                self._arrange()

    def arrange(self, column: Column[R] | None, reverse: bool, text: str) -> None:
        """Sort by this column, and show the rows that fit the text."""
        self._column, self._reverse, self._filter = column, reverse, text
        self._arrange()

    def _arrange(self) -> None:
        shown: Sequence[R] = self._items
        wanted = self._filter.casefold()
        inverse = wanted.startswith("!")
        wanted = wanted[inverse:]
        if wanted:
            text = self._text
            shown = [row for row in shown if (wanted in text(row).casefold()) != inverse]
        if self._column is not None and self._column.order is not None:
            order = cast("Callable[[R], float]", self._column.order)
            known = [(value, row) for row in shown if (value := order(row)) is not None]
            unknown = [row for row in shown if order(row) is None] if len(known) < len(shown) else []
            known.sort(key=lambda pair: pair[0], reverse=self._reverse)
            shown = [row for _, row in known] + unknown
        elif self._reverse:
            shown = shown[::-1]
        self._shown = shown
