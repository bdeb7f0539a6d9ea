"""The positions of a graph's nodes on a canvas of cells, left to right, and the routes of its edges.

Layers and their order are those of `layers.py`. Down a layer, every vertex should be level with its
neighbours; the nearest rows to these wishes that keep order and distance are found exactly by pooling
adjacent violators (isotonic regression), a few sweeps from either side. Deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from agentdeck.console.graph.edges import Wires, route
from agentdeck.console.graph.layers import Layered, ranks

SWEEPS = 6
#: A bend follows a bend rather than anything else: long edges run straight.
STRAIGHT = 6.0


class Box(NamedTuple):
    """The cells of one node. Edges come in and leave at row `pin`, counted from the canvas's top."""

    x: int
    y: int
    width: int
    height: int
    pin: int


class Layout(NamedTuple):
    """`layers` are the names from left to right, each from top to bottom. `hidden` edges are not drawn: there
    are too many long ones."""

    boxes: dict[str, Box]
    layers: tuple[tuple[str, ...], ...]
    wires: Wires
    hidden: frozenset[tuple[str, str]]
    width: int
    height: int


def lay_out(
    needs: Mapping[str, Sequence[str]], sizes: Mapping[str, tuple[int, int]], *, apart: int = 1, gap: int = 3
) -> Layout:
    """Lay out a graph. `sizes` are (width, height); all nodes of a layer become as wide as its widest.
    `apart` rows lie between two nodes of a layer, at least `gap` columns between two layers.

    Needs outside the graph are left out. The graph has no cycle.
    """
    names = list(needs)
    index = {name: number for number, name in enumerate(names)}
    inner = {name: [need for need in dict.fromkeys(above) if need in index] for name, above in needs.items()}
    layer_of = ranks(inner)
    graph = Layered([[index[need] for need in above] for above in inner.values()], [layer_of[n] for n in names])
    heights = [sizes[name][1] for name in names]
    bends = len(graph.rank) - len(names)
    heights += [1] * bends
    pins = [(height - 1) // 2 for height in heights]
    tops = _tops(graph, heights, pins, apart)
    widths = [
        max((sizes[names[vertex]][0] for vertex in layer if vertex < graph.size), default=1)
        for layer in graph.layers
    ]
    rows = [top + pin for top, pin in zip(tops, pins, strict=True)]
    wires, lefts = route(graph, rows, widths, gap, names)
    boxes = {}
    for node, name in enumerate(names):
        rank = graph.rank[node]
        boxes[name] = Box(lefts[rank], tops[node], widths[rank], heights[node], rows[node])
    return Layout(
        boxes,
        tuple(tuple(names[vertex] for vertex in layer if vertex < graph.size) for layer in graph.layers),
        wires,
        frozenset((names[source], names[target]) for source, target in graph.hidden),
        lefts[-1] + widths[-1] if lefts else 0,
        max((top + height for top, height in zip(tops, heights, strict=True)), default=0),
    )


def _tops(graph: Layered, heights: list[int], pins: list[int], apart: int) -> list[int]:
    """The first row of every vertex."""
    stacks = [_stack(layer, graph.size, heights, apart) for layer in graph.layers]
    tops = [0.0] * len(heights)
    middle = max((stack[-1] for stack in stacks if stack), default=0) / 2
    for layer, stack in zip(graph.layers, stacks, strict=True):
        for vertex, below in zip(layer, stack, strict=True):
            tops[vertex] = below + (middle - stack[-1] / 2)
    count = len(graph.layers)
    sweeps = SWEEPS if graph.size < 2000 else 3
    for sweep in range(sweeps):
        downwards, both = sweep % 2 == 0, sweep >= sweeps - 2
        for number in range(count) if downwards else reversed(range(count)):
            layer = graph.layers[number]
            wishes, weights = _wishes(graph, layer, tops, pins, downwards=downwards, both=both)
            for vertex, top in zip(layer, _nearest(wishes, weights, stacks[number]), strict=True):
                tops[vertex] = top
    least = min(tops, default=0.0)
    rows = [int(top - least + 0.5) for top in tops]
    for layer, stack in zip(graph.layers, stacks, strict=True):  # a half may have been rounded both ways
        for (above, at), (vertex, below) in pairwise(zip(layer, stack, strict=True)):
            rows[vertex] = max(rows[vertex], rows[above] + below - at)
    return rows


def _stack(layer: list[int], size: int, heights: list[int], apart: int) -> list[int]:
    """The rows of a layer's vertices if they are packed as closely as they may be, from row 0. Two bends are one
    row apart, whatever is between nodes."""
    below, stack = 0, []
    for before, vertex in zip([-1, *layer], layer, strict=False):
        if before >= size and vertex >= size:
            below += 1
        elif before >= 0:
            below += heights[before] + apart
        stack.append(below)
    return stack


def _wishes(
    graph: Layered, layer: list[int], tops: list[float], pins: list[int], *, downwards: bool, both: bool
) -> tuple[list[float], list[float]]:
    """The row where each vertex of a layer would be level with its neighbours, and how much that weighs. The
    neighbours are those of the layer before, seen in the direction of the sweep; with `both` also of the next."""
    size = graph.size
    before, after = (graph.up, graph.down) if downwards else (graph.down, graph.up)
    wishes, weights = [], []
    for vertex in layer:
        pull = total = 0.0
        near = before[vertex] + after[vertex] if both else before[vertex] or after[vertex]
        for neighbour in near:
            weight = STRAIGHT if vertex >= size and neighbour >= size else 1.0
            pull += weight * (tops[neighbour] + pins[neighbour])
            total += weight
        wishes.append(pull / total - pins[vertex] if total else tops[vertex])
        weights.append(total or 0.1)
    return wishes, weights


def _nearest(wishes: list[float], weights: list[float], stack: list[int]) -> list[float]:
    """The places nearest to the wishes (least weighted squares) that keep the stack's distances."""
    pools: list[tuple[float, float, int]] = []
    for wish, weight, offset in zip(wishes, weights, stack, strict=True):
        value, total, members = wish - offset, weight, 1
        while pools and pools[-1][0] > value:
            before, more, others = pools.pop()
            value = (before * more + value * total) / (more + total)
            total += more
            members += others
        pools.append((value, total, members))
    places = [value for value, _, members in pools for _ in range(members)]
    return [place + offset for place, offset in zip(places, stack, strict=True)]
