"""A table of any length, drawn line by line: only the rows that can be seen are asked for."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from textual import events
from textual.message import Message

from agentdeck.console.actions import bindings
from agentdeck.console.form_fields import refuse_lines
from agentdeck.console.line_widget import Line, LineWidget, Piece, Pieces, fit, fit_pieces
from agentdeck.console.table_model import Column, Layout, TableRows, fitted
from agentdeck.terminal_text import clean

R = TypeVar("R")


class Table(LineWidget, Generic[R]):
    """Rows under a header line: a cursor, marks, sorting, a filter, copying.

    The cursor and the marks stay with the rows' keys when rows move. `refresh_lines` after rows changed.
    """

    class RowChanged(Message):
        """The cursor is on another row; `opened` when the row was opened (Enter, double click)."""

        def __init__(self, table: Table[Any], key: Hashable, opened: bool) -> None:
            super().__init__()
            self.table = table
            self.key = key
            self.opened = opened

        @property
        def control(self) -> Table[Any]:
            return self.table

    BINDINGS = bindings("table")

    def __init__(
        self, columns: Sequence[Column[R]], source: TableRows[R], *, empty: str = "nothing here"
    ) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.source = source
        self.empty = empty
        self.placeholder = ""
        self.marks: set[Hashable] = set()
        self.sorted_by: Column[R] | None = None
        self.reversed = False
        self.filter = ""
        self.typing = False
        self.top = 0
        self.cursor = 0
        self.key: Hashable = None
        self._sought: Hashable = None
        self._dragging = False
        self._layout: tuple[int, Layout[R]] | None = None

    # Drawing ----------------------------------------------------------------------------------------------

    @property
    def page(self) -> int:
        """How many rows fit."""
        return max(1, self.size.height - 1 - (self.typing or bool(self.filter)))

    def show_placeholder(self, text: str) -> None:
        """Show this text while there are no rows."""
        self.placeholder = text
        self.refresh_lines()

    def show_columns(self, columns: Sequence[Column[R]]) -> None:
        """Show these columns from now on."""
        if self.columns != (columns := tuple(columns)):
            self.columns, self._layout = columns, None

    def refresh_lines(self) -> None:
        self.fit_cursor()
        super().refresh_lines()

    def fit_cursor(self) -> None:
        """Move cursor and viewport to fit the rows as they are now."""
        count = self.source.count
        if self._sought is not None and count:
            self.move_to_key(self._sought)
        if self.key is not None:
            here = self.cursor
            if here >= count or self.source.key(here) != self.key:
                found = self.source.find(self.key)
                if found is not None and self.top <= here < self.top + self.page:
                    # The row under the cursor stays on the line of the screen where it was.
                    self.top = max(0, self.top + found - here)
                self.cursor = here if found is None else found
        self.cursor = max(0, min(self.cursor, count - 1))
        self.key = self.source.key(self.cursor) if count else self.key
        self.top = max(0, min(self.top, count - self.page))

    def draw(self, y: int, width: int) -> Line:
        if y == 0:
            return self._header(width)
        if y == self.size.height - 1 and (self.typing or self.filter):
            return self._prompt(width)
        at = self.top + y - 1
        count = self.source.count
        if at >= count:
            if not count and y == 1:
                why = f"nothing matches /{clean(self.filter)}" if self.filter else self.placeholder or self.empty
                return Line((("  " + why, "dim"),))
            return Line()
        room = width - (count > self.page)
        pieces = self.cells(at, room)
        if room < width:
            pieces = (*pieces, self._scrollbar(y, count))
        background = ("cursor" if self.has_focus else "raised") if at == self.cursor else ""
        return Line(pieces, background)

    def cells(self, at: int, width: int) -> Pieces:
        """The row as pieces that together are `width` wide."""
        row, key = self.source.row(at), self.source.key(at)
        shown, gap = self.layout_of(width)
        pieces: list[Piece] = [("▪" if key in self.marks else " ", "accent")]
        used = 1
        for number, (column, room) in enumerate(shown):
            if number:
                pieces.append((" " * gap, "text"))
                used += gap
            cell = column.show(row)
            if isinstance(cell, str):
                pieces.append((fit(cell, room, right=column.right), "text"))
            else:
                pieces += fit_pieces(cell, room, right=column.right)
            used += room
        pieces.append((" " * (width - used), "text"))
        return tuple(pieces)

    def layout_of(self, width: int) -> Layout[R]:
        """The columns that fit into this width."""
        if self._layout is None or self._layout[0] != width:
            self._layout = width, fitted(self.columns, width)
        return self._layout[1]

    def _header(self, width: int) -> Line:
        shown, gap = self.layout_of(width - (self.source.count > self.page))
        pieces: list[Piece] = [(" ", "dim")]
        for number, (column, room) in enumerate(shown):
            if number:
                pieces.append((" " * gap, "dim"))
            title = column.name if column.title is None else column.title
            by = column is self.sorted_by
            if by:
                arrow = "▼" if self.reversed else "▲"
                title = f"{arrow}{title}" if column.right else f"{title}{arrow}"
            pieces.append((fit(title, room, right=column.right), "accent" if by else "dim"))
        return Line(tuple(pieces))

    def _prompt(self, width: int) -> Line:
        count = f"{self.source.count:,} found"
        text = fit(f"/{self.filter}{'▏' if self.typing else ''}", width - len(count) - 2)
        return Line(((text, "accent" if self.typing else "text"), (f" {count} ", "dim")), "raised")

    def _scrollbar(self, y: int, count: int) -> Piece:
        page = self.page
        size = max(1, page * page // count)
        start = round((page - size) * self.top / max(1, count - page))
        return ("┃", "dim") if start <= y - 1 < start + size else ("│", "line")

    # Actions ----------------------------------------------------------------------------------------------

    def move_to(self, at: int, *, notify: bool = True) -> None:
        """Put the cursor on the row at this place and bring it into view."""
        count = self.source.count
        if not count:
            return
        before, self._sought = self.key, None
        self.cursor = max(0, min(at, count - 1))
        self.key = self.source.key(self.cursor)
        self.top = max(self.cursor - self.page + 1, min(self.top, self.cursor))
        self.refresh_lines()
        if notify and self.key != before:
            self.post_message(self.RowChanged(self, self.key, False))

    def move_to_key(self, key: Hashable) -> None:
        """Put the cursor on a row, without telling the screen: at once, or when the row comes."""
        self._sought = None
        found = self.source.find(key)
        if found is None:
            self._sought = key
        elif key != self.key:
            self.move_to(found, notify=False)

    def rearrange(self) -> None:
        """Sort and filter as chosen, and show the first rows. The cursor stays on its row, where that is left."""
        self.source.arrange(self.sorted_by, self.reversed, self.filter)
        found = self.source.find(self.key) if self.key is not None else None
        self.top, self.cursor = 0, found or 0
        self.key = self.key if found is not None else None
        self.refresh_lines()

    def selected(self) -> list[Hashable]:
        """The keys of the marked rows; where none are marked, of the one under the cursor."""
        if self.marks:
            return list(self.marks)
        return [self.key] if self.source.count else []

    def action_walk(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self.move_to(self.cursor + by * max(1, self.page - 1))

    def action_go(self, at: int) -> None:
        self.move_to(at if at >= 0 else self.source.count + at)

    def action_open(self) -> None:
        if self.source.count:
            self.post_message(self.RowChanged(self, self.key, True))

    def action_mark(self) -> None:
        if self.source.count:
            self.marks ^= {self.key}
            self.move_to(self.cursor + 1)
            self.refresh_lines()

    def action_filter(self) -> None:
        self.typing = True
        self.refresh_lines()

    def action_sort(self, by: int) -> None:
        ways: list[Column[R] | None] = [None, *(c for c, _ in self.layout_of(self.size.width)[0] if c.order)]
        at = ways.index(self.sorted_by) if self.sorted_by in ways else 0
        self.sort_by(ways[(at + by) % len(ways)])

    def sort_by(self, column: Column[R] | None) -> None:
        """Numbers start with the largest, text with the first."""
        self.sorted_by, self.reversed = column, column is not None and column.right
        self.rearrange()

    def action_reverse(self) -> None:
        self.reversed = not self.reversed
        self.rearrange()

    def action_copy(self) -> None:
        """The row, or all marked ones, as text with a tab between cells."""
        places = [self.source.find(key) for key in self.selected()]
        rows = [self.source.row(at) for at in sorted(at for at in places if at is not None)]
        if rows:
            self.app.copy_to_clipboard(
                "\n".join("\t".join(self._text(c, row) for c in self.columns) for row in rows)
            )

    def _text(self, column: Column[R], row: R) -> str:
        cell = column.show(row)
        return clean(cell if isinstance(cell, str) else "".join(text for text, _ in cell)).strip()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where there is nothing to clear, Escape is the screen's."""
        return action != "clear" or bool(self.filter or self.marks)

    def action_clear(self) -> None:
        if self.filter:
            self.filter = ""
            self.rearrange()
        elif self.marks:
            self.marks.clear()
            self.refresh_lines()

    def on_key(self, event: events.Key) -> None:
        if not self.typing:
            return
        event.stop()
        event.prevent_default()
        text = self.filter
        if event.key == "escape":
            self.typing, text = False, ""
        elif event.key in ("enter", "tab"):
            self.typing = False
        elif event.key == "backspace":
            text = text[:-1]
        elif event.key == "ctrl+u":
            text = ""
        elif event.is_printable and event.character:
            text += event.character
        if text != self.filter:
            self.filter = text
            self.rearrange()
        self.refresh_lines()

    def on_paste(self, event: events.Paste) -> None:
        if self.typing:
            event.stop()
            lines = event.text.strip("\r\n").splitlines()
            if len(lines) > 1:
                refuse_lines(self, len(lines))
                return
            self.filter += clean("".join(lines))
            self.rearrange()

    # The mouse -----------------------------------------------------------------------------------------------

    def scroll_by(self, lines: int) -> None:
        self.top = max(0, min(self.top + lines, self.source.count - self.page))
        self.cursor = max(self.top, min(self.cursor, self.top + self.page - 1))
        self.key = self.source.key(self.cursor) if self.source.count else None
        self.refresh_lines()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_by(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_by(-3)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        x, y = self.inside(event)
        if x == self.size.width - 1 and y > 0 and self.source.count > self.page:
            self._dragging = True
            self.capture_mouse()
            self._drag_to(y)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragging:
            self._drag_to(self.inside(event).y)

    def on_mouse_up(self) -> None:
        if self._dragging:
            self._dragging = False
            self.release_mouse()

    def _drag_to(self, y: int) -> None:
        share = min(1.0, max(0.0, (y - 1) / max(1, self.page - 1)))
        self.scroll_by(round(share * (self.source.count - self.page)) - self.top)

    def on_click(self, event: events.Click) -> None:
        x, y = self.inside(event)
        if x == self.size.width - 1 and self.source.count > self.page:
            return
        if y == 0:
            self._click_header(x)
        elif 0 < y <= min(self.page, self.source.count - self.top):
            self.move_to(self.top + y - 1)
            if event.chain == 2:
                self.action_open()

    def _click_header(self, x: int) -> None:
        shown, gap = self.layout_of(self.size.width - (self.source.count > self.page))
        start = 1
        for column, room in shown:
            if start <= x < start + room + gap and column.order:
                if column is self.sorted_by:
                    self.action_reverse()
                else:
                    self.sort_by(column)
                return
            start += room + gap
