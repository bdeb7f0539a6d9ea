"""A screen as an SVG that looks the same everywhere: lines, corners and blocks are drawn as paths, so they join
in any font; text is stretched to its cells; nothing is loaded, and nothing depends on the machine."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import blend_rgb
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

WIDE, HIGH = 10, 20  # of a cell
EDGE = 14  # around the screen
DIM = 0.4  # how much of the ground shines through dim text
THIN, THICK = 1.4, 3.2
FONT = "ui-monospace,'Cascadia Mono','JetBrains Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace"
#: What a terminal's own sixteen colours look like here.
TERMINAL = TerminalTheme(
    (18, 20, 24), (208, 212, 218),
    [(18, 20, 24), (225, 90, 96), (110, 190, 110), (214, 170, 80), (96, 150, 230), (190, 120, 210),
     (80, 190, 200), (208, 212, 218)],
    [(110, 116, 126), (255, 120, 124), (140, 220, 140), (240, 200, 110), (130, 180, 255), (215, 150, 235),
     (110, 220, 228), (255, 255, 255)],
)  # fmt: skip


class Look(NamedTuple):
    """How text is drawn. Colours as `#rrggbb`."""

    front: str
    bold: bool = False
    italic: bool = False
    under: bool = False
    struck: bool = False


class Arms(NamedTuple):
    """A box drawing character: how thick it is to each side of the middle, 0 is not at all."""

    left: float
    right: float
    up: float
    down: float
    arc: bool


def svg(lines: Iterable[list[Segment]], width: int, height: int, label: str) -> str:
    """The picture of a screen of so many cells."""
    page = _Page()
    for y, line in enumerate(lines):
        x = 0
        for segment in line:
            front, ground, look = _ink(segment.style or Style.null())
            cells = cell_len(segment.text)
            page.fill(ground, x, y, cells)
            page.write(look, front, segment.text, x, y)
            x += cells
    return page.text(width, height, label)


def _ink(style: Style) -> tuple[str, str, Look]:
    """Colour of the text, of the ground, and how it is written."""
    front = style.color.get_truecolor(TERMINAL) if style.color else TERMINAL.foreground_color
    ground = (
        style.bgcolor.get_truecolor(TERMINAL, foreground=False) if style.bgcolor else TERMINAL.background_color
    )
    if style.reverse:
        front, ground = ground, front
    if style.dim:
        front = blend_rgb(front, ground, DIM)
    named = _named(front)
    written = Look(named, bool(style.bold), bool(style.italic), bool(style.underline), bool(style.strike))
    return named, _named(ground), written


def _named(color: ColorTriplet) -> str:
    return color.hex


class _Page:
    """Paths by colour, text by look."""

    def __init__(self) -> None:
        self.grounds: dict[str, list[str]] = {}
        self.blocks: dict[str, list[str]] = {}
        self.strokes: dict[tuple[str, float], list[str]] = {}
        self.words: list[tuple[Look, int, int, str, int]] = []
        self._open: dict[tuple[str, float], tuple[float, float, float, int]] = {}
        self._ground: dict[int, tuple[str, int, int]] = {}

    def fill(self, ground: str, x: int, y: int, cells: int) -> None:
        known = self._ground.get(y)
        if known is not None and known[0] == ground and known[1] + known[2] == x:
            self._ground[y] = (ground, known[1], known[2] + cells)
            return
        self._lay(y)
        self._ground[y] = (ground, x, cells)

    def _lay(self, y: int) -> None:
        if (known := self._ground.pop(y, None)) is not None:
            ground, x, cells = known
            self.grounds.setdefault(ground, []).append(
                f"M{x * WIDE} {y * HIGH}h{cells * WIDE}v{HIGH}h-{cells * WIDE}z"
            )

    def write(self, look: Look, front: str, text: str, x: int, y: int) -> None:
        word, begun = "", x
        for character in text:
            cells = cell_len(character)
            drawn = self._draw(front, character, x, y)
            gap = character == " " and (not word or word.endswith(" "))
            if drawn or gap:
                self._word(look, begun, y, word)
                word = ""
            else:
                if not word:
                    begun = x
                word += character
            x += cells
        self._word(look, begun, y, word)

    def _word(self, look: Look, x: int, y: int, word: str) -> None:
        word = word.rstrip(" ") if not look.under else word
        if word:
            self.words.append((look, x, y, word, cell_len(word)))

    def _draw(self, front: str, character: str, x: int, y: int) -> bool:
        if not "\u2500" <= character <= "\u259f":
            return False
        left, top = x * WIDE, y * HIGH
        if (block := _block(character)) is not None:
            bx, by, wide, high = block
            path = f"M{left + bx:g} {top + by:g}h{wide:g}v{high:g}h{-wide:g}z"
            self.blocks.setdefault(front, []).append(path)
            return True
        if (dashes := _dashes(character)) is not None:
            number, thick, upright = dashes
            size = (HIGH if upright else WIDE) / number
            starts = [size * (dash + 0.2) for dash in range(number)]
            for at in starts:
                path = f"M{left + WIDE / 2:g} {top + at:.4g}v{size * 0.6:.3g}"
                flat = f"M{left + at:.6g} {top + HIGH / 2:g}h{size * 0.6:.3g}"
                self.strokes.setdefault((front, thick), []).append(path if upright else flat)
            return True
        arms = _arms(character)
        if arms is None:
            return False
        middle, centre = left + WIDE / 2, top + HIGH / 2
        if arms.arc:
            end = left + WIDE if arms.right else left
            tip = top + HIGH if arms.down else top
            path = f"M{end:g} {centre:g}Q{middle:g} {centre:g} {middle:g} {tip:g}"
            self.strokes.setdefault((front, THIN), []).append(path)
            return True
        for thick, start, length in ((arms.left, left, WIDE / 2), (arms.right, middle, WIDE / 2)):
            if thick:
                self._across(front, thick, start, centre, length)
        for thick, start in ((arms.up, top), (arms.down, centre)):
            if thick:
                path = f"M{middle:g} {start:g}v{HIGH / 2:g}"
                self.strokes.setdefault((front, thick), []).append(path)
        return True

    def _across(self, front: str, thick: float, x: float, y: float, length: float) -> None:
        """Pieces of a line that follow one another are one."""
        key = (front, thick)
        paths = self.strokes.setdefault(key, [])
        known = self._open.get(key)
        if known is not None and known[1] == y and known[0] + known[2] == x:
            x, length, at = known[0], known[2] + length, known[3]
            paths[at] = f"M{x:g} {y:g}h{length:g}"
        else:
            at = len(paths)
            paths.append(f"M{x:g} {y:g}h{length:g}")
        self._open[key] = (x, y, length, at)

    def text(self, width: int, height: int, label: str) -> str:
        for y in list(self._ground):
            self._lay(y)
        common = max(self.grounds, key=lambda ground: sum(map(_area, self.grounds[ground])))
        wide, high = width * WIDE + 2 * EDGE, height * HIGH + 2 * EDGE
        looks = {look: f"t{number}" for number, look in enumerate(dict.fromkeys(word[0] for word in self.words))}
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img">',
            f"<title>{escape(label)}</title>",
            f"<style>text{{font-size:16.6px;font-family:{FONT};white-space:pre}}path{{fill:none}}",
            *(f".{name}{{{_css(look)}}}" for look, name in looks.items()),
            "</style>",
            f'<rect width="{wide}" height="{high}" rx="10" fill="{common}"/>',
            f'<g transform="translate({EDGE} {EDGE})">',
        ]
        for ground, paths in self.grounds.items():
            if ground != common:
                out.append(f'<path style="fill:{ground}" d="{"".join(paths)}"/>')
        for front, paths in self.blocks.items():
            out.append(f'<path style="fill:{front}" d="{"".join(paths)}"/>')
        for (front, thick), paths in self.strokes.items():
            out.append(f'<path stroke="{front}" stroke-width="{thick}" d="{"".join(paths)}"/>')
        for look, x, y, word, cells in self.words:
            place = f'x="{x * WIDE}" y="{y * HIGH + 15}" textLength="{cells * WIDE}"'
            out.append(
                f'<text class="{looks[look]}" {place} lengthAdjust="spacingAndGlyphs">{escape(word)}</text>'
            )
        return "\n".join([*out, "</g>", "</svg>", ""])


def _area(path: str) -> float:
    return float(path.split("h")[1].split("v")[0])


def _css(look: Look) -> str:
    lines = " ".join(word for word, on in (("underline", look.under), ("line-through", look.struck)) if on)
    return (
        f"fill:{look.front}"
        + (";font-weight:bold" if look.bold else "")
        + (";font-style:italic" if look.italic else "")
        + (f";text-decoration:{lines}" if lines else "")
    )


@cache
def _block(character: str) -> tuple[float, float, float, float] | None:
    """Where a block element lies in its cell: left, top, width, height."""
    name = unicodedata.name(character, "")
    eighths = {"ONE EIGHTH": 1, "ONE QUARTER": 2, "THREE EIGHTHS": 3, "HALF": 4, "FIVE EIGHTHS": 5,
               "THREE QUARTERS": 6, "SEVEN EIGHTHS": 7}  # fmt: skip
    if name == "FULL BLOCK":
        return 0, 0, WIDE, HIGH
    side, _, rest = name.partition(" ")
    if not rest.endswith(" BLOCK") or (part := eighths.get(rest.removesuffix(" BLOCK"))) is None:
        return None
    wide, high = WIDE * part / 8, HIGH * part / 8
    return {
        "LOWER": (0, HIGH - high, WIDE, high),
        "UPPER": (0, 0, WIDE, high),
        "LEFT": (0, 0, wide, HIGH),
        "RIGHT": (WIDE - wide, 0, wide, HIGH),
    }.get(side)


@cache
def _dashes(character: str) -> tuple[int, float, bool] | None:
    """A dashed line: how many dashes, how thick, and whether it is upright."""
    words = unicodedata.name(character, "").split()
    if "DASH" not in words:
        return None
    number = {"DOUBLE": 2, "TRIPLE": 3, "QUADRUPLE": 4}[words[words.index("DASH") - 1]]
    return number, THICK if "HEAVY" in words else THIN, "VERTICAL" in words


@cache
def _arms(character: str) -> Arms | None:
    """What a box drawing character is, from its name. None for double and slanted ones."""
    name = unicodedata.name(character, "")
    if not name.startswith("BOX DRAWINGS ") or "DOUBLE" in name or "DIAGONAL" in name:
        return None
    sides = dict.fromkeys(("LEFT", "RIGHT", "UP", "DOWN"), 0.0)
    for side, thick in _sides(name.removeprefix("BOX DRAWINGS ")):
        for one in {"HORIZONTAL": ("LEFT", "RIGHT"), "VERTICAL": ("UP", "DOWN")}.get(side, (side,)):
            sides[one] = thick
    return Arms(sides["LEFT"], sides["RIGHT"], sides["UP"], sides["DOWN"], "ARC" in name)


def _sides(name: str) -> Iterator[tuple[str, float]]:
    """`LIGHT DOWN AND RIGHT`, `DOWN HEAVY AND RIGHT LIGHT`, `HEAVY LEFT AND LIGHT RIGHT`."""
    common = THIN
    for part in name.split(" AND "):
        words = [word for word in part.split() if word != "ARC"]
        own = next((THICK if word == "HEAVY" else THIN for word in words if word in ("LIGHT", "HEAVY")), None)
        if own is not None:
            common = own
        for word in words:
            if word not in ("LIGHT", "HEAVY"):
                yield word, common
