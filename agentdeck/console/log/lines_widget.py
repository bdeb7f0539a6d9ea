"""The lines of a log pane, drawn by textual's line API: only the visible ones."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from rich.segment import Segment
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from agentdeck.console.actions import bindings
from agentdeck.console.line_widget import CachedBackground
from agentdeck.console.log import line_style
from agentdeck.console.log.line_filter import LineFilter
from agentdeck.console.log.line_style import LineColumns
from agentdeck.console.log.lines import CleanLine
from agentdeck.console.state_style import role_styles
from agentdeck.console.styled_cells import extracted, selected, styled, wrapped

COPIED = 20_000  # lines that a selection may hold
WHEEL = 3  # rows
NOTICE = -1  # the number of the row that says how many lines were dropped, above the first line


class ScreenRow(NamedTuple):
    """One row of the screen: a line, and where in its shown text the row begins."""

    number: int
    start: int
    text: str


class LogLines(CachedBackground, ScrollView, can_focus=True, inherit_bindings=False):
    """Rows scroll by whole lines, wrapped or not, so where the reader is never depends on the lines before.

    `following`: the end stays in sight. It ends when the reader scrolls up, and holds again at the end.
    """

    DEFAULT_CSS = """
    LogLines { height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    """
    BINDINGS = bindings("log", "lines")

    class Chosen(Message):
        """A line was chosen: it is to be shown whole."""

        def __init__(self, line: CleanLine) -> None:
            super().__init__()
            self.line = line

    def __init__(self, line_filter: LineFilter) -> None:
        super().__init__()
        self.line_filter = line_filter
        self.columns = LineColumns()
        self.wrap = False
        self.following = True
        self.cursor: int | None = None
        self.left = 0
        self._anchor = NOTICE
        self._seen = -1  # the newest line when the reader left the end
        self._moving = False
        self._page: list[ScreenRow] = []
        self._drawn: tuple[object, ...] = ()

    # What there is ------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Sequence[int]:
        return self.line_filter.rows

    @property
    def lead(self) -> int:
        """How many rows are above the first line: one where lines were dropped."""
        return 1 if self.line_filter.lines.dropped else 0

    @property
    def new(self) -> int:
        """Lines that came since the reader left the end."""
        rows = self.rows
        return 0 if self.following else len(rows) - bisect_right(rows, self._seen)

    @property
    def one(self) -> bool:
        """Whether all lines are of one agent, so that its name is left out."""
        return len(self.line_filter.wanted.agents) == 1

    def show(self, line_filter: LineFilter, *, again: bool = False) -> None:
        """Show what another line_filter lets through; from its end if `again`, else from where the reader is."""
        self.line_filter.close()
        self.line_filter = line_filter
        self._drawn = ()
        if again:
            self.following, self.cursor, self.left = True, None, 0
            self.columns = replace(self.columns, place=0)

    def _number(self, index: int) -> int:
        index -= self.lead
        return NOTICE if index < 0 else self.rows[index]

    def _index(self, number: int) -> int:
        return 0 if number < 0 else self.lead + bisect_left(self.rows, number)

    @property
    def _room(self) -> int:
        return max(2, self.size.width - self.columns.fitted(self.size.width).width)

    def _text(self, number: int) -> str:
        if number == NOTICE:
            return f"… {self.line_filter.lines.dropped:,} lines dropped"
        return line_style.shown(self.line_filter.lines.texts[number - self.line_filter.lines.first])

    def _height(self, index: int) -> int:
        return len(wrapped(self._text(self._number(index)), self._room)) if self.wrap else 1

    def _top_for(self, index: int) -> int:
        """The first top row at which this row is wholly in sight."""
        if index < 0:
            return 0
        room = self.size.height
        if not self.wrap:
            return max(0, index - room + 1)
        for top in range(index, -1, -1):
            room -= self._height(top)
            if room < 0:
                return min(top + 1, index)
        return 0

    # Every frame --------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Fit what can be seen to what there is now. Cheap when nothing changed."""
        size, rows, lines = self.size, self.rows, self.line_filter.lines
        if not size.height:
            return
        total = self.lead + len(rows)
        last = self._top_for(total - 1)
        self._resize(size.width, last + size.height)
        top = last if self.following else min(last, self._index(self._anchor))
        if top != self.scroll_offset.y:
            self._scroll(top)
        seen = tuple(rows[max(0, top - self.lead) : top + size.height])
        marked = self.line_filter.search.marked if self.line_filter.search is not None else 0
        state = (total == 0, self.line_filter.fault, marked)
        drawn = (top, seen, lines.growth, lines.dropped if top == 0 else 0, size, state)
        if drawn != self._drawn:
            self._drawn = drawn
            if self.columns.agent:
                one = self.one
                most = max((line_style.place_width(lines.line(n), one=one) for n in seen), default=0)
                if most > self.columns.place:
                    self.columns = replace(self.columns, place=min(28, most))
            self.refresh()

    def _resize(self, width: int, height: int) -> None:
        """Set the virtual size, without a layout of the screen."""
        size = Size(width, height)
        if size != self.virtual_size:
            self._moving = True
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
            self._moving = False

    def _scroll(self, top: int) -> None:
        self._moving = True
        self.scroll_to(y=top, animate=False, force=True)
        self._moving = False

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._moving and round(old_value) != round(new_value):
            self._reader_at(round(new_value))

    def _reader_at(self, top: int) -> None:
        """The operator scrolled: at the end the pane follows again, anywhere else it stays."""
        total = self.lead + len(self.rows)
        if top >= self._top_for(total - 1):
            self.following = True
        else:
            self._leave()

    def _leave(self) -> None:
        """Stay at this place when lines come."""
        if self.following:
            self._seen = self.rows[-1] if len(self.rows) else -1
        self.following = False
        if self.lead + len(self.rows):
            self._anchor = self._number(self.scroll_offset.y)

    def _go(self, top: int) -> None:
        total = self.lead + len(self.rows)
        top = max(0, min(top, self._top_for(total - 1)))
        self._scroll(top)
        self._reader_at(top)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn = ()

    # Drawing ------------------------------------------------------------------------------------------------

    def render_lines(self, crop: Region) -> list[Strip]:
        self._page = self._pieces()
        return super().render_lines(crop)

    def _pieces(self) -> list[ScreenRow]:
        top, height = self.scroll_offset.y, self.size.height
        total, room = self.lead + len(self.rows), self._room
        page: list[ScreenRow] = []
        for index in range(top, min(total, top + height)):
            number = self._number(index)
            text = self._text(number)
            if self.wrap:
                page += [ScreenRow(number, start, piece) for start, piece in wrapped(text, room)]
            else:
                page.append(ScreenRow(number, self.left, text[self.left : self.left + 2 * room]))
            if len(page) >= height:
                break
        if self.wrap and top and len(page) < height:  # at the end: no rows are left empty below
            number = self._number(top - 1)
            before = [ScreenRow(number, start, piece) for start, piece in wrapped(self._text(number), room)]
            page = before[len(page) - height :] + page
        return page

    def render_line(self, y: int) -> Strip:
        width, background = self.size.width, self.background
        if y >= len(self._page):
            if not self._page and y == 0:
                return self._empty(width)
            return Strip.blank(width, background)
        number, start, text = self._page[y]
        styles = role_styles(self.app)
        if number == NOTICE:
            note = Segment(f" {text}", background + styles["warn"])
            return Strip([note]).crop_extend(0, width, background)
        if number == self.cursor:
            background = background + styles.cursor if self.has_focus else background + styles.raised
        line = self.line_filter.lines.line(number)
        columns = self.columns.fitted(width)
        first = start == 0 or not self.wrap
        around = not self.line_filter.fits(number)
        mark = "›" if number == self.cursor else "▎" if self.line_filter.wanted.around and not around else " "
        front = [Segment(mark, background + styles["accent"])]
        if first:
            front += line_style.head(line, columns, styles, background, one=self.one)
        else:
            front += line_style.blank(columns, background)
        base = background + styles["dim" if around else line_style.text_role(line.level)]
        if number == self.cursor and self.has_focus:
            front = [Segment(segment.text, background) for segment in front]
            base = background
        whole = self._text(number)
        said_by = self.line_filter.lines.said_by(line.agent, whole)
        marks = line_style.spans(line, whole, styles, self.line_filter.search, said_by)
        marks += selected(
            self.text_selection, number, len(whole), self.screen.get_component_rich_style("screen--selection")
        )
        before = sum(len(segment.text) for segment in front)
        strip = Strip([*front, *styled(text, base, marks, start)]).apply_offsets(start - before, number)
        return strip.crop_extend(0, width, background)

    def _empty(self, width: int) -> Strip:
        if self.line_filter.fault:
            text = self.line_filter.fault
        elif self.line_filter.left:
            text = f"searching {self.line_filter.left:,} lines"
        elif self.line_filter.wanted.pattern or self.line_filter.wanted.level:
            text = "no line matches; Esc shows all"
        else:
            text = "nothing logged yet"
        style = self.rich_style + role_styles(self.app)["dim"]
        return Strip([Segment(" " + text, style)]).crop_extend(0, width, self.rich_style)

    # Selection ----------------------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        rows = self.rows
        start = 0 if selection.start is None else bisect_left(rows, selection.start.y)
        end = len(rows) if selection.end is None else bisect_right(rows, selection.end.y)
        picked = rows[max(start, end - COPIED) : end]
        return extracted(selection, [(number, self._text(number)) for number in picked]), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # Actions ------------------------------------------------------------------------------------------------

    def current(self) -> CleanLine | None:
        """The line under the cursor, else the newest one."""
        rows = self.rows
        if not rows:
            return None
        at = bisect_left(rows, self.cursor) if self.cursor is not None else len(rows) - 1
        return self.line_filter.lines.line(rows[min(at, len(rows) - 1)])

    def point(self, number: int) -> None:
        """Put the cursor on a line and bring it into sight."""
        self.cursor = number
        index, top = self._index(number), self.scroll_offset.y
        self._go(min(index, max(top, self._top_for(index))))
        self._leave()
        self._drawn = ()
        self.refresh()

    def action_move(self, by: int) -> None:
        rows = self.rows
        if not rows:
            return
        if self.cursor is None:
            seen = [piece.number for piece in self._page if piece.number >= 0]
            if not seen:
                return
            at = bisect_left(rows, seen[-1] if by < 0 or self.following else seen[0])
        else:
            at = bisect_left(rows, self.cursor) + by
        self.point(rows[max(0, min(at, len(rows) - 1))])

    def action_page(self, by: int) -> None:
        self._go(self.scroll_offset.y + by * max(1, self.size.height - 1))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Scroll without animation: lines that come meanwhile would scroll back to the end."""
        event.stop()
        event.prevent_default()
        self._go(self.scroll_offset.y - WHEEL)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        event.prevent_default()
        self._go(self.scroll_offset.y + WHEEL)

    def action_first(self) -> None:
        self._go(0)

    def action_follow(self) -> None:
        self.following, self.cursor = True, None
        self._drawn = ()
        self.sync()

    def action_shift(self, by: int) -> None:
        self.left = 0 if self.wrap else max(0, self.left + by)
        self.refresh()

    def action_wrap(self) -> None:
        self.wrap, self.left, self._drawn = not self.wrap, 0, ()
        self.sync()

    def action_column(self, name: str) -> None:
        self.columns = replace(self.columns, **{name: not getattr(self.columns, name)})
        self._drawn = ()
        self.sync()

    def action_match(self, step: int) -> None:
        rows = self.rows
        if not rows:
            return
        here = self.cursor
        if here is None:
            here = rows[-1] + 1 if self.following else self._anchor - (step > 0)
        found = self.line_filter.near(here, step)
        if found is None:
            self.app.notify("no match " + ("below" if step > 0 else "above"), timeout=2)
        else:
            self.point(found)

    def action_copy(self) -> None:
        line = self.current()
        if line is not None:
            self.app.copy_to_clipboard(line.text)
            self.app.notify(f"copied {len(line.text):,} characters", timeout=2)

    def action_open(self) -> None:
        line = self.current()
        if line is not None:
            self.post_message(self.Chosen(line))

    def on_click(self, event: Click) -> None:
        if 0 <= event.y < len(self._page) and (number := self._page[event.y].number) >= 0:
            self.cursor = number
            self._drawn = ()
            self.refresh()
            if event.chain == 2:
                self.action_open()
