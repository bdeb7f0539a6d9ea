"""The workflows that can be launched from here, and their earlier runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.errors import Issue
from agentdeck.operations.bundled_files import workflows as bundled
from agentdeck.workflow.deck import NAME as DECK

if TYPE_CHECKING:
    from agentdeck.store.run_list import RunRow
    from agentdeck.workflow.model import Definition

HERE, FOLDER, RECENT, EXAMPLES = "this folder", "workflows/", "recent", "examples"
SUFFIXES = (".yaml", ".yml")
PEEK = 4096
KEPT = 8
BLOCKS = "▁▂▃▄▅▆▇"  # no full block, so that rows stay apart


@dataclass(frozen=True, slots=True)
class WorkflowEntry:
    """A workflow file as it was when it was read. `definition` is None where it does not load; `issues` then say
    why. `edited` 0: it has not been read yet."""

    path: Path
    group: str
    definition: Definition | None = None
    issues: tuple[Issue, ...] = ()
    edited: int = 0

    @property
    def name(self) -> str:
        return self.definition.name if self.definition else self.path.stem

    @property
    def faults(self) -> int:
        return sum(not issue.warning for issue in self.issues)


class Library:
    """Workflow files by path. `scan` may be called from a thread; it reads what is new or was edited."""

    def __init__(self, folder: Path, more: Iterable[Path] = ()) -> None:
        self.folder = folder
        self.more = [path.resolve() for path in more]
        self.entries: dict[Path, WorkflowEntry] = {}
        self._lock = threading.Lock()

    def scan(self, recent: Iterable[Path] = ()) -> bool:
        """Read the files again. Returns whether anything changed."""
        with self._lock:
            before = self.entries
            found: dict[Path, WorkflowEntry] = {}
            for group, path in self._files(recent):
                if path in found or (edited := _edited(path)) is None:
                    continue
                known = before.get(path)
                if known is not None and (known.edited, known.group) == (edited, group):
                    found[path] = known
                else:
                    found[path] = _read(path, group, edited)
            self.entries = found
            return found != before

    def _files(self, recent: Iterable[Path]) -> Iterable[tuple[str, Path]]:
        for path in self.more:
            yield HERE, path
        examples = bundled().resolve()
        for group, folder in ((HERE, self.folder), (FOLDER, self.folder / "workflows")):
            if folder.resolve() != examples:
                yield from ((group, path) for path in self._workflows(folder))
        for path in recent:
            if examples not in path.parents:
                yield RECENT, path
        folders = [examples, *sorted(path for path in examples.iterdir() if path.is_dir())]
        yield from ((EXAMPLES, path) for folder in folders for path in self._workflows(folder))

    def _workflows(self, folder: Path) -> list[Path]:
        """The workflow files of a folder: YAML that says so at its top level."""
        try:
            found = [file for file in folder.iterdir() if file.suffix in SUFFIXES and file.name != DECK]
            files = sorted(file.resolve() for file in found)
        except OSError:
            return []
        return [file for file in files if (edited := _edited(file)) is not None and _says_so(file, edited)]


def _edited(file: Path) -> int | None:
    """When a file was edited; None where it cannot be read."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=10_000)
def _says_so(file: Path, edited: int) -> bool:
    """Whether a file is a workflow. It is looked into again when it was edited."""
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            head = text.read(PEEK)
    except OSError:
        return False
    lines = head.splitlines()
    return any(line.startswith("agentdeck:") for line in lines) and not any(
        line.startswith(("providers:", "tiers:")) for line in lines
    )


def _read(path: Path, group: str, edited: int) -> WorkflowEntry:
    from agentdeck.workflow.check import check
    from agentdeck.workflow.loader import load  # both take longer to import than the screen to appear

    issues = tuple(check(path))
    if any(not issue.warning for issue in issues):
        return WorkflowEntry(path, group, None, issues, edited)
    return WorkflowEntry(path, group, load(path).definition, issues, edited)


@dataclass(frozen=True, slots=True)
class PastRuns:
    """Earlier runs of a workflow: the newest one, and the seconds of the last ones, oldest first."""

    last: RunRow
    seconds: tuple[float, ...]

    @property
    def spark(self) -> str:
        """Past durations as a row of blocks: from half of the shortest up to the longest, so that
        differences are visible."""
        if not self.seconds:
            return ""
        low, high = min(self.seconds) / 2, max(self.seconds)
        most = len(BLOCKS) - 1
        return "".join(BLOCKS[round((value - low) / ((high - low) or 1.0) * most)] for value in self.seconds)


def pasts(rows: Iterable[RunRow]) -> Mapping[str, PastRuns]:
    """Earlier runs by file: two workflows may have one name. `rows` are newest first."""
    newest: dict[str, RunRow] = {}
    took: dict[str, list[float]] = {}
    for row in rows:
        key = str(row.source.get("file") or "")
        newest.setdefault(key, row)
        seconds = took.setdefault(key, [])
        if row.ended is not None and row.seconds is not None and len(seconds) < KEPT:
            seconds.insert(0, row.seconds)
    return {key: PastRuns(row, tuple(took[key])) for key, row in newest.items()}
