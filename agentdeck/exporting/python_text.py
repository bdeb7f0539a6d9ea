"""Python source of data. What a workflow says stays data in it: strings, comments and names, never code."""

from __future__ import annotations

import keyword
import math
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping

from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data

WIDTH = 110
_SHORT = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


class Code(str):
    """Source that is written as it is, in the place of a value."""

    __slots__ = ()


def literal(value: Data, indent: int = 0) -> str:
    """A value as source that evaluates to it, on one line where it fits. Characters that are not printed, and
    those that turn text around, are escapes."""
    flat = _flat(value)
    if len(flat) + indent <= WIDTH - 20 or not value:
        return flat
    if isinstance(value, str) and not isinstance(value, Code):
        return _long_text(value, indent)
    if not isinstance(value, list | tuple | Mapping):
        return flat
    pad = " " * (indent + 4)
    if isinstance(value, Mapping):
        lines = [f"{pad}{_flat(key)}: {literal(item, indent + 4)},\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + " " * indent + "}"
    lines = [f"{pad}{literal(item, indent + 4)},\n" for item in value]
    return "[\n" + "".join(lines) + " " * indent + "]"


def _flat(value: Data) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(map(_character, value)) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flat(key)}: {_flat(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flat, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    raise TypeError(f"{type(value).__name__} is no data")


def _long_text(text: str, indent: int) -> str:
    """A text as several literals, one below the other, cut after spaces and at the ends of its lines."""
    parts, pad = [""], " " * (indent + 4)
    for word in re.findall(r"[^ \n]*[ \n]*", text):
        if parts[-1] and (len(parts[-1]) + len(word) > WIDTH - indent - 6 or parts[-1].endswith("\n")):
            parts.append("")
        parts[-1] += word
    if len(parts) == 1:
        return _flat(text)
    return "(\n" + "".join(f"{pad}{_flat(part)}\n" for part in parts) + " " * indent + ")"


def _character(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def call(function: str, arguments: Mapping[str, Data], indent: int = 0) -> str:
    """A call with keywords, on one line where it fits."""
    flat = f"{function}({', '.join(f'{key}={_flat(value)}' for key, value in arguments.items())})"
    if len(flat) + indent + 20 <= WIDTH:
        return flat
    pad = " " * (indent + 4)
    lines = [f"{pad}{key}={literal(value, indent + 4)},\n" for key, value in arguments.items()]
    return f"{function}(\n{''.join(lines)}{' ' * indent})"


def comment(texts: Iterable[str], indent: int = 0) -> str:
    """Each text as a comment, on lines of their own."""
    pad = " " * indent + "# "
    lines = [line for text in texts for line in wrapped(text, WIDTH - len(pad))]
    return "".join(f"{pad}{line}".rstrip() + "\n" for line in lines)


def docstring(paragraphs: Iterable[str]) -> str:
    """The docstring of a module. Lines that are indented stay as they are."""
    blocks = []
    for paragraph in paragraphs:
        lines = paragraph.split("\n") if paragraph.startswith("    ") else wrapped(paragraph, WIDTH)
        blocks.append("\n".join(clean(line).rstrip() for line in lines))
    text = "\n\n".join(blocks).replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{text}\n"""\n'


def wrapped(text: str, width: int) -> list[str]:
    """A text as lines, without what could turn it around or hide it."""
    return textwrap.wrap(clean(text), width, break_long_words=False, break_on_hyphens=False) or [""]


class Variables:
    """Gives each thing a variable. `taken` are the names that the source uses for something else."""

    def __init__(self, taken: Collection[str]) -> None:
        self._taken = {*taken, *keyword.kwlist, *keyword.softkwlist}

    def of(self, name: str) -> str:
        """A new variable, named like the thing where that is possible."""
        base = found = re.sub(r"\W+", "_", name, flags=re.ASCII)
        while found in self._taken:
            found = f"{found}_"
        self._taken.add(found)
        return found if base else "_"


def duration(seconds: float) -> Code:
    """A number of seconds as a timedelta."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size and seconds % size == 0:
            return Code(f"timedelta({unit}={seconds // size:g})")
    return Code(f"timedelta(seconds={number(seconds)})")


def number(value: float) -> str:
    """A number as it is written by hand: without a fraction where it has none."""
    return repr(int(value)) if value == int(value) else repr(value)
