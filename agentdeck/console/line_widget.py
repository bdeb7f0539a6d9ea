"""Widgets that draw themselves line by line, and repaint only the lines that changed.

Their lines are made of pieces of text; bars of several parts and sparklines are pieces too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.events import MouseEvent
from textual.geometry import Offset, Region
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from agentdeck.console.state_style import role_styles
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from textual.widget import Widget as _Widget
else:
    _Widget = object

#: Text without control characters, and the role it plays (`state_style.ROLES`, or a background).
Piece: TypeAlias = tuple[str, str]
Pieces: TypeAlias = tuple[Piece, ...]

BLOCKS = " ▁▂▃▄▅▆▇█"
#: What a part is drawn with, so that it can be distinguished without colour. The others are solid.
FILL = {"running": "╍", "failed": "×", "cancelled": "×", "skipped": "┄", "waiting": "─"}


class Line(NamedTuple):
    """A line of a widget as it is drawn. `background` is `cursor`, `raised` or empty. Equal lines look the same
    under one theme."""

    pieces: Pieces = ()
    background: str = ""


def width_of(pieces: Iterable[Piece]) -> int:
    """The width of these pieces in cells."""
    return sum(len(text) if text.isascii() else cell_len(text) for text, _ in pieces)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Text without control characters, exactly `width` cells wide: cut with an ellipsis, or padded."""
    if width <= 0:
        return ""
    text = clean(text if len(text) <= width * 8 else text[: width * 8])
    long = len(text) if text.isascii() else cell_len(text)
    if long > width:
        return set_cell_size(text, width - 1) + "…"
    return text.rjust(len(text) + width - long) if right else text + " " * (width - long)


def fit_pieces(pieces: Pieces, width: int, *, right: bool = False) -> Pieces:
    """The same for a row of pieces."""
    long = width_of(pieces)
    if long == width:
        return pieces
    if long < width:
        space = (" " * (width - long), "text")
        return (space, *pieces) if right else (*pieces, space)
    kept: list[Piece] = []
    left = width
    for text, role in pieces:
        here = cell_len(text)
        if here >= left:
            kept.append((fit(text + "…" if here == left else text, left), role))
            break
        kept.append((text, role))
        left -= here
    return tuple(kept)


def _cells(parts: Sequence[float], whole: float, width: int) -> list[int]:
    """How many cells each part of `whole` gets: at least one for a part above zero, never more than `width`
    together, and `width` only when the parts are the whole."""
    if whole <= 0 or width <= 0:
        return [0] * len(parts)
    given = [min(width, max(1 if part > 0 else 0, int(part * width / whole + 1e-9))) for part in parts]
    full = sum(parts) >= whole
    most = width if full else width - 1
    while sum(given) > max(most, 1):
        given[given.index(max(given))] -= 1
    while full and sum(given) < width:
        given[max(range(len(parts)), key=lambda i: parts[i] * width / whole - given[i])] += 1
    return given


def bar(parts: Sequence[tuple[float, str]], whole: float, width: int) -> Pieces:
    """Parts of a whole, each in its role, one after the other; what is left is a thin line."""
    pieces: list[Piece] = []
    used = 0
    given = _cells([number for number, _ in parts], whole, width)
    for number, (_, role) in zip(given, parts, strict=True):
        if number:
            pieces.append((FILL.get(role, "━") * number, role))
            used += number
    if used < width:
        pieces.append(("─" * (width - used), "line"))
    return tuple(pieces)


def block(value: float, top: float) -> str:
    """A block as high as a share of `top`; what is above nothing is never shown as nothing."""
    return BLOCKS[max(1, min(8, round(value / top * 8)))] if top > 0 and value > 0 else BLOCKS[0]


def spark(values: Sequence[float], width: int, top: float | None = None) -> str:
    """The last `width` values as blocks from nothing to `top`, else to the highest of them."""
    shown = list(values)[-width:] if width > 0 else []
    high = top if top is not None else max(shown, default=0)
    return "".join(block(value, high) for value in shown).rjust(width)


def joined(pieces: Iterable[Piece]) -> Pieces:
    """Neighbours in the same role as one piece."""
    runs = groupby(pieces, key=lambda piece: piece[1])
    return tuple(("".join(text for text, _ in run), role) for role, run in runs)


class CachedBackground(_Widget):
    """A base to put before a widget class: `background` is its `rich_style`, computed once for all lines of one
    paint. Computing it takes as long as drawing a line.

    It is no widget itself: textual takes the CSS of the first base that is one, and not of the others."""

    _background: Style | None = None

    @property
    def background(self) -> Style:
        return self._background or self.rich_style

    def render_lines(self, crop: Region) -> list[Strip]:
        self._background = self.rich_style
        try:
            return super().render_lines(crop)
        finally:
            self._background = None


def painted(widget: Widget, line: Line, background: Style) -> Strip:
    """A line as wide as the widget, in the styles of its roles on this background."""
    styles = role_styles(widget.app)
    background = background + (styles[line.background] if line.background else Style())
    # The line under the cursor is drawn in the colours of the cursor only.
    plain = line.background == "cursor"
    segments = [
        Segment(text if text.isprintable() else clean(text), background if plain else background + styles[role])
        for text, role in line.pieces
    ]
    return Strip(segments).adjust_cell_length(widget.size.width, background)


class LineWidget(CachedBackground, Widget, can_focus=True):
    """A widget that draws itself line by line.

    `draw(y, width)` returns line `y` of the viewport as it is now; it reads state and changes none.
    `refresh_lines` draws all visible lines, compares them with those on the screen and refreshes the ones that
    differ: without a layout, and without any work for textual where nothing changed.
    """

    ALLOW_SELECT = True

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[int, Line] = {}

    def draw(self, y: int, width: int) -> Line:
        """Line `y` as it is now, `width` cells wide; empty unless a subclass draws it."""
        return Line()

    def refresh_lines(self) -> None:
        """Repaint what changed since the last time."""
        width, height = self.size
        first = last = -1
        for y in range(height):
            line = self.draw(y, width)
            if self._lines.get(y) == line:
                if first >= 0:
                    self.refresh(Region(0, first, width, last - first + 1))
                    first = -1
                continue
            self._lines[y] = line
            first, last = (y if first < 0 else first), y
        if first >= 0:
            self.refresh(Region(0, first, width, last - first + 1))

    def inside(self, event: MouseEvent) -> Offset:
        """Where the mouse is on the lines, without border and padding."""
        return event.offset - self.content_offset

    def on_resize(self) -> None:
        self._lines.clear()
        self.refresh()

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.refresh())

    def on_focus(self) -> None:
        self.refresh_lines()

    def on_blur(self) -> None:
        self.refresh_lines()

    def render_line(self, y: int) -> Strip:
        line = self._lines.get(y)
        if line is None:
            line = self._lines[y] = self.draw(y, self.size.width)
        strip = painted(self, line, self.background)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(y)) is not None:
            strip = self._selected(strip, *span)
        return strip.apply_offsets(0, y)

    def _selected(self, strip: Strip, start: int, end: int) -> Strip:
        """The strip with the characters from start to end (-1: the last one) shown as selected."""
        style = self.screen.get_component_rich_style("screen--selection")
        segments: list[Segment] = []
        at = 0
        for text, own, _ in strip:
            a, b = max(0, start - at), len(text) if end < 0 else max(0, end - at)
            marked = (own or Style()) + style
            parts = ((text[:a], own), (text[a:b], marked), (text[max(a, b) :], own))
            segments += [Segment(part, how) for part, how in parts if part]
            at += len(text)
        return Strip(segments)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        lines = (self._lines.get(y, Line()) for y in range(self.size.height))
        text = "\n".join("".join(text for text, _ in line.pieces).rstrip() for line in lines)
        return selection.extract(text), "\n"
