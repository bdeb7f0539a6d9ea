"""Plain pages for people: aligned columns, readable at 80 characters."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO

from agentdeck.terminal_text import clean, escaped
from agentdeck.workflow.model import Data


def out(text: str = "", file: IO[str] | None = None) -> None:
    """A line of data, whatever the terminal's encoding can say of it."""
    file = file or sys.stdout
    try:
        file.write(text + "\n")
    except UnicodeEncodeError:
        encoding = getattr(file, "encoding", None) or "ascii"
        file.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def dump(value: Data, *, indent: int | None = None) -> None:
    """JSON on stdout, without a character that could do anything to a terminal."""
    import json

    out(escaped(json.dumps(value, ensure_ascii=False, indent=indent)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Aligned columns. The columns numbered in `right` are aligned right; the last one is cut to the width."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in chain([header], cleaned)) for i in range(len(header))]
    lines = []
    for row in chain([list(header)], cleaned):
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(cut("  ".join(cells).rstrip()))
    return lines


def cut(text: str) -> str:
    """A line no longer than the terminal is wide; whole where stdout is no terminal."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size((80, 24)).columns
    return text if len(text) <= width else text[: width - 1] + "…"
