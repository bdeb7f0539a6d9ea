"""Plain text as the cells of a screen: wrapped, styled by character, and found again under a selection."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from rich.cells import cell_len, get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.selection import Selection

#: From this character to that one, not included.
Span: TypeAlias = tuple[int, int, Style]


def wrapped(text: str, width: int, *, words: bool = False) -> list[tuple[int, str]]:
    """A line in pieces that are no wider than `width` cells, each with the place of its first character.
    With `words` a piece ends after a space, where there is one in its second half."""
    width = max(2, width)
    if len(text) <= width and (text.isascii() or cell_len(text) <= width):
        return [(0, text)]
    if text.isascii() and not words:
        return [(at, text[at : at + width]) for at in range(0, len(text), width)]
    pieces, start = list[tuple[int, str]](), 0
    while start < len(text):
        end = _fitting(text, start, width)
        if words and end < len(text) and (space := text.rfind(" ", start + width // 2, end)) >= 0:
            end = space + 1
        pieces.append((start, text[start:end]))
        start = end
    return pieces


def _fitting(text: str, start: int, width: int) -> int:
    """The end of the longest piece from `start` that is no wider."""
    used = 0
    for at in range(start, len(text)):
        used += get_character_cell_size(text[at])
        if used > width:
            return at
    return len(text)


def styled(text: str, base: Style, spans: Iterable[Span] = (), start: int = 0) -> list[Segment]:
    """A piece of a line in segments. The spans count characters of the line; the piece begins at `start`."""
    inside = [(max(a - start, 0), min(b - start, len(text)), style) for a, b, style in spans]
    inside = [span for span in inside if span[0] < span[1]]
    if not inside:
        return [Segment(text, base)] if text else []
    edges = sorted({0, len(text), *(a for a, _, _ in inside), *(b for _, b, _ in inside)})
    segments = []
    for a, b in itertools.pairwise(edges):
        style = base
        for begin, end, other in inside:
            if begin <= a and b <= end:
                style += other
        segments.append(Segment(text[a:b], style))
    return segments


def selected(selection: Selection | None, y: int, length: int, style: Style) -> list[Span]:
    """The span of a line that is selected."""
    span = None if selection is None else _span(selection, y, length)
    return [] if span is None else [(*span, style)]


def extracted(selection: Selection, lines: Sequence[tuple[int, str]]) -> str:
    """The selected text, of lines given with their y."""
    parts = []
    for y, text in lines:
        span = _span(selection, y, len(text))
        if span is not None:
            parts.append(text[span[0] : span[1]])
    return "\n".join(parts)


def _span(selection: Selection, y: int, length: int) -> tuple[int, int] | None:
    """The selected span of a line. Cells before the line have negative positions."""
    span = selection.get_span(y)
    if span is None:
        return None
    start, end = span
    whole = end == -1 and (selection.end is None or selection.end.y != y)
    return max(0, start), length if whole else max(0, end)
