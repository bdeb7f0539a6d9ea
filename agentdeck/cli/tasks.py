"""Task files: JSON lines or CSV, read one line at a time, checked once before anything starts."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from agentdeck.cli.errors import hint, say
from agentdeck.cli.inputs import known_name, lacking, read
from agentdeck.errors import UsageError
from agentdeck.workflow.inputs import fits
from agentdeck.workflow.model import Data, Definition

STDIN = "-"
#: More bytes are not read for one task.
LONGEST = 16_000_000
#: Bad lines that are named one by one.
NAMED = 20


class TaskFile:
    """The tasks of a file, or of stdin, for one workflow. Iterating opens the file anew. What comes through
    stdin is put into a file first: reading a pipe that is slow would hold up the run. With `keep`, a folder,
    that file stays there until `forget`, so that whoever resumes the run still has it; else it has no name.

    A line that is no task ends the iteration with a UsageError that names it, or is left out with `skip_bad`.
    """

    def __init__(
        self,
        name: str,
        definition: Definition,
        inputs: Mapping[str, Data] | None = None,
        *,
        skip_bad: bool = False,
        keep: Path | None = None,
    ) -> None:
        self.name = name
        self.keep = keep
        self.definition = definition
        self.inputs = dict(inputs or {})
        self.skip_bad = skip_bad
        self.skipped = 0
        self._named: list[tuple[int, str]] = []
        self._spool: IO[bytes] | None = None
        if name != STDIN and Path(name).suffix.lower() not in (".jsonl", ".ndjson", ".csv"):
            raise UsageError(f"{name}: tasks come from a .jsonl or .csv file, or from stdin (-)")

    @property
    def place(self) -> str:
        """Where whoever resumes the run finds these tasks; `-` where nobody can."""
        if self._spool is not None and self.keep is not None:
            return str(self._spool.name)
        return STDIN if self.name == STDIN else str(Path(self.name).resolve())

    @property
    def _shown(self) -> str:
        return "stdin" if self.name == STDIN else self.name

    def count(self) -> int:
        """Read all of it once: how many tasks there are. Raises UsageError at the first line that is none."""
        number = sum(1 for _ in self)
        if self.skipped:
            self.tell_skipped()
        if not number:
            raise UsageError(f"{self._shown} has no tasks")
        return number

    def tell_skipped(self) -> None:
        """Name the lines that were left out, with the reason: the first NAMED of them."""
        say(f"{self._shown}: {self.skipped:,} bad line{'s' * (self.skipped > 1)} left out")
        for line, what in self._named:
            hint(f"{self._shown}:{line}: {what}")
        if self.skipped > len(self._named):
            hint(f"… and {self.skipped - len(self._named):,} more")

    def __iter__(self) -> Iterator[dict[str, Data]]:
        self.skipped = 0
        self._named.clear()
        yield from self._each(self._raw())

    def tasks(self, lines: Iterable[bytes]) -> Iterator[dict[str, Data]]:
        """The tasks that these lines of JSON are."""
        return self._each(self._json(lines))

    def _each(self, raw: Iterable[tuple[int, Data]]) -> Iterator[dict[str, Data]]:
        for line, task in raw:
            try:
                yield self._checked(task)
            except ValueError as error:
                self._bad(line, str(error))

    def _raw(self) -> Iterator[tuple[int, Data]]:
        if self.name == STDIN:
            if self._spool is None:
                self._spool = self.spooled()
                shutil.copyfileobj(sys.stdin.buffer, self._spool)
            self._spool.seek(0)
            yield from self._json(_lines(self._spool))
            return
        try:
            with Path(self.name).open("rb") as file:
                yield from self._csv(file) if self.name.lower().endswith(".csv") else self._json(_lines(file))
        except OSError as error:
            raise UsageError(f"{self.name}: {error.strerror or error}") from error

    def spooled(self) -> IO[bytes]:
        """An empty file for what comes through stdin."""
        if self.keep is None:
            return tempfile.TemporaryFile(prefix="agentdeck-")
        self.keep.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self.keep, prefix="stdin-", suffix=".jsonl", delete=False)

    def _json(self, lines: Iterable[bytes]) -> Iterator[tuple[int, Data]]:
        for number, line in enumerate(lines, 1):
            if len(line) > LONGEST:
                raise UsageError(f"{self._shown}:{number}: a line of more than {LONGEST // 10**6} MB is no task")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                task = json.loads(text)
            except UnicodeDecodeError:
                self._bad(number, "not UTF-8 text")
                continue
            except (ValueError, RecursionError) as error:
                self._bad(number, f"not JSON ({error})")
                continue
            if not isinstance(task, dict):
                self._bad(number, f"not a JSON object but {_kind(task)}")
                continue
            yield number, task

    def _csv(self, lines: Iterable[bytes]) -> Iterator[tuple[int, Data]]:
        reader = csv.reader(_decoded(lines, self.name))
        try:
            header = [name.strip() for name in next(reader, [])]
            if not header or not all(header):
                raise UsageError(f"{self.name}:1: the first line of a CSV file names the inputs")
            for name in header:
                known_name(name, self.definition)
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    self._bad(reader.line_num, f"{len(row)} values for {len(header)} columns")
                    continue
                task: dict[str, Data] = {}
                try:
                    for name, text in zip(header, row, strict=True):
                        spec = self.definition.inputs.get(name)
                        if text == "" and spec is not None and (not spec.required or spec.type.kind != "string"):
                            continue  # an empty cell is no value: the default holds
                        try:
                            task[name] = read(text, spec.type) if spec else text
                        except ValueError as error:
                            raise ValueError(f"{name}: {error}") from None
                except ValueError as error:
                    self._bad(reader.line_num, str(error))
                    continue
                yield reader.line_num, task
        except csv.Error as error:
            raise UsageError(f"{self.name}:{reader.line_num}: not CSV ({error})") from error

    def _checked(self, task: dict[str, Data]) -> dict[str, Data]:
        for name, value in task.items():
            try:
                known_name(name, self.definition)
            except UsageError as error:
                raise ValueError(str(error)) from None
            spec = self.definition.inputs.get(name)
            wrong = fits(value, spec.type) if spec is not None else ""
            if wrong and (value is not None or (spec is not None and spec.required)):
                raise ValueError(f"{name} is {wrong}")
        if missing := lacking(self.definition, {**self.inputs, **task}):
            raise ValueError(f"needs the input {', '.join(missing)}")
        return task

    def _bad(self, line: int, what: str) -> None:
        self.skipped += 1
        if self.skip_bad and self.skipped <= NAMED:
            self._named.append((line, what))
        if not self.skip_bad:
            raise UsageError(f"{self._shown}:{line}: {what}; mend it, or go on without it: --skip-bad")


def kept_beside(db: Path) -> Path:
    """Where tasks that came through stdin are kept while their run is not over."""
    return db.with_name(db.name + ".tasks")


def forget(place: Data, db: Path) -> None:
    """The run is over: what was kept of its stdin is of no more use."""
    folder = kept_beside(db)
    if isinstance(place, str) and Path(place).parent == folder:
        Path(place).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, none of them read much further than it may be long."""
    return iter(lambda: file.readline(LONGEST + 1), b"")


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"{name}:{number}: not UTF-8 text; save it as UTF-8") from None


def _kind(value: Data) -> str:
    kinds = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
