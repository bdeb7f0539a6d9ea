"""Charts in a line of text: bars of several parts, and sparklines."""

from __future__ import annotations

from collections.abc import Sequence

from agentdeck.console.line_widget import Piece, Pieces

BLOCKS = " ▁▂▃▄▅▆▇█"
#: What a part is drawn with, so that it can be distinguished without colour. The others are solid.
FILL = {"running": "╍", "failed": "×", "cancelled": "×", "skipped": "┄", "waiting": "─"}


def cells(parts: Sequence[float], whole: float, width: int) -> list[int]:
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
    given = cells([number for number, _ in parts], whole, width)
    for number, (_, role) in zip(given, parts, strict=True):
        if number:
            pieces.append((FILL.get(role, "━") * number, role))
            used += number
    if used < width:
        pieces.append(("─" * (width - used), "line"))
    return tuple(pieces)


def spark(values: Sequence[float], width: int, top: float | None = None) -> str:
    """The last `width` values as blocks from nothing to `top` (else the highest of them). What is above nothing
    is never shown as nothing."""
    shown = list(values)[-width:] if width > 0 else []
    high = top if top is not None else max(shown, default=0)
    text = "".join(
        BLOCKS[max(1, min(8, round(value / high * 8)))] if high > 0 and value > 0 else BLOCKS[0]
        for value in shown
    )
    return text.rjust(width)
