"""Box-drawing characters by what leaves a cell: four sides, each absent, light or heavy."""

from __future__ import annotations

import unicodedata

#: Sides as bits; a heavy side has its bit four places further up as well.
NORTH, EAST, SOUTH, WEST = 1, 2, 4, 8
ALL = 15
ACROSS = EAST | WEST
DOWN = NORTH | SOUTH
HEAVY = 4

_SIDES = {
    "UP": NORTH, "DOWN": SOUTH, "LEFT": WEST, "RIGHT": EAST, "VERTICAL": DOWN, "HORIZONTAL": ACROSS,
}  # fmt: skip
_ROUND = {SOUTH | EAST: "╭", SOUTH | WEST: "╮", NORTH | EAST: "╰", NORTH | WEST: "╯"}


def _table() -> dict[int, str]:
    """Read off the characters' own names: `BOX DRAWINGS VERTICAL LIGHT AND RIGHT HEAVY`."""
    table: dict[int, str] = {0: " "}
    for code in range(0x2500, 0x2580):
        words = unicodedata.name(chr(code)).removeprefix("BOX DRAWINGS ").split()
        parts = " ".join(words).split(" AND ")
        if any(word not in _SIDES and word not in ("LIGHT", "HEAVY", "AND") for word in words):
            continue  # dashes, doubles, arcs, diagonals
        if words.count("LIGHT") + words.count("HEAVY") == 1:
            parts = [f"{'HEAVY' if 'HEAVY' in words else 'LIGHT'} {part}" for part in parts]
        bits = 0
        for part in parts:
            sides = 0
            for word in part.split():
                sides |= _SIDES.get(word, 0)
            bits |= sides | (sides << HEAVY if "HEAVY" in part else 0)
        table[bits] = chr(code)
    return table | _ROUND


_CHARACTERS = _table()


def heavy(bits: int) -> int:
    """The same sides, drawn heavy."""
    return bits | (bits & ALL) << HEAVY


def character(bits: int) -> str:
    """What joins these sides. Total: there is a character for every combination of the three weights."""
    return _CHARACTERS[bits]
