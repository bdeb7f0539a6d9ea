"""Output on stdout: lines, JSON, and aligned columns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO, TYPE_CHECKING

from agentdeck.terminal_text import clean, escaped
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from pydantic import BaseModel


def out(text: str = "", file: IO[str] | None = None) -> None:
    """Print a line; characters that the stream's encoding lacks become question marks."""
    file = file or sys.stdout
    try:
        file.write(text + "\n")
    except UnicodeEncodeError:
        encoding = getattr(file, "encoding", None) or "ascii"
        file.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def dump(value: Data, *, indent: int | None = None) -> None:
    """Print JSON; control characters are escaped, so that they cannot affect a terminal."""
    import json

    out(escaped(json.dumps(value, ensure_ascii=False, indent=indent)))


def print_document(document: BaseModel) -> None:
    """Print a document as one line of JSON, with the same escapes."""
    from agentdeck.documents.document import json_text

    out(escaped(json_text(document)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of aligned columns. Columns whose numbers are in `right` are aligned right."""
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
    """The line cut to the width of the terminal; unchanged if stdout is not a terminal."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size((80, 24)).columns
    return text if len(text) <= width else text[: width - 1] + "…"
