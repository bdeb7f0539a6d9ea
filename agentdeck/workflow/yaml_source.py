"""Reads YAML text into plain data, with the position of every key and value.

YAML 1.2: `on` and `no` are strings. Duplicate keys are refused, merge keys (`<<`) and anchors work, and what an
anchor expands to is bounded, so a small file stays small in memory.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.model import Data

MAX_FILE_BYTES = 5_000_000
MAX_NODES = 200_000
MAX_DEPTH = 60

Path_: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]


class _Invalid:
    """The type of INVALID."""

    def __repr__(self) -> str:
        return "INVALID"


#: Stands in the place of a value with a fault that has been reported.
INVALID: Final = _Invalid()


def has_invalid(value: Any) -> bool:
    """Whether a value is INVALID, or something in it is."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is INVALID or any(map(has_invalid, inner))


def as_map(value: Any) -> dict[str, Any]:
    """The value where it is a map, else an empty one."""
    return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class Source:
    """A file that has been read. `keys` and `values` hold their positions, by path in `data`."""

    file: str
    data: Data = None
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    def place(self, path: Path_, *, key: bool = False) -> Place:
        """The position of a value or of its key; that of the nearest enclosing value where the path is not in the
        file."""
        while path:
            found = (self.keys if key else self.values).get(path) or self.keys.get(path)
            if found:
                return found
            path, key = path[:-1], True
        return self.values.get((), (1, 1))

    def fault(self, path: Path_, what: str, fix: str = "", *, key: bool = False, warning: bool = False) -> None:
        line, column = self.place(path, key=key)
        self.issues.append(Issue(self.file, line, column, what, fix, warning))


def read_file(path: Path, shown: str | None = None) -> Source:
    """Reads a YAML file. Raises InvalidFile where nothing of it can be used."""
    file = shown or str(path)
    try:
        with path.open("rb") as opened:
            size = path.stat().st_size
            # The size of a pipe or a device (/dev/zero) is not known before it is read.
            content = opened.read(MAX_FILE_BYTES + 1) if size <= MAX_FILE_BYTES else b""
        if max(size, len(content)) > MAX_FILE_BYTES:
            length = f"{size / 1e6:.0f} MB is" if size > MAX_FILE_BYTES else "this is"
            raise refusal(file, f"{length} too large for a workflow", f"the most is {MAX_FILE_BYTES // 10**6} MB")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise refusal(file, "no such file", "check the name") from None
    except IsADirectoryError:
        raise refusal(file, "is a folder", "name a file in it") from None
    except OSError as error:
        raise refusal(file, f"cannot be read: {error.strerror}") from None
    except (ValueError, RuntimeError) as error:
        if not isinstance(error, UnicodeDecodeError):
            # A name with a NUL in it; links that lead to themselves.
            raise refusal(file, f"cannot be read: {error}") from None
        raise refusal(file, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None
    return read_text(text, file)


def read_text(text: str, file: str) -> Source:
    """Parses YAML text. Raises InvalidFile where it is not YAML; other faults are collected in the source."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        root: Any = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        what = f"not YAML: {error.problem or error.context}"
        raise InvalidFile(
            [Issue(file, line, column, what, "check indentation, quotes and brackets here")]
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        what = str(error).splitlines()[0] if str(error) else "nested too deep"
        raise refusal(file, f"not YAML: {what}") from None
    if root is None:
        raise refusal(file, "the file is empty", "start with the example in the README")
    source = Source(file)
    try:
        source.data = _Reader(source).value(root, (), 0)
    except _TooLarge as error:
        raise refusal(file, str(error)) from None
    return source


def refusal(file: str, what: str, fix: str = "") -> InvalidFile:
    """The error for a file of which nothing can be used."""
    return InvalidFile([Issue(file, 0, 0, what, fix)])


class _TooLarge(Exception):
    pass


_SURROGATES = re.compile("[\ud800-\udfff]")


class _Reader:
    """Converts YAML nodes into values."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.count = 0

    def value(self, node: Any, path: Path_, depth: int) -> Data:
        self.count += 1
        if self.count > MAX_NODES:
            raise _TooLarge(f"its anchors expand to more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise _TooLarge(f"nested more than {MAX_DEPTH} deep")
        self.source.values[path] = _place(node)
        match node.id:
            case "scalar":
                return self.scalar(node, path)
            case "sequence":
                return [self.value(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        return self.mapping(node, path, depth)

    def scalar(self, node: Any, path: Path_) -> Data:
        tag, text = str(node.tag).rsplit(":", 1)[-1], node.value
        if node.style in ("'", '"', "|", ">") or tag == "str":
            return self.text(text, path)
        try:
            match tag:
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return _integer(text)
                case "float":
                    number = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
                    if not math.isfinite(number):
                        self.source.fault(path, f"{text} is not a number in JSON", "remove it or quote it")
                    return number
        except ValueError:
            pass
        if str(node.tag).startswith("!"):
            self.source.fault(path, f"the tag {node.tag} is not known", "remove it")
        return text

    def text(self, text: str, path: Path_) -> str:
        """Joins surrogate pairs: JSON writes a character beyond 16 bits as two escapes. A lone one is a fault."""
        if text.isascii() or not _SURROGATES.search(text):
            return text
        units = text.encode("utf-16", "surrogatepass")
        try:
            return units.decode("utf-16")
        except UnicodeDecodeError:
            self.source.fault(path, "half of a character (\\ud800 to \\udfff)", "write it whole")
            return units.decode("utf-16", "replace")

    def mapping(self, node: Any, path: Path_, depth: int) -> Data:
        found: dict[str, Data] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            place = _place(key_node)
            if key_node.id != "scalar":
                self.source.values.setdefault((*path, "?"), place)
                self.source.fault((*path, "?"), "a key must be a word", "quote it")
                continue
            key = self.text(str(key_node.value), path)
            if key == "<<" and key_node.style is None:
                merged.append(value_node)
                continue
            if key in found:
                first = self.source.keys[(*path, key)]
                what = f"{key} is here twice, first in line {first[0]}"
                self.source.issues.append(Issue(self.source.file, *place, what, "keep one of them"))
                continue
            self.source.keys[(*path, key)] = place
            found[key] = self.value(value_node, (*path, key), depth + 1)
        for value_node in merged:
            self.merge(value_node, found, path, depth)
        return found

    def merge(self, node: Any, found: dict[str, Data], path: Path_, depth: int) -> None:
        """Applies `<<`: adds the keys of the merged maps that the map lacks. Of several maps, the first wins."""
        nodes = node.value if node.id == "sequence" else [node]
        for one in nodes:
            if one.id != "mapping":
                issue = Issue(self.source.file, *_place(one), "<< merges a map", "use an anchor of a map")
                self.source.issues.append(issue)
                continue
            if depth > MAX_DEPTH:
                raise _TooLarge("an anchor contains itself")
            below = _Reader(Source(self.source.file))
            below.count = self.count
            data = below.mapping(one, path, depth + 1)
            self.count = below.count
            self.source.issues.extend(below.source.issues)
            taken = data.keys() - found.keys()
            found.update((key, value) for key, value in data.items() if key in taken)
            at, ours, others = len(path), self.source, below.source
            for mine, theirs in ((ours.keys, others.keys), (ours.values, others.values)):
                mine.update({p: place for p, place in theirs.items() if len(p) > at and p[at] in taken})


def _place(node: Any) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _integer(text: str) -> int:
    """A leading zero is no sign of an octal number, as in YAML 1.1."""
    plain = text.lstrip("+-").startswith("0") and text[:2].lower() not in ("0x", "0o")
    return int(text) if plain else int(text.replace("_", ""), 0)
