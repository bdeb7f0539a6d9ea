"""Task files: JSON lines or CSV, read one line at a time, checked once before anything starts."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from agentdeck.cli.error_output import hint, say
from agentdeck.errors import UsageError
from agentdeck.operations.inputs import known_name, lacking, read
from agentdeck.store.tasks import TaskSpool
from agentdeck.workflow.inputs import fits
from agentdeck.workflow.model import Data, Definition

STDIN = "-"
#: More bytes are not read for one task.
LONGEST = 16_000_000
#: Bad lines that are named one by one.
NAMED = 20


class TaskFile:
    """The tasks of a file, or of stdin, for one workflow. Iterating opens the file anew; stdin can be read once.

    A line that is no task ends the iteration with a UsageError that names it, or is left out with `skip_bad`.
    """

    def __init__(
        self,
        name: str,
        definition: Definition,
        inputs: Mapping[str, Data] | None = None,
        *,
        skip_bad: bool = False,
    ) -> None:
        self.name = name
        self.definition = definition
        self.inputs = dict(inputs or {})
        self.skip_bad = skip_bad
        self.skipped = 0
        self._named: list[tuple[int, str]] = []
        if name != STDIN and Path(name).suffix.lower() not in (".jsonl", ".ndjson", ".csv"):
            raise UsageError(f"{name}: tasks come from a .jsonl or .csv file, or from stdin (-)")

    @property
    def place(self) -> str:
        """Where these tasks came from, for lists of runs; `-` for stdin."""
        return STDIN if self.name == STDIN else str(Path(self.name).resolve())

    @property
    def _shown(self) -> str:
        return "stdin" if self.name == STDIN else self.name

    def count(self) -> int:
        """Read all of it once: how many tasks there are. Raises UsageError at the first line that is none."""
        return self._read(lambda line: None)

    def spool(self) -> TaskSpool:
        """All tasks, read once: a file that changes afterwards changes nothing in the run. Raises UsageError at
        the first line that is none."""
        spool = TaskSpool()
        self._read(spool.add)
        return spool

    def _read(self, take: Callable[[bytes], None]) -> int:
        """Hand every task to `take` as a line of JSON; how many there were."""
        self.skipped = number = 0
        self._named.clear()
        for _, line in self._each(self._raw()):
            take(line)
            number += 1
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
        return (task for task, _ in self._each(self._raw()))

    def tasks(self, lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Data], bytes]]:
        """The tasks that these lines of JSON are, each with its text."""
        return self._each(self._json(lines))

    def _each(self, raw: Iterable[tuple[int, Data, bytes]]) -> Iterator[tuple[dict[str, Data], bytes]]:
        for line, task, text in raw:
            try:
                yield self._checked(task), text or json.dumps(task).encode()
            except ValueError as error:
                self._bad(line, str(error))

    def _raw(self) -> Iterator[tuple[int, Data, bytes]]:
        """Each task with the number of its line, and its text where that is JSON already."""
        if self.name == STDIN:
            yield from self._json(_lines(sys.stdin.buffer))
            return
        try:
            with Path(self.name).open("rb") as file:
                yield from self._csv(file) if self.name.lower().endswith(".csv") else self._json(_lines(file))
        except OSError as error:
            raise UsageError(f"{self.name}: {error.strerror or error}") from error

    def _json(self, lines: Iterable[bytes]) -> Iterator[tuple[int, Data, bytes]]:
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
            yield number, task, text.strip(" \t\r\n").encode()

    def _csv(self, lines: Iterable[bytes]) -> Iterator[tuple[int, Data, bytes]]:
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
                yield reader.line_num, task, b""
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


def forget(place: Data, db: Path) -> None:
    """The run is over: version 0.1 wrote what came through stdin into a file beside the store."""
    folder = db.with_name(db.name + ".tasks")
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
