"""Rows of a table that are in memory: sorted and filtered here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar, cast

from agentdeck.console.columns import Column
from agentdeck.console.throttle import Seldom

R = TypeVar("R")


class Rows(Generic[R]):
    """A `Source` over a sequence. `key` names a row for good; `text` is what the filter looks at.

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
        self._seldom = Seldom()

    @property
    def count(self) -> int:
        return len(self._shown)

    def row(self, at: int) -> R:
        return self._shown[at]

    def key(self, at: int) -> Hashable:
        return self._key(self._shown[at])

    def find(self, key: Hashable) -> int | None:
        return next((at for at, row in enumerate(self._shown) if self._key(row) == key), None)

    def put(self, items: Sequence[R]) -> None:
        """Other rows, or the same ones changed. Where sorting them takes long it is done less often."""
        grew = len(items) != len(self._items)
        self._items = items
        if self._column is None and not self._filter and not self._reverse:
            self._shown = items
        elif grew or self._seldom.due():
            with self._seldom:
                self._arrange()

    def arrange(self, column: Column[R] | None, reverse: bool, text: str) -> None:
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
