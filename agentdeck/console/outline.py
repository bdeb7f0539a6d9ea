"""A page of text: an outline whose parts fold, wrapped to the width, with selection and copy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.segment import Segment
from textual.events import Click, Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from agentdeck.console.actions import bindings
from agentdeck.console.log.lines import steady
from agentdeck.console.state_style import role_styles
from agentdeck.console.styled_cells import extracted, selected, styled, wrapped
from agentdeck.terminal_text import clean, escaped
from agentdeck.workflow.model import Data

LONGEST = 20_000  # characters of one line of a page
MOST = 20_000  # lines of a page
DEEPEST = 40  # levels of a value that fold; what is below them is text
OPEN_LINES = 60  # an outline with more lines than these begins folded


class OutlineItem(NamedTuple):
    """A line of a page. Those that follow with a greater `depth` are inside it; `shut` folds them at first.
    `label` is drawn before the text, as a title."""

    text: str = ""
    role: str = "text"
    depth: int = 0
    label: str = ""
    shut: bool = False


class OutlineView(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows items. Enter, or a click on the mark, folds and unfolds the one under the cursor."""

    DEFAULT_CSS = (
        "OutlineView { height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }"
    )
    BINDINGS = bindings("sheet")

    def __init__(self, items: Sequence[OutlineItem] = ()) -> None:
        super().__init__()
        self.cursor = 0
        self.items: list[OutlineItem] = []
        self._shut: set[int] = set()
        self._rows: list[tuple[int, int, str]] = []  # item, where the row begins in its text, the row
        self.show(items)

    def show(self, items: Sequence[OutlineItem]) -> None:
        """Show another page, without control characters. An item stays folded where its label comes again."""
        known = {(item.label, item.depth): i in self._shut for i, item in enumerate(self.items)}
        self.items = [item._replace(text=steady(item.text), label=steady(item.label)) for item in items[:MOST]]
        if len(items) > MOST:
            self.items.append(OutlineItem(f"… {len(items) - MOST:,} more lines", "warn"))
        self._shut = {i for i, item in enumerate(self.items) if known.get((item.label, item.depth), item.shut)}
        self.cursor = min(self.cursor, max(0, len(self.items) - 1))
        self._lay()

    def folds(self, i: int) -> bool:
        """Whether an item has inner items."""
        return i + 1 < len(self.items) and self.items[i + 1].depth > self.items[i].depth

    def text(self, i: int) -> str:
        """The whole line of an item, as it is shown and copied."""
        item = self.items[i]
        mark = ("▸ " if i in self._shut else "▾ ") if self.folds(i) else "  "
        between = " " if item.label and item.text else ""
        return f"{'  ' * item.depth}{mark}{item.label}{between}{item.text}"

    def _visible(self) -> Iterator[int]:
        above: int | None = None
        for i, item in enumerate(self.items):
            if above is not None and item.depth > above:
                continue
            above = item.depth if i in self._shut else None
            yield i

    def _lay(self) -> None:
        width = self.size.width
        if not width:
            return
        self._rows = []
        for i in self._visible():
            indent = 2 * self.items[i].depth + 2
            text = self.text(i)
            front, rest = text[:indent], text[indent:]
            pieces = wrapped(rest, max(8, width - indent), words=True)
            self._rows.append((i, 0, front + pieces[0][1]))
            self._rows += [(i, indent + start, piece) for start, piece in pieces[1:]]
        self.virtual_size = Size(width, len(self._rows))
        self.refresh()

    def on_resize(self, event: Resize) -> None:
        self._lay()

    def render_line(self, y: int) -> Strip:
        background, width = self.rich_style, self.size.width
        at = y + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(width, background)
        i, start, text = self._rows[at]
        item, styles = self.items[i], role_styles(self.app)
        here = i == self.cursor and self.has_focus
        if here:
            background = background + styles.raised
        indent = 2 * item.depth + 2
        base = background + styles[item.role]
        spans = [(0, indent, styles["accent"]), (indent, indent + len(item.label), styles["title"])]
        whole = self.text(i) if self.text_selection is not None else ""
        style = self.screen.get_component_rich_style("screen--selection")
        spans += selected(self.text_selection, i, len(whole), style)
        front = [Segment(" " * indent, background)] if start else []
        strip = Strip([*front, *styled(text, base, spans, start)])
        return strip.apply_offsets(start - (indent if start else 0), i).crop_extend(0, width, background)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return extracted(selection, [(i, self.text(i)) for i in self._visible()]), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def action_move(self, by: int) -> None:
        shown = list(self._visible())
        if not shown:
            return
        at = shown.index(self.cursor) if self.cursor in shown else 0
        self.cursor = shown[max(0, min(len(shown) - 1, at + by))]
        rows = [y for y, row in enumerate(self._rows) if row[0] == self.cursor]
        top, height = self.scroll_offset.y, self.size.height
        if not rows:  # it has no size yet
            return
        if rows[0] < top:
            self.scroll_to(y=rows[0], animate=False)
        elif rows[-1] >= top + height:
            self.scroll_to(y=min(rows[0], rows[-1] - height + 1), animate=False)
        self.refresh()

    def action_fold(self) -> None:
        if self.cursor < len(self.items) and self.folds(self.cursor):
            self._shut ^= {self.cursor}
            self._lay()

    def action_fold_all(self, shut: bool) -> None:
        self._shut = {i for i in range(len(self.items)) if self.folds(i)} if shut else set()
        self.cursor = 0 if shut else self.cursor
        self._lay()

    def action_copy(self) -> None:
        """The item under the cursor with all that is inside it."""
        if not self.items:
            return
        depth, end = self.items[self.cursor].depth, self.cursor + 1
        while end < len(self.items) and self.items[end].depth > depth:
            end += 1
        text = "\n".join(self.text(i)[2 * depth + 2 :] for i in range(self.cursor, end))
        self.app.copy_to_clipboard(text)
        self.app.notify(f"copied {len(text):,} characters", timeout=2)

    def on_click(self, event: Click) -> None:
        at = event.y + self.scroll_offset.y
        if at < len(self._rows):
            self.cursor = self._rows[at][0]
            if event.x < 2 * self.items[self.cursor].depth + 2:
                self.action_fold()
            self.refresh()


def outline(value: Data, depth: int = 0, label: str = "") -> list[OutlineItem]:
    """JSON as items, one a value; lists and objects fold, and begin folded below the second level if there
    is much of it. Text with several lines is shown as such."""
    items = list(_outline(value, depth, label, DEEPEST))
    if len(items) > OPEN_LINES:
        items = [item._replace(shut=item.depth > depth) for item in items]
    return items


def _outline(value: Data, depth: int, label: str, deepest: int) -> Iterator[OutlineItem]:
    if isinstance(value, dict | list) and value and deepest:
        number = len(value)
        word = ("key" if isinstance(value, dict) else "item") + "s" * (number != 1)
        yield OutlineItem(f"{number:,} {word}", "dim", depth, label)
        pairs: Iterable[tuple[object, Data]]
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from _outline(inner, depth + 1, str(key)[:200], deepest - 1)
    elif isinstance(value, str) and ("\n" in value or not label):
        yield from prose(value, depth, label)
    else:
        role = "dim" if value is None else "text" if isinstance(value, str | dict | list) else "good"
        yield OutlineItem(escaped(_cut(json.dumps(value, ensure_ascii=False))), role, depth, label)


def prose(text: str, depth: int = 0, label: str = "", role: str = "text") -> Iterator[OutlineItem]:
    """Text of several lines; below its label, where it has one."""
    lines = clean(text, lines=True).split("\n")
    if label:
        yield OutlineItem(f"{len(lines):,} line{'s' * (len(lines) != 1)}", "dim", depth, label)
        depth += 1
    for line in lines:
        yield OutlineItem(_cut(line), role, depth)


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … {len(text) - LONGEST:,} more characters"
