"""How one log line is drawn: its columns, its text cut and folded, and what is highlighted in it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from agentdeck.console.log.lines import GAP, CleanLine
from agentdeck.console.log.search import Search
from agentdeck.console.state_style import RoleStyles
from agentdeck.console.styled_cells import Span
from agentdeck.terminal_text import escaped

CUT = 4_000  # characters of one line that are shown in the pane
NARROW = 56
TINY = 34
FOLDABLE = 20_000

#: level: (what is shown of it, role of that, role of the text)
LEVELS = {
    "debug": ("debug", "dim", "dim"),
    "info": ("info", "dim", "text"),
    "out": ("out", "dim", "text"),
    "err": ("err", "warn", "text"),
    "warning": ("warn", "warn", "text"),
    "error": ("error", "failed", "bad"),
    "critical": ("crit", "failed", "failed"),
    GAP: ("", "dim", "warn"),
}
HIT = Style(reverse=True)
QUIET = Style(bold=False)
_KEYS = re.compile(r'"(?:\\.|[^"\\]){1,80}"(?=: )')


@dataclass(frozen=True, slots=True)
class LineColumns:
    """The columns before the text. `place` is the width of agent and task together."""

    time: bool = True
    level: bool = True
    agent: bool = True
    place: int = 0

    def fitted(self, width: int) -> LineColumns:
        """The columns that fit."""
        return LineColumns(
            self.time and width >= NARROW,
            self.level and width >= TINY,
            self.agent and width >= TINY,
            min(self.place, max(4, width // 4)),
        )

    @property
    def width(self) -> int:
        """Cells before the text, the gutter included."""
        return 1 + 9 * self.time + 6 * self.level + (self.place + 1) * (self.agent and self.place > 0)


def head(
    line: CleanLine, columns: LineColumns, styles: RoleStyles, background: Style, *, one: bool
) -> list[Segment]:
    """The columns of a line, without the gutter."""
    word, role, _ = LEVELS.get(line.level, (line.level[:5], "dim", "text"))
    dim = background + styles["dim"]
    parts = []
    if columns.time:
        parts.append(Segment("         " if line.level == GAP else clock(int(line.at)) + " ", dim))
    if columns.level:
        parts.append(Segment(f"{set_cell_size(word, 5)} ", background + styles[role]))
    if columns.agent and columns.place:
        place = set_cell_size(place_of(line, one=one), columns.place)
        parts.append(Segment(place + " ", background + (styles["dim"] if one else styles["title"] + QUIET)))
    return parts


def place_of(line: CleanLine, *, one: bool) -> str:
    """Agent, item and task of a line; only item and task where all lines are of one agent."""
    task = line.task.partition("/")[0]
    item = line.step[line.step.rfind("[") :] if line.step.endswith("]") and "[" in line.step else ""
    return f"{task}{item}" if one else f"{line.agent}{item} {task}"


def blank(columns: LineColumns, background: Style) -> list[Segment]:
    """Blanks instead of the columns, before the rest of a wrapped line."""
    return [Segment(" " * (columns.width - 1), background)] if columns.width > 1 else []


def shown(text: str) -> str:
    """The text as the pane shows it: JSON on one line, and no more of a long one than can be read there."""
    text = folded(text) or text
    if len(text) > CUT:
        return f"{text[:CUT]} … {len(text) - CUT:,} more characters; Enter shows them"
    return text


def folded(text: str) -> str:
    """JSON on one line, evenly spaced; empty if it is no object and no list."""
    if text[:1] not in ("{", "[") or text.rstrip()[-1:] not in ("}", "]") or len(text) > FOLDABLE:
        return ""
    return _folded(text)


@lru_cache(maxsize=1024)
def _folded(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return escaped(json.dumps(value, ensure_ascii=False))


def spans(line: CleanLine, text: str, styles: RoleStyles, search: Search | None, said_by: str = "") -> list[Span]:
    """The highlighted spans of the shown text: the inner step that it begins with, keys of JSON, and matches."""
    found: list[Span] = [(0, len(said_by), styles["title"] + QUIET)] if said_by else []
    if text[:1] in ("{", "[") and folded(line.text):
        found += [(key.start(), key.end(), styles["title"] + QUIET) for key in _KEYS.finditer(text)]
    if search is not None:
        found += [(start, end, HIT) for start, end in search.marks(text)]
    return found


def text_role(level: str) -> str:
    return LEVELS.get(level, ("", "dim", "text"))[2]


@lru_cache(maxsize=4096)
def clock(second: int) -> str:
    """The time of day, here."""
    return time.strftime("%H:%M:%S", time.localtime(second))


def place_width(line: CleanLine, *, one: bool) -> int:
    return cell_len(place_of(line, one=one))
