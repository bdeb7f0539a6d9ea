"""Nodes as rows of cells: boxes, chips and groups. Pure: a span is text and the role it is drawn in.

Every row is exactly as wide as asked for, whatever is in a name.
"""

from __future__ import annotations

from itertools import pairwise

from rich.cells import cell_len, set_cell_size

from agentdeck.console.graph.card import CRITICAL, Card, InnerRow, short
from agentdeck.console.graph.nodes import Kind, Node
from agentdeck.console.line_widget import fit
from agentdeck.console.state_style import GLYPHS
from agentdeck.views.agent_totals import DISPLAY_STATES

Span = tuple[str, str]
CellRow = tuple[Span, ...]

SIGNS = {state: GLYPHS[state] for state in DISPLAY_STATES}
#: Cells of an inner step's row beside its name.
INNER_ROOM = 14
#: Which counts are shown first when there is no room for all.
_FIRST = ("failed", "asking", "running", "rejected", "done", "ready", "waiting", "skipped", "cancelled")
#: corners, sides, top and bottom, done part of the bottom
_BORDERS: dict[Kind | str, tuple[str, str, str, str]] = {
    "agent": ("╭╮╰╯", "│", "─", "━"),
    "group": ("╭╮╰╯", "│", "─", "━"),
    "spare": ("╭╮╰╯", "┆", "┄", "━"),
    "nested": ("╔╗╚╝", "║", "═", "━"),
    "selected": ("┏┓┗┛", "┃", "━", "━"),
}


def named(text: str, width: int) -> str:
    """A name in exactly so many cells. A long one loses its middle: similar names differ at their ends."""
    if cell_len(text) <= width or width < 8:
        return fit(text, width)
    tail, room = "", width // 3
    for sign in reversed(text):
        if cell_len(sign + tail) > room:
            break
        tail = sign + tail
    return fit(set_cell_size(text, width - 1 - cell_len(tail)) + "…" + tail, width)


def title(node: Node, card: Card | None, width: int | None = None) -> str:
    """A node's name and how many agents or items it has; in exactly so many cells where a width is given."""
    times = len(node.members) if node.kind == "group" else card.times if card else 0
    tail = f" ×{short(times)}" if times else ""
    tail += f" {card.inside}" if card and card.inside else ""
    if width is None:
        return node.label + tail
    if width - len(tail) < min(4, cell_len(node.label)):
        tail = ""
    return fit(named(node.label, min(cell_len(node.label), max(0, width - len(tail)))) + tail, width)


def box_width(node: Node, card: Card | None, least: int, most: int) -> int:
    """How wide a node would like its box."""
    inner = cell_len(title(node, card)) + 2
    inner = max(inner + 6, cell_len(node.about) if card is None else 0)
    for row in card.inner if card is not None else ():
        inner = max(inner, cell_len(row.name) + 2 * row.depth + INNER_ROOM)
    return max(least, min(inner + 4, most))


def box_height(node: Node, card: Card | None, width: int, more: int) -> int:
    """Four rows, and those of inner steps; a group has up to so many `more` for its agents."""
    if node.kind != "group" or card is None:
        return 4 + (len(card.inner) if card is not None else 0)
    return 4 + min(more, -(-len(node.members) // (2 * (width - 4))))


def box(
    node: Node, card: Card | None, width: int, height: int, *, selected: bool = False, halves: bool = True
) -> tuple[CellRow, ...]:
    """A node drawn large. Without a card it says what the agent does. Without `halves` (where there is no
    colour) a group's agents are drawn as glyphs."""
    inner = width - 4
    role = _border(card)
    corners, side, edge, _ = _BORDERS["selected" if selected else node.kind]
    edge_role = "cursor-line" if selected else role
    time = f" {card.time}" if card and card.time else ""
    above = time if cell_len(title(node, card)) + 2 + len(time) <= inner else ""
    name = title(node, card, inner - 2 - len(above))
    state = card.state if card else "waiting"
    lines: list[CellRow] = [
        ((_glyph(node, card) + " ", state), (name, "cursor" if selected else "text"), (above, "dim"))
    ]
    if node.kind == "group" and card is not None:
        lines += _members(card, inner, height - 4, halves)
    lines.append(
        ((fit(node.about, inner), "dim"),) if card is None else counts(node, card, inner, "" if above else time)
    )
    if node.kind != "group" and card is not None:
        lines += [_inner_row(row, inner) for row in card.inner[: height - 4]]
        lines += [((" " * inner, "text"),)] * (height - 2 - len(lines))  # until it is laid out again
    note = f" {card.note} " if card and card.note else ""
    note_role = "critical" if card and card.note == CRITICAL else "dim"
    top = (
        (corners[0] + edge * (width - 3 - cell_len(note)), edge_role),
        (note, note_role),
        (edge + corners[1], edge_role),
    )
    rows: list[CellRow] = [tuple(span for span in top if span[0])]
    for line in lines:
        rows.append(((side + " ", edge_role), *line, (" " + side, edge_role)))
    rows.append(_bottom(node, card, width, selected))
    return tuple(rows)


def _inner_row(row: InnerRow, width: int) -> CellRow:
    """Inner steps of one name: their state, how often they began and failed, and what one takes."""
    count = f" ×{short(row.times)}" if row.times > 1 else ""
    failed = f" {SIGNS['failed']}{short(row.failed)}" if row.failed else ""
    glyph = " " * min(2 * row.depth, width // 3) + (SIGNS[row.state] if row.times else " ") + " "
    left = max(0, width - cell_len(glyph))
    tails = (f"{count}{failed} {row.time}".rstrip(), count + failed, failed)
    tail = next((tail for tail in tails if cell_len(tail) + min(8, cell_len(row.name)) <= left), "")
    name = named(row.name, left - cell_len(tail))
    return ((glyph, row.state), (name, "text" if row.state == "running" else "dim"), (tail, "dim"))


def _border(card: Card | None) -> str:
    """The role of the border: the state, or that of a wire where the node waits."""
    return (
        card.state
        if card and card.state in ("running", "asking", "ready", "failed", "rejected", "done")
        else "wire"
    )


def _glyph(node: Node, card: Card | None) -> str:
    if card is None or (node.kind == "spare" and not any(card.counts)):
        return {"nested": "▣", "spare": "◌"}.get(node.kind, "◇")
    return SIGNS[card.state]


def _members(card: Card, width: int, rows: int, halves: bool) -> list[CellRow]:
    """A group's agents, two to a character; where they are too many, each cell shows the worst of its share."""
    cells = sample(card.members, width * rows * (2 if halves else 1))
    if halves:
        cells += [""] * (-len(cells) % 2)
        signs = [("▀", f"{above}/{below}") for above, below in zip(cells[::2], cells[1::2], strict=True)]
    else:
        signs = [(SIGNS[state], state) for state in cells]
    lines: list[CellRow] = []
    for row in range(rows):
        spans = signs[row * width : (row + 1) * width]
        lines.append((*spans, (" " * (width - len(spans)), "text")))
    return lines


def sample(states: tuple[str, ...], room: int) -> list[str]:
    if len(states) <= room:
        return list(states)
    edges = [index * len(states) // room for index in range(room + 1)]
    rank = {state: index for index, state in enumerate(_FIRST)}
    return [min(states[a:b], key=rank.__getitem__) for a, b in pairwise(edges)]


def counts(node: Node, card: Card, width: int, time: str = "") -> CellRow:
    """`·7 ○3 ●2 ✓118 ✗1`, or the state's word where there is one step only; the time at the end if it fits."""
    if node.kind == "spare" and not sum(card.counts):
        text = f"ran as fallback ×{short(card.stand_ins)}" if card.stand_ins else "spare"
        return ((fit(text, width), "dim"),)
    if card.total <= 1 and card.now:
        text = fit(f"{card.inside} {card.now}", width - len(time))
        return (text, card.state), (time, "dim")
    if card.total <= 1:
        time = time if len(card.state) + len(time) <= width else ""
        return (fit(card.state, width - len(time)), card.state), (time, "dim")
    by_state = card.by_state
    by_state["waiting"] = max(0, card.total - sum(card.counts)) + by_state["waiting"]
    parts = {state: SIGNS[state] + short(number) for state, number in by_state.items() if number > 0}
    kept: set[str] = set()
    room = width
    for state in _FIRST:
        if state in parts and len(parts[state]) <= room:
            room -= len(parts[state]) + 1
            kept.add(state)
    spans: list[Span] = []
    used = 0
    for state, text in parts.items():
        if state in kept:
            text = text if not spans else " " + text
            used += len(text)
            spans.append((text, card.failed_role if state == "failed" else state))
    if card.now and width - used > 6:
        now = named(f" {card.inside} {card.now}", min(width - used, cell_len(card.now) + 3))
        spans.append((now, "dim"))
        used += cell_len(now)
    time = time if used + len(time) <= width else ""
    return (*spans, (" " * (width - used - len(time)), "text"), (time, "dim"))


def _bottom(node: Node, card: Card | None, width: int, selected: bool) -> CellRow:
    """The lower border is the progress: done, failed, and what is left."""
    corners, _, edge, done_edge = _BORDERS["selected" if selected else node.kind]
    role = "cursor-line" if selected else _border(card)
    inner = width - 2
    if card is None or not card.total:
        return ((corners[2] + edge * inner + corners[3], role),)
    total = max(card.total, card.ended)
    failed = -(-card.by_state["failed"] * inner // total)
    ended = max(failed, card.ended * inner // total)
    left = "─" if selected else edge
    spans = (
        (corners[2], role),
        (done_edge * (ended - failed), "done"),
        (done_edge * failed, card.failed_role),
        (left * (inner - ended), "wire"),
        (corners[3], role),
    )
    return tuple(span for span in spans if span[0])


def chip_width(node: Node, card: Card | None, most: int) -> int:
    return min(most, cell_len(title(node, card)) + 4 + (11 if card or node.kind == "group" else 0))


def chip(node: Node, card: Card | None, width: int, *, selected: bool = False) -> CellRow:
    """One line: `● extract 118/200 ✗3`."""
    state = card.state if card else "waiting"
    glyph = _glyph(node, card)
    tail = failed = ""
    if card:
        if card.note:
            tail = card.note
        elif card.total > 1:
            tail = f"{short(card.ended)}/{short(card.total)}"
            failed = f" {SIGNS['failed']}{short(card.by_state['failed'])}" if card.by_state["failed"] else ""
            if cell_len(title(node, card)) + len(tail) + len(failed) + 5 > width:
                tail = f"{card.ended * 100 // card.total}%"
        elif cell_len(title(node, card)) + len(card.time) + 5 <= width:
            tail = card.time
    inner = width - 4
    least = min(inner, cell_len(title(node, card)))  # the name comes before the numbers
    failed = failed if len(failed) + least <= inner else ""
    tail = " " + tail if tail and len(tail) + 1 + len(failed) + least <= inner else ""
    name = title(node, card, inner - len(tail) - len(failed))
    if selected:
        return ((f"▐{glyph} {name}{tail}{failed}▌", "cursor"),)
    name_role = "text" if state != "waiting" else "dim"
    return (
        (" " + glyph + " ", state),
        (name, name_role),
        (tail, "dim"),
        (failed + " ", card.failed_role if card else "failed"),
    )
