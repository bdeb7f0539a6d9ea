"""A list of rows with headings, drawn line by line: only the visible rows cost time.

It is no `Table`: it has headings between its rows and textual's scrollbar, and is filled page by page; a table
sorts, filters and marks its rows and compares its visible lines at every tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from agentdeck.console.actions import bindings
from agentdeck.console.line_widget import CachedBackground, Line, Piece, Pieces, fit, painted
from agentdeck.terminal_text import clean

#: Cells of a column that shares what is left, at least.
LEAST = 12


class ListColumn(NamedTuple):
    """`width` 0 shares what is left. The last columns are hidden where there is no room."""

    title: str
    width: int = 0
    right: bool = False


class ListRow(NamedTuple):
    """One line: pairs of text and role, one per column. Without a key it is a heading, and never selected."""

    key: str
    cells: tuple[tuple[str, str], ...]


class RowList(CachedBackground, ScrollView, can_focus=True, inherit_bindings=False):
    """A list with a cursor. The cursor stays with its key when rows come and go."""

    DEFAULT_CSS = "RowList { overflow-x: hidden; overflow-y: auto; }"

    BINDINGS = bindings("list")

    class Moved(Message):
        """The cursor is on another row. `left` is how many rows are below it."""

        def __init__(self, left: int) -> None:
            super().__init__()
            self.left = left

    class Chosen(Message):
        """A row was double-clicked."""

    def __init__(self, columns: Sequence[ListColumn], *, empty: str = "") -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.empty = empty
        self.rows: list[ListRow] = []
        self.cursor = 0

    @property
    def key(self) -> str:
        """Of the selected row; empty where there is none."""
        return self.rows[self.cursor].key if self.cursor < len(self.rows) else ""

    def show(self, rows: Sequence[ListRow], key: str | None = None) -> None:
        """Show these rows, with the cursor on `key`, else where it was."""
        if key is not None:
            self.call_after_refresh(self._see)
        key = self.key if key is None else key
        before = self.key
        self.rows = list(rows)
        found = next((i for i, row in enumerate(self.rows) if row.key and row.key == key), None)
        if found is None:
            found = self._near(min(self.cursor, max(0, len(self.rows) - 1)), 1)
        self.cursor = found
        self._resize()
        if self.key != before:
            self._post_moved()

    def add(self, rows: Sequence[ListRow]) -> None:
        """More rows at the end."""
        self.rows += rows
        self._resize()

    def _resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + self._head)
        self.refresh()

    @property
    def _head(self) -> int:
        return 1 if any(column.title for column in self.columns) else 0

    # Moving -------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self._go(self.cursor + by, by)

    def action_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - 2), by)

    def action_edge(self, end: int) -> None:
        self._go(len(self.rows) - 1 if end else 0, -1 if end else 1)

    def _go(self, to: int, way: int) -> None:
        if not self.rows:
            return
        to = self._near(max(0, min(len(self.rows) - 1, to)), 1 if way > 0 else -1)
        if to != self.cursor:
            old, self.cursor = self.cursor, to
            self._refresh_row(old)
            self._refresh_row(to)
            self._see()
            self._post_moved()

    def _near(self, to: int, way: int) -> int:
        """The nearest row that can be selected: in this direction, else in the other."""
        for step in (way, -way):
            at = to
            while 0 <= at < len(self.rows):
                if self.rows[at].key:
                    return at
                at += step
        return to

    def _see(self) -> None:
        """Keep the cursor visible, with its heading."""
        height = self.size.height - self._head
        top = round(self.scroll_offset.y)
        least = self.cursor - 1 if self.cursor and not self.rows[self.cursor - 1].key else self.cursor
        if least < top:
            self.scroll_to(y=least, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def _post_moved(self) -> None:
        self.post_message(self.Moved(len(self.rows) - 1 - self.cursor))

    def _refresh_row(self, row: int) -> None:
        y = row + self._head - round(self.scroll_offset.y)
        self.refresh(Region(0, y, self.size.width, 1))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        row = offset.y - self._head + round(self.scroll_offset.y)
        if offset.y >= self._head and 0 <= row < len(self.rows) and self.rows[row].key:
            self._go(row, 1)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self) -> None:
        self._resize()
        if self.rows:
            self._see()

    # Drawing ------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        return painted(self, self._line_at(y), self.background)

    def _line_at(self, y: int) -> Line:
        if y < self._head:
            return Line(self._pieces([(column.title, "dim") for column in self.columns]))
        index = y - self._head + round(self.scroll_offset.y)
        if index >= len(self.rows):
            return Line(((" " + (self.empty if not self.rows and y == self._head else ""), "dim"),))
        row = self.rows[index]
        if not row.key:
            return Line(((" " + clean(row.cells[0][0]), "title"),))
        background = ("cursor" if self.has_focus else "raised") if index == self.cursor else ""
        return Line(self._pieces(row.cells), background)

    def _pieces(self, cells: Sequence[tuple[str, str]]) -> Pieces:
        pieces: list[Piece] = [(" ", "text")]
        for column, (text, role), size in zip(self.columns, cells, self._widths(self.size.width), strict=False):
            pieces.append((fit(text, size, right=column.right) + "  ", role))
        return tuple(pieces)

    def _widths(self, width: int) -> list[int]:
        """The width of each column that fits, from the first one on."""
        widths = [column.width or LEAST for column in self.columns]
        while len(widths) > 1 and sum(widths) + 2 * len(widths) + 1 > width:
            widths.pop()
        shared = [at for at in range(len(widths)) if not self.columns[at].width]
        for number, at in enumerate(shared):
            left = width - 1 - sum(widths) - 2 * len(widths)
            widths[at] += left // (len(shared) - number)
        return widths
