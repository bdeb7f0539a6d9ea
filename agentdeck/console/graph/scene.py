"""A graph drawn at one level of detail: nodes in their places, wires between them, marks on the wires. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size

from agentdeck.console.graph.box_chars import ALL, EAST, character, heavy
from agentdeck.console.graph.canvas import CellRow, Span, box, box_height, box_width, chip, chip_width
from agentdeck.console.graph.card import Card
from agentdeck.console.graph.layers import ranks
from agentdeck.console.graph.layout import Box, Layout, lay_out
from agentdeck.console.graph.nodes import Needs, Node, edges_of, fold, nodes_of
from agentdeck.workflow.model import Definition

Edge = tuple[str, str]
Way = Literal["left", "right", "up", "down"]
Level = Literal["boxes", "chips", "groups", "map"]
LEVELS: tuple[Level, ...] = ("boxes", "chips", "groups", "map")

#: The narrowest and the widest box and chip.
NARROW, WIDE = 16, 28
CHIP_NARROW, CHIP_ROOMY, CHIP_WIDE = 12, 20, 30
#: With more columns a layer, boxes get more air.
ROOMY = 36
#: Up to so many groups are drawn as boxes.
BOXED = 60
#: Edges in these roles are seen without colour.
BOLD = ("critical", "selected")
HEAD = "▸"
#: How high a graph as plain text may get before it is drawn with less detail.
ROWS = 24


class Scene:
    """`cards` are what was drawn last: give a changed one to `put`.

    A graph that is too wide and not high is broken like a line of text: `cuts` are the columns of the layout at
    which its bands begin, which are drawn one below the other.
    """

    def __init__(
        self,
        level: Level,
        nodes: Mapping[str, Node],
        layout: Layout,
        boxed: bool,
        cards: Mapping[str, Card],
        *,
        cuts: Sequence[int] = (0,),
        halves: bool = True,
    ) -> None:
        self.level = level
        self.nodes = nodes
        self.layout = layout
        self._cuts = [*cuts, layout.width]
        self._band = layout.height + 1
        self.width = max((b - a for a, b in zip(self._cuts, self._cuts[1:], strict=False)), default=0)
        self.height = self._band * len(cuts) - 1
        self._halves = halves
        self.cards: dict[str, Card] = dict(cards)
        self.selected = ""
        self.node_of = {member: name for name, node in nodes.items() for member in node.members}
        self.edges: dict[str, list[Edge]] = {name: [] for name in nodes}
        for edge in layout.wires.paths:
            self.edges[edge[0]].append(edge)
            self.edges[edge[1]].append(edge)
        self._boxed = boxed
        self._drawn: dict[str, tuple[CellRow, ...]] = {}
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

    def set_card(self, name: str, card: Card) -> bool:
        """Show this card from now on. False where it is the one that is shown already."""
        if self.cards.get(name) == card:
            return False
        self.cards[name] = card
        self._drawn.pop(name, None)
        return True

    def select(self, name: str) -> None:
        self._drawn.pop(self.selected, None)
        self._drawn.pop(name, None)
        self.selected = name

    def set_marks(self, roles: Mapping[str, Iterable[Edge]]) -> set[int]:
        """Draw exactly these edges in these roles, the last one on top: those of BOLD heavy, the others only in
        their colour. The rows that changed."""
        marks: dict[int, dict[int, tuple[int, str]]] = {}
        for role, edges in roles.items():
            for edge in edges:
                for x, y, sides in self.layout.wires.cells(*edge):
                    row = marks.setdefault(y, {})
                    row[x] = row.get(x, (0, ""))[0] | (heavy(sides) if role in BOLD else sides), role
        before, self._marks = self._marks, marks
        changed = {y for y in before.keys() | marks.keys() if before.get(y) != marks.get(y)}
        return {y + band * self._band for y in changed for band in range(len(self._cuts) - 1)}

    def region_of(self, name: str) -> tuple[int, int, int, int]:
        """The cells of a node: left, top, width, height."""
        x, y, width, height, _ = self.layout.boxes[name]
        band = bisect_right(self._cuts, x, hi=len(self._cuts) - 1) - 1
        return x - self._cuts[band], y + band * self._band, width, height

    def node_at(self, x: int, y: int) -> str:
        """The node at this cell; empty where there is none."""
        band, row = divmod(y, self._band)
        if 0 <= band < len(self._cuts) - 1:
            x += self._cuts[band]
            for left, name in self._names.get(row, ()):
                if left <= x < left + self.layout.boxes[name].width:
                    return name
        return ""

    def nodes_within(self, left: int, top: int, right: int, bottom: int) -> list[str]:
        """Nodes that have cells in this part of the canvas."""
        found: dict[str, None] = {}
        for y in range(max(0, top), min(bottom, self.height)):
            band, row = divmod(y, self._band)
            cut, end = self._cuts[band : band + 2]
            for x, name in self._names.get(row, ()):
                if x < min(right + cut, end) and x + self.layout.boxes[name].width > left + cut:
                    found[name] = None
        return list(found)

    def row(self, y: int, left: int, right: int) -> tuple[int, list[Span]]:
        """At least the cells from `left` up to `right` of this row, and the column that they begin with."""
        band, row = divmod(y, self._band)
        cut, end = self._cuts[band : band + 2]
        left, right = left + cut, min(right + cut, end)
        boxes = self.layout.boxes
        names = [(x, name) for x, name in self._names.get(row, ()) if x < right and x + boxes[name].width > left]
        start = column = min(left, names[0][0]) if names else left
        spans: list[Span] = []
        for x, name in names:
            self._wires(row, column, x, spans)
            place = boxes[name]
            spans.extend(self._node(name, place)[row - place.y])
            column = place.x + place.width
        self._wires(row, column, right, spans)
        return start - cut, spans

    def step(self, selected: str, way: Way) -> str:
        """The next node in a direction, along edges left and right, and up and down a layer; empty where there is
        none. Without a selection, the first node."""
        at, layers, boxes = self.node_of.get(selected, ""), self.layout.layers, self.layout.boxes
        if not at:
            return layers[0][0] if layers else ""
        if way in ("left", "right"):
            ends = [edge if way == "left" else edge[::-1] for edge in self.edges[at]]
            near = [there for there, here in ends if here == at]
            return min(near, key=lambda name: (abs(boxes[name].pin - boxes[at].pin), boxes[name].pin), default="")
        layer = next(layer for layer in layers if at in layer)
        return beside(layer, at, way)

    def _node(self, name: str, place: Box) -> tuple[CellRow, ...]:
        drawn = self._drawn.get(name)
        if drawn is None:
            node, card, selected = self.nodes[name], self.cards.get(name), name == self.selected
            if self._boxed:
                drawn = box(node, card, place.width, place.height, selected=selected, halves=self._halves)
            else:
                drawn = (chip(node, card, place.width, selected=selected),)
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
                sides = sides | over if sides & over & ALL == over & ALL else over
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
    *,
    halves: bool = True,
) -> Scene:
    """Draw the graph at this level, as roomy as fits into so many cells."""
    layers = ranks(needs)
    if level == "groups":
        nodes, needs = fold(nodes, needs, layers)
    depth = max(layers.values(), default=0) + 1
    blank = Card() if cards else None
    roomy = width > ROOMY * depth
    cards = {name: card for name, card in cards.items() if name in nodes and nodes[name].kind != "group"}
    boxed = level == "boxes" or (level == "groups" and len(nodes) <= BOXED)
    share = (width - 5 * (depth - 1)) // depth
    deepest = max(Counter(layers[name] for name in nodes).values(), default=1)
    members = max(2, min(12, height // deepest - 6))
    drawn: Layout | None = None
    for apart in (2, 1, 0) if roomy else (1, 0):
        if boxed:
            most = max(NARROW, min(WIDE, share))
            least = NARROW + 6 if roomy else NARROW
            sizes = {}
            for name, node in nodes.items():
                wide = box_width(node, cards.get(name), least, most)
                sizes[name] = wide, box_height(node, cards.get(name, blank), wide, members)
        else:
            # Where it has to be scrolled anyway, names are not cut for nothing.
            most = min(CHIP_WIDE, share) if share >= CHIP_NARROW else CHIP_ROOMY
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
    cuts = _cuts(drawn, width, height) if drawn.width > width else [0]
    return Scene(level, nodes, drawn, boxed, cards, cuts=cuts, halves=halves)


def _cuts(layout: Layout, width: int, height: int) -> list[int]:
    """Where to break a layout so that it fits: two columns before a layer. Only its beginning where it cannot."""
    cuts = [0]
    lefts = [layout.boxes[layer[0]].x for layer in layout.layers]
    for left, after in zip(lefts, [*(left - 2 for left in lefts[1:]), layout.width], strict=True):
        if after - cuts[-1] > width:
            cuts.append(max(0, left - 2))
        if after - cuts[-1] > width:
            return [0]
    return cuts if len(cuts) * (layout.height + 1) - 1 <= height else [0]


def best(nodes: Mapping[str, Node], needs: Needs, cards: Mapping[str, Card], width: int, height: int) -> Level:
    """The most detailed level that fits. Where none does: chips while they can be read by scrolling, else groups
    if they fold it well, else the map."""
    rank = ranks(needs)
    levels: tuple[Level, ...] = ("boxes", "chips")
    for level in levels:
        rows, columns = (4, NARROW + 4) if level == "boxes" else (1, CHIP_NARROW + 3)
        if _roomy(rank, rows, columns, width, height):
            drawn = scene(nodes, needs, cards, level, width, height)
            if drawn.width <= width and drawn.height <= height:
                return level
    folded, edges = fold(nodes, needs, rank)
    if len(folded) < min(len(nodes), BOXED) and _roomy(ranks(edges), 2, NARROW, width * 2, height * 2):
        return "groups"
    return "chips" if len(nodes) <= 150 else "map"


def _roomy(rank: Mapping[str, int], rows: int, columns: int, width: int, height: int) -> bool:
    """Whether it is worth a try: whether nodes of this size, in so many layers, could fit with a break or two."""
    sizes = Counter(rank.values())
    bands = -(-(len(sizes) * columns - 4) // max(1, width))
    return bands * (max(sizes.values(), default=0) * rows + 1) - 1 <= height


def beside(names: Sequence[str], at: str, way: Way) -> str:
    """The next of these names, up or down; empty at the end."""
    index = names.index(at) + (1 if way == "down" else -1)
    return names[index] if 0 <= index < len(names) else ""


def draw_text(definition: Definition, width: int, height: int = ROWS) -> list[str]:
    """The graph in lines of at most `width` cells, cut off on the right where it is wider; at most `height` of
    them, the last one then telling how many agents there are in all."""
    nodes, needs = nodes_of(definition), edges_of(definition)
    level = best(nodes, needs, {}, width, height)
    drawn = scene(nodes, needs, {}, "groups" if level == "map" else level, width, height)
    lines = []
    for y in range(min(drawn.height, height)):
        _, spans = drawn.row(y, 0, width)
        text = "".join(text for text, _ in spans)
        lines.append(set_cell_size(text, width).rstrip() if cell_len(text) > width else text.rstrip())
    if drawn.height > height or drawn.width > width:
        lines[height - 1 :] = [f"… {len(nodes)} agents in {len(drawn.layout.layers)} layers"]
    return lines
