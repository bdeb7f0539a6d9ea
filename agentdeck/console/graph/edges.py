"""Edges between two layers as in a wiring channel: level pieces, and upright ones on tracks of their own.

What leads to the same vertices shares one track (a bus), so a join of a thousand is one line. A level piece
that only passes an upright one is drawn as passing under it; where they join, they join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from agentdeck.console.graph.box_chars import ACROSS, DOWN, EAST, NORTH, SOUTH, WEST
from agentdeck.console.graph.layers import Layered

#: More tracks than this in one channel are laid over one another.
TRACKS = 40
_BLOCK = 32

Edge = tuple[str, str]


class LevelPiece(NamedTuple):
    """Cells `left` to `right` of a row. The end at a track turns there: it has no further side."""

    left: int
    right: int
    net: int
    turns: int = 0  # EAST or WEST: the side that the cell at that end has not


class UprightPiece(NamedTuple):
    x: int
    top: int
    bottom: int
    net: int


class Net(NamedTuple):
    lefts: tuple[int, ...]
    rights: tuple[int, ...]
    top: int
    bottom: int

    @property
    def straight(self) -> bool:
        return self.top == self.bottom


class Wires:
    """All edges of a layout. The cells of a row are computed when it is first read."""

    def __init__(self) -> None:
        self.levels: dict[int, list[LevelPiece]] = {}
        self.uprights: dict[int, list[UprightPiece]] = {}
        self.paths: dict[Edge, tuple[tuple[int, int], ...]] = {}
        self._rows: dict[int, dict[int, int]] = {}

    def add_level(self, row: int, level: LevelPiece) -> None:
        self.levels.setdefault(row, []).append(level)

    def add_upright(self, upright: UprightPiece) -> None:
        for block in range(upright.top // _BLOCK, upright.bottom // _BLOCK + 1):
            self.uprights.setdefault(block, []).append(upright)

    def row(self, y: int) -> Mapping[int, int]:
        """The sides that leave each cell of this row, by column."""
        cells = self._rows.get(y)
        if cells is None:
            cells = self._rows[y] = self._cells(y)
        return cells

    def _cells(self, y: int) -> dict[int, int]:
        cells: dict[int, int] = {}
        turning: dict[int, int] = {}
        own: set[tuple[int, int]] = set()
        for left, right, net, turns in self.levels.get(y, ()):
            if turns:
                end = left if turns == WEST else right
                turning[end] = turning.get(end, 0) | ACROSS & ~turns
                own.add((end, net))
            for x in range(left + (turns == WEST), right + (turns != EAST)):
                cells[x] = ACROSS
        for x, sides in turning.items():
            cells[x] = cells.get(x, 0) | sides
        for x, top, bottom, net in self.uprights.get(y // _BLOCK, ()):
            if top <= y <= bottom:
                sides = (NORTH if y > top else 0) | (SOUTH if y < bottom else 0)
                under = cells.get(x, 0) == ACROSS and sides == DOWN and (x, net) not in own
                cells[x] = DOWN if under else cells.get(x, 0) | sides
        return cells

    def path(self, source: str, target: str) -> tuple[tuple[int, int], ...]:
        """The corners of an edge from the first cell after its source to the last one before its target."""
        return self.paths.get((source, target), ())

    def cells(self, source: str, target: str) -> list[tuple[int, int, int]]:
        """The cells of one edge alone: (x, y, sides)."""
        corners = self.path(source, target)
        found: dict[tuple[int, int], int] = {}
        if corners:
            found[corners[0]] = WEST
            found[corners[-1]] = found.get(corners[-1], 0) | EAST
        for (x0, y0), (x1, y1) in pairwise(corners):
            if y0 == y1:
                for x in range(x0, x1):
                    found[x, y0] = found.get((x, y0), 0) | EAST
                    found[x + 1, y0] = found.get((x + 1, y0), 0) | WEST
            else:
                for y in range(min(y0, y1), max(y0, y1)):
                    found[x0, y] = found.get((x0, y), 0) | SOUTH
                    found[x0, y + 1] = found.get((x0, y + 1), 0) | NORTH
        return [(x, y, sides) for (x, y), sides in found.items()]


def route(
    graph: Layered, rows: Sequence[int], widths: Sequence[int], gap: int, names: Sequence[str]
) -> tuple[Wires, list[int]]:
    """Lay the wires. Returns them, and the first column of each layer."""
    wires = Wires()
    lefts: list[int] = []
    left = number = 0
    track_of: dict[tuple[int, int], int] = {}  # hop: the column of its upright piece
    for rank, layer in enumerate(graph.layers):
        lefts.append(left)
        for vertex in layer:
            if vertex >= graph.size:
                wires.add_level(rows[vertex], LevelPiece(left, left + widths[rank] - 1, -1))
        start = left + widths[rank]
        nets = _nets(graph, layer, rows)
        tracks = _tracks(nets, rows)
        used = max(tracks, default=-1) + 1
        step = 2 if used <= 4 else 1
        need = (used - 1) * step + 4 if used else 3
        room = max(need, gap)
        first = start + 1 + (room - need) // 2
        for net, track in zip(nets, tracks, strict=True):
            number += 1
            x = first + track * step
            track_of |= {(vertex, other): x for vertex in net.lefts for other in net.rights}
            _add_net(wires, net, number, rows, (start, x, start + room - 1))
        left = start + room
    for (source, target), way in graph.ways.items():
        corners: list[tuple[int, int]] = [(lefts[graph.rank[source]] + widths[graph.rank[source]], rows[source])]
        for hop in pairwise(way):
            above, below = rows[hop[0]], rows[hop[1]]
            if above != below:
                corners += [(track_of[hop], above), (track_of[hop], below)]
        corners.append((lefts[graph.rank[target]] - 1, rows[target]))
        wires.paths[names[source], names[target]] = tuple(corners)
    return wires, lefts


def _add_net(wires: Wires, net: Net, number: int, rows: Sequence[int], columns: tuple[int, int, int]) -> None:
    """Add the pieces of one net: `columns` are the first one of the channel, the net's track, the last one."""
    start, x, end = columns
    if net.straight:
        wires.add_level(rows[net.lefts[0]], LevelPiece(start, end, number))
        return
    for vertex in net.lefts:
        wires.add_level(rows[vertex], LevelPiece(start, x, number, EAST))
    for vertex in net.rights:
        wires.add_level(rows[vertex], LevelPiece(x, end, number, WEST))
    wires.add_upright(UprightPiece(x, net.top, net.bottom, number))


def _nets(graph: Layered, layer: list[int], rows: Sequence[int]) -> list[Net]:
    """Hops out of a layer, those with the same ends together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for vertex in layer:
        if graph.down[vertex]:
            groups.setdefault(tuple(sorted(graph.down[vertex])), []).append(vertex)
    nets = []
    for rights, lefts in groups.items():
        pins = [rows[vertex] for vertex in (*lefts, *rights)]
        nets.append(Net(tuple(lefts), rights, min(pins), max(pins)))
    return nets


def _tracks(nets: list[Net], rows: Sequence[int]) -> list[int]:
    """A track for each net; -1 where it runs straight.

    On one row, what leaves the layer must turn before what enters the next one: such nets lie left of the
    others, unless that leads in a circle. Of the rest, those going down are laid from the lowest up and those
    going up from the highest down, so that they nest instead of crossing (left-edge algorithm, Hashimoto and
    Stevens 1971).
    """
    after = _following(nets, rows)
    waits = [0] * len(nets)
    for others in after:
        for other in others:
            waits[other] += 1

    def turn(number: int) -> tuple[float, int]:
        net = nets[number]
        left = sum(rows[vertex] for vertex in net.lefts) / len(net.lefts)
        right = sum(rows[vertex] for vertex in net.rights) / len(net.rights)
        return (-left if right > left else left - 1e6), number

    tracks = [-1] * len(nets)
    least = [0] * len(nets)
    taken: list[list[tuple[int, int]]] = []
    left = sorted((number for number, net in enumerate(nets) if not net.straight), key=turn)
    while left:
        ready = [number for number in left if waits[number] <= 0] or left[:1]
        chosen = set(ready)
        left = [number for number in left if number not in chosen]
        for number in ready:
            track = tracks[number] = _free_track(taken, nets[number], least[number])
            for other in after[number]:
                waits[other] -= 1
                least[other] = max(least[other], track + 1)
    return tracks


def _following(nets: list[Net], rows: Sequence[int]) -> list[list[int]]:
    """For each net, those that must lie to the right of it."""
    entering: dict[int, list[int]] = {}
    for number, net in enumerate(nets):
        if not net.straight:
            for vertex in net.rights:
                entering.setdefault(rows[vertex], []).append(number)
    after: list[list[int]] = [[] for _ in nets]
    for number, net in enumerate(nets):
        if net.straight:
            continue
        rivals = {other for vertex in net.lefts for other in entering.get(rows[vertex], ())}
        rivals |= {
            other
            for vertex in net.rights
            for other in entering.get(rows[vertex], ())
            if len(nets[other].rights) < len(net.rights)
        }
        after[number] = sorted(rivals - {number})
    return after


def _free_track(taken: list[list[tuple[int, int]]], net: Net, least: int) -> int:
    """The first track from `least` on where nothing overlaps this net; takes it. The last track takes all."""
    track = min(least, TRACKS - 1)
    while track < TRACKS - 1 and track < len(taken) and _overlaps(taken[track], net):
        track += 1
    while track >= len(taken):
        taken.append([])
    taken[track].append((net.top, net.bottom))
    return track


def _overlaps(taken: list[tuple[int, int]], net: Net) -> bool:
    return any(top <= net.bottom and net.top <= bottom for top, bottom in taken)
