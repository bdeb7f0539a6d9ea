"""The first two steps of drawing a graph in layers (Sugiyama, Tagawa, Toda 1981): which layer, which order.

An edge over several layers is led through bends, one a layer. Bends are shared: all long edges of one node
run along one trunk, that of the source or that of the target, whichever has more to share.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise

from agentdeck.console.graph.nodes import Needs
from agentdeck.workflow import graph

#: Beyond so many bends the longest edges are not drawn.
BENDS = 30_000
#: Up to so many hops, crossings are counted and the best order is used.
COUNTED = 3000


class Layered:
    """Vertices in layers: first the nodes, by index, then the bends, all with their `rank`. Each hop leads to the
    next layer.

    `ways[(source, target)]` is an edge as the vertices it passes; `hidden` edges have none.
    """

    def __init__(self, needs: Sequence[Sequence[int]], rank: list[int]) -> None:
        self.size = len(needs)
        self.rank = rank
        self.up: list[list[int]] = [[] for _ in needs]
        self.down: list[list[int]] = [[] for _ in needs]
        self.ways: dict[tuple[int, int], tuple[int, ...]] = {}
        self.hidden: list[tuple[int, int]] = []
        self.layers: list[list[int]] = [[] for _ in range(max(self.rank, default=-1) + 1)]
        for node, layer in enumerate(rank):
            self.layers[layer].append(node)
        self._bends: dict[tuple[int, int], int] = {}
        self._hop: set[tuple[int, int]] = set()
        self._join(needs)
        self._order()

    def _join(self, needs: Sequence[Sequence[int]]) -> None:
        rank = self.rank
        edges = [(source, target) for target, above in enumerate(needs) for source in dict.fromkeys(above)]
        out = [0] * self.size
        into = [0] * self.size
        for source, target in edges:
            if rank[target] - rank[source] > 1:
                out[source] += 1
                into[target] += 1
        edges.sort(key=lambda edge: rank[edge[1]] - rank[edge[0]])
        for source, target in edges:
            first, last = rank[source] + 1, rank[target]
            if last - first > 0 and len(self._bends) + last - first > BENDS:
                self.hidden.append((source, target))
                continue
            trunk = source if out[source] >= into[target] else -1 - target
            way = [source, *(self._bend(trunk, layer) for layer in range(first, last)), target]
            for upper, lower in pairwise(way):
                if (upper, lower) not in self._hop:
                    self._hop.add((upper, lower))
                    self.down[upper].append(lower)
                    self.up[lower].append(upper)
            self.ways[source, target] = tuple(way)

    def _bend(self, trunk: int, layer: int) -> int:
        bend = self._bends.get((trunk, layer))
        if bend is None:
            bend = self._bends[trunk, layer] = len(self.rank)
            self.rank.append(layer)
            self.up.append([])
            self.down.append([])
            self.layers[layer].append(bend)
        return bend

    # The order in the layers -----------------------------------------------------------------------------------

    def _order(self) -> None:
        """Barycentre sweeps down and up."""
        layers = self.layers
        place = [0.0] * len(self.rank)
        for layer in layers:
            self._settle(layer, place)
        counted = len(self._hop) <= COUNTED
        best, least = [list(layer) for layer in layers], self._crossings(place) if counted else 0
        for sweep in range(8 if counted else 3):
            if counted and not least:
                break
            downwards = sweep % 2 == 0
            beside = self.up if downwards else self.down
            for index in range(len(layers)) if downwards else reversed(range(len(layers))):
                self._sort(layers[index], beside, place)
            if counted:
                crossings = self._crossings(place)
                if crossings < least:
                    best, least = [list(layer) for layer in layers], crossings
        if counted:
            self.layers = best

    @staticmethod
    def _settle(layer: list[int], place: list[float]) -> None:
        """Places run from 0 to 1, so that layers of unlike sizes can be compared."""
        step = 1 / (len(layer) or 1)
        for index, vertex in enumerate(layer):
            place[vertex] = (index + 0.5) * step

    def _sort(self, layer: list[int], beside: list[list[int]], place: list[float]) -> None:
        weight = {
            vertex: sum([place[other] for other in others]) / len(others)
            if (others := beside[vertex])
            else place[vertex]
            for vertex in layer
        }
        layer.sort(key=weight.__getitem__)
        self._settle(layer, place)

    def _crossings(self, place: list[float]) -> int:
        """How many hops cross, were they straight lines."""
        total = 0
        for layer in self.layers:
            seen: list[float] = []
            for vertex in layer:
                ends = [place[other] for other in self.down[vertex]]
                total += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    insort(seen, end)
        return total


def ranks(needs: Needs) -> dict[str, int]:
    """The layer of each node: its longest distance from a root."""
    return {name: rank for rank, layer in enumerate(graph.levels(needs)) for name in layer}
