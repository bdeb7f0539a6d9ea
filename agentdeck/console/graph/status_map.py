"""All steps of a run at a glance: two half cells to a character, coloured by state. Pure.

Few agents: one band each, its steps from left to right, what has ended first. Many: one cell or more each, in
columns by layer, so that the map has the shape of the graph as long as it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from agentdeck.console.graph.canvas import SIGNS, Span, named
from agentdeck.console.graph.card import short
from agentdeck.console.graph.nodes import Needs, Node
from agentdeck.console.graph.scene import Way, beside
from agentdeck.workflow import graph

#: From left to right within an agent; a cell is an index into this, 0 is none.
ORDER = ("", "done", "rejected", "failed", "skipped", "cancelled", "asking", "running", "ready", "waiting")
_CODE = {state: index for index, state in enumerate(ORDER)}
_LABEL = 16
#: Cells of one agent in a map by columns, at most.
CELLS = 200


class StatusMap:
    """`put` an agent's counts, then draw `row` by row. Cells of an agent are counted in `steps` of the last
    `set_counts`; where an agent has outgrown its cells (`full`), make another map."""

    level = "map"

    def __init__(
        self,
        nodes: Mapping[str, Node],
        needs: Needs,
        totals: Mapping[str, int],
        width: int,
        height: int,
        *,
        halves: bool = True,
    ) -> None:
        self.nodes = nodes
        self.needs = needs
        self.selected = ""
        self._halves = halves
        self._per = 2 if halves else 1
        self._most = 1
        self._counts: dict[str, tuple[int, ...]] = {}
        self._cells: dict[str, list[tuple[int, int]]] = {}
        self._labels: dict[int, str] = {}
        self.layers = graph.levels(needs)
        names = [name for layer in self.layers for name in layer]
        width, height = max(width, _LABEL + 8), max(height, 2)
        if len(names) <= height:
            self._bands(names, totals, width, height)
        else:
            self._columns(width, height, totals)
        lines: dict[int, dict[int, str]] = {}
        for name, cells in self._cells.items():
            for x, line in cells:
                lines.setdefault(line, {})[x] = name
        self._owner = lines
        self.width = 1 + max((x for row in lines.values() for x in row), default=0)
        count = -(-(max(lines, default=0) + 1) // self._per)
        self.height = count
        self._lines = [bytearray(self.width) for _ in range(count * self._per)]

    def _bands(self, names: list[str], totals: Mapping[str, int], width: int, height: int) -> None:
        """A label and the cells of each agent beside it, on as many rows as there are to spare."""
        across = width - _LABEL - 1
        rows = max(1, (height // max(1, len(names))) - (1 if height >= 2 * len(names) else 0))
        gap = 1 if (rows + 1) * len(names) <= height + 1 else 0
        top = 0
        for name in names:
            self._labels[top] = name
            room = self._most = across * rows * self._per
            count = min(max(1, totals.get(name, 1)), room)
            used = min(rows, -(-count // (across * self._per)))
            lines = used * self._per if count > across else 1
            self._cells[name] = [
                (_LABEL + 1 + index // lines, top * self._per + index % lines) for index in range(count)
            ]
            top += used + gap

    def _columns(self, width: int, height: int, totals: Mapping[str, int]) -> None:
        """Layer by layer, each from top to bottom; apart while they fit, then close, then without a break."""
        high = height * self._per
        self._most = CELLS
        deep = [sum(max(1, min(totals.get(name, 1), CELLS)) for name in layer) for layer in self.layers]
        if sum(deep) > 4 * width * high:
            self._most = 1
            deep = [len(layer) for layer in self.layers]
        wide = sum(-(-count // high) for count in deep)
        apart = 1 if wide + len(deep) - 1 <= width else 0
        broken = wide <= width or -(-sum(deep) // high) > width
        stretch = max(1, min(3, (width - apart * len(deep)) // max(1, wide))) if broken else 1
        x = y = 0
        for layer in self.layers:
            if broken and y:
                x, y = x + stretch + apart, 0
            for name in layer:
                cells = []
                for _ in range(max(1, min(totals.get(name, 1), self._most))):
                    if y >= high:
                        x, y = x + stretch, 0
                    cells += [(x + more, y) for more in range(stretch)]
                    y += 1
                self._cells[name] = cells
            if broken:
                y = max(y, 1)

    def full(self, name: str, steps: int) -> bool:
        """Whether there are many more steps than cells, and there could be more cells."""
        cells = len(self._cells[name])
        return cells < self._most and steps > 1.5 * cells

    def set_counts(self, name: str, counts: Mapping[str, int], expected: int = 0) -> set[int]:
        """Show these steps; the rows that changed."""
        values = (expected, *counts.values())
        if self._counts.get(name) == values:
            return set()
        self._counts[name] = values
        cells = self._cells[name]
        changed: set[int] = set()
        for (x, line), code in zip(cells, _shares(counts, len(cells), expected), strict=True):
            if self._lines[line][x] != code:
                self._lines[line][x] = code
                changed.add(line // self._per)
        for row, label in self._labels.items():
            if label == name:
                changed.add(row)
        return changed

    def node_at(self, x: int, y: int) -> str:
        """The agent at this cell, or whose label it is; empty where there is none."""
        if self._labels and x <= _LABEL:
            rows = [row for row in self._labels if row <= y]
            return self._labels[max(rows)] if rows else ""
        for line in range(y * self._per, (y + 1) * self._per):
            name = self._owner.get(line, {}).get(x)
            if name:
                return name
        return ""

    def step(self, selected: str, way: Way) -> str:
        """The next agent in a direction: along needs left and right, up and down in order; empty where there is
        none. Without a selection, the first agent."""
        names = list(self._cells)
        if selected not in self.needs:
            return names[0] if names else ""
        if way == "left":
            return next(iter(self.needs[selected]), "")
        if way == "right":
            return next((name for name, needs in self.needs.items() if selected in needs), "")
        return beside(names, selected, way)

    def region_of(self, name: str) -> tuple[int, int, int, int]:
        """The part of the map that an agent takes: left, top, width, height."""
        cells = self._cells.get(name) or [(0, 0)]
        left = 0 if self._labels else min(x for x, _ in cells)
        top = min(line for _, line in cells) // self._per
        right = max(x for x, _ in cells) + 1
        bottom = max(line for _, line in cells) // self._per + 1
        return left, top, right - left, bottom - top

    def row(self, y: int, left: int, right: int) -> tuple[int, list[Span]]:
        """The cells of this row, all of them, and the column that they begin with."""
        if not 0 <= y < self.height:
            return left, [(" " * max(0, right - left), "text")]
        spans: list[Span] = []
        start = 0
        if y in self._labels:
            name = self._labels[y]
            role = "cursor" if name == self.selected else "text"
            spans += [(named(self.nodes[name].label, _LABEL), role), (" ", "text")]
            start = _LABEL + 1
        lines = [self._lines[y * self._per + half] for half in range(self._per)]
        mine = {
            x for x, line in self._cells.get(self.selected, ()) if line // self._per == y and not self._labels
        }
        x = start
        for codes, run in groupby(zip(*(line[start:] for line in lines), strict=True)):
            length = len(list(run))
            if mine:
                for index in range(length):
                    picked = x + index in mine
                    spans.append(("◆", "cursor") if picked else (self._sign(codes), self._role(codes)))
            else:
                spans.append((self._sign(codes) * length, self._role(codes)))
            x += length
        spans.append((" " * max(0, right - x), "text"))
        return 0, spans

    def _sign(self, codes: tuple[int, ...]) -> str:
        if not any(codes):
            return " "
        return "▀" if self._halves else SIGNS[ORDER[codes[0]]]

    def _role(self, codes: tuple[int, ...]) -> str:
        if not any(codes):
            return "text"
        return f"{ORDER[codes[0]]}/{ORDER[codes[1]]}" if self._halves else ORDER[codes[0]]


def _shares(counts: Mapping[str, int], room: int, expected: int) -> list[int]:
    """So many cells, shared among the states; a state that has steps has a cell as long as there are enough."""
    steps = {state: counts[state] for state in ORDER[1:]}
    steps["waiting"] += max(0, expected - sum(steps.values()))
    total = sum(steps.values())
    if not total:
        return [_CODE["waiting"]] * room
    if room == 1:
        for state in ("failed", "running", "ready", "waiting", "done", "cancelled", "skipped"):
            if steps[state]:
                return [_CODE[state]]
    shares = {state: max(1, number * room // total) for state, number in steps.items() if number > 0}
    while sum(shares.values()) > room:
        widest = max(shares, key=lambda state: shares[state])
        if shares[widest] == 1:
            break
        shares[widest] -= min(shares[widest] - 1, sum(shares.values()) - room)
    short_of = room - sum(shares.values())
    if short_of > 0:
        shares[max(shares, key=lambda state: steps[state])] += short_of
    codes = [code for state, number in shares.items() for code in [_CODE[state]] * number]
    return codes[:room]


def legend(counts: Mapping[str, int]) -> list[Span]:
    """What the colours mean, and the number of steps of each."""
    spans: list[Span] = []
    for state in ("waiting", "ready", "running", "done", "failed", "skipped", "cancelled"):
        if counts.get(state):
            spans.append((f" {SIGNS[state]} {state} {short(counts[state])} ", state))
    return spans
