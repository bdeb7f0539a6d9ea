"""A graph drawn at one level of detail: nodes in their places, wires between them, marks on the wires. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from agentdeck.console.graph.canvas import Row, Span, box, box_height, box_width, chip, chip_width
from agentdeck.console.graph.card import Card
from agentdeck.console.graph.layout import Box, Layout, lay_out
from agentdeck.console.graph.lines import EAST, character, heavy
from agentdeck.console.graph.nodes import Needs, Node, fold
from agentdeck.workflow import graph

Edge = tuple[str, str]
Level = Literal["boxes", "chips", "groups", "map"]
LEVELS: tuple[Level, ...] = ("boxes", "chips", "groups", "map")

#: The narrowest and the widest box and chip.
NARROW, WIDE = 16, 28
CHIP_NARROW, CHIP_WIDE = 12, 30
#: With more columns a layer, boxes get more air.
ROOMY = 36
HEAD = "▸"


class Scene:
    """`cards` are what was drawn last: give a changed one to `put`."""

    def __init__(
        self, level: Level, nodes: Mapping[str, Node], layout: Layout, boxed: bool, cards: Mapping[str, Card]
    ) -> None:
        self.level = level
        self.nodes = nodes
        self.layout = layout
        self.width, self.height = layout.width, layout.height
        self.cards: dict[str, Card] = dict(cards)
        self.chosen = ""
        self.of = {member: name for name, node in nodes.items() for member in node.members}
        self.edges: dict[str, list[Edge]] = {name: [] for name in nodes}
        for edge in layout.wires.paths:
            self.edges[edge[0]].append(edge)
            self.edges[edge[1]].append(edge)
        self._boxed = boxed
        self._drawn: dict[str, tuple[Row, ...]] = {}
        self._names: dict[int, list[tuple[int, str]]] = {}
        self._heads: dict[int, set[int]] = {}
        self._marks: dict[int, dict[int, tuple[int, str]]] = {}
        fed = {target for _, target in layout.wires.paths}
        for layer in layout.layers:
            for name in layer:
                place = layout.boxes[name]
                for y in range(place.y, place.y + place.height):
                    self._names.setdefault(y, []).append((place.x, name))
                if name in fed:
                    self._heads.setdefault(place.pin, set()).add(place.x - 1)

    def put(self, name: str, card: Card) -> bool:
        """Show this card from now on. False where it is the one that is shown already."""
        if self.cards.get(name) == card:
            return False
        self.cards[name] = card
        self._drawn.pop(name, None)
        return True

    def choose(self, name: str) -> None:
        self._drawn.pop(self.chosen, None)
        self._drawn.pop(name, None)
        self.chosen = name

    def mark(self, roles: Mapping[str, Iterable[Edge]]) -> set[int]:
        """Draw exactly these edges in these roles, the last one on top. The rows that changed."""
        marks: dict[int, dict[int, tuple[int, str]]] = {}
        for role, edges in roles.items():
            for edge in edges:
                for x, y, sides in self.layout.wires.cells(*edge):
                    row = marks.setdefault(y, {})
                    row[x] = (row[x][0] | sides if x in row else sides, role)
        before, self._marks = self._marks, marks
        return {y for y in before.keys() | marks.keys() if before.get(y) != marks.get(y)}

    def at(self, x: int, y: int) -> str:
        """The node at this cell; empty where there is none."""
        for left, name in self._names.get(y, ()):
            if left <= x < left + self.layout.boxes[name].width:
                return name
        return ""

    def within(self, left: int, top: int, right: int, bottom: int) -> list[str]:
        """Nodes that have cells in this part of the canvas."""
        found: dict[str, None] = {}
        for y in range(top, bottom):
            for x, name in self._names.get(y, ()):
                if x < right and x + self.layout.boxes[name].width > left:
                    found[name] = None
        return list(found)

    def row(self, y: int, left: int, right: int) -> tuple[int, list[Span]]:
        """At least the cells from `left` up to `right` of this row, and the column that they begin with."""
        boxes = self.layout.boxes
        names = [(x, name) for x, name in self._names.get(y, ()) if x < right and x + boxes[name].width > left]
        start = column = min(left, names[0][0]) if names else left
        spans: list[Span] = []
        for x, name in names:
            self._wires(y, column, x, spans)
            place = boxes[name]
            spans.extend(self._node(name, place)[y - place.y])
            column = place.x + place.width
        self._wires(y, column, right, spans)
        return start, spans

    def _node(self, name: str, place: Box) -> tuple[Row, ...]:
        drawn = self._drawn.get(name)
        if drawn is None:
            node, card, chosen = self.nodes[name], self.cards.get(name), name == self.chosen
            if self._boxed:
                drawn = box(node, card, place.width, place.height, selected=chosen)
            else:
                drawn = (chip(node, card, place.width, selected=chosen),)
            self._drawn[name] = drawn
        return drawn

    def _wires(self, y: int, left: int, right: int, spans: list[Span]) -> None:
        if right <= left:
            return
        cells = self.layout.wires.row(y)
        heads = self._heads.get(y, ())
        marks = self._marks.get(y, {})
        text, role = "", ""
        for x in range(left, right):
            sides = cells.get(x, 0)
            kind = "wire"
            if sides and x in marks:
                over, kind = marks[x]
                # What passes under another line comes to the top when it is marked.
                sides = (sides if sides & over == over else over) | heavy(over)
            if x in heads and sides & EAST:
                sign = HEAD
            else:
                sign = character(sides)
            if not sides:
                kind = role or kind
            if kind != role and text:
                spans.append((text, role))
                text = ""
            role = kind
            text += sign
        spans.append((text, role))


def scene(
    nodes: Mapping[str, Node],
    needs: Needs,
    cards: Mapping[str, Card],
    level: Level,
    width: int,
    height: int,
) -> Scene:
    """Draw the graph at this level, as roomy as fits into so many cells."""
    layers = _layers(needs)
    if level == "groups":
        nodes, needs = fold(nodes, needs, layers)
    depth = max(layers.values(), default=0) + 1
    blank = Card() if cards else None
    roomy = width > ROOMY * depth
    cards = {name: card for name, card in cards.items() if name in nodes and nodes[name].kind != "group"}
    boxed = level == "boxes" or (level == "groups" and len(nodes) <= 60)
    share = (width - 5 * (depth - 1)) // depth
    drawn: Layout | None = None
    for apart in (2, 1, 0) if roomy else (1, 0):
        if boxed:
            most = max(NARROW, min(WIDE, share))
            least = NARROW + 6 if roomy else NARROW
            sizes = {}
            for name, node in nodes.items():
                wide = box_width(node, cards.get(name), least, most)
                sizes[name] = wide, box_height(node, blank, wide)
        else:
            most = max(CHIP_NARROW, min(CHIP_WIDE, share))
            sizes = {name: (chip_width(node, cards.get(name), most), 1) for name, node in nodes.items()}
        if not boxed and apart and len(nodes) > 60:
            continue
        drawn = lay_out(needs, sizes, apart=apart)
        if drawn.height <= height:
            break
    assert drawn is not None
    spare = (width - drawn.width) // max(1, depth - 1)
    if spare > 0 and depth > 1 and len(nodes) <= 200:
        drawn = lay_out(needs, sizes, apart=apart, gap=3 + min(spare, 7 if boxed else 4))
        if drawn.width > width:
            drawn = lay_out(needs, sizes, apart=apart)
    return Scene(level, nodes, drawn, boxed, cards)


def best(nodes: Mapping[str, Node], needs: Needs, cards: Mapping[str, Card], width: int, height: int) -> Level:
    """The most detailed level that fits. Where none does: chips while they can be read by scrolling, else groups
    if they fold it well, else the map."""
    rank = _layers(needs)
    for level in ("boxes", "chips"):
        rows, columns = (4, NARROW + 4) if level == "boxes" else (1, CHIP_NARROW + 3)
        if _roomy(rank, rows, columns, width, height):
            drawn = scene(nodes, needs, cards, level, width, height)
            if drawn.width <= width and drawn.height <= height:
                return level
    folded, edges = fold(nodes, needs, rank)
    if len(folded) < len(nodes) and _roomy(_layers(edges), 2, NARROW, width * 2, height * 2):
        return "groups"
    return "chips" if len(nodes) <= 150 else "map"


def _roomy(rank: Mapping[str, int], rows: int, columns: int, width: int, height: int) -> bool:
    """Whether it is worth a try: no layer is higher and all together are not wider than there is room."""
    sizes: dict[int, int] = {}
    for layer in rank.values():
        sizes[layer] = sizes.get(layer, 0) + 1
    return max(sizes.values(), default=0) * rows <= height and len(sizes) * columns - 4 <= width


def _layers(needs: Needs) -> dict[str, int]:
    """The layer of each node: its longest distance from a root."""
    return {name: number for number, row in enumerate(graph.levels(needs)) for name in row}
