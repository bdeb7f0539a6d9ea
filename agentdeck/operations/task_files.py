"""Task files: JSON lines or CSV, read line by line and checked before a run starts."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeAlias

from agentdeck.errors import UsageError
from agentdeck.operations.inputs import check_name, missing_inputs, read
from agentdeck.store.tasks import TaskSpool
from agentdeck.workflow.model import Data, Definition
from agentdeck.workflow.wording import fits

STDIN = "-"
#: Longest line of JSON, in bytes.
LONGEST = 16_000_000
#: Skipped lines that are reported one by one.
REPORTED = 20

#: Called with a sentence and with details, one per line.
Report: TypeAlias = Callable[[str, Sequence[str]], None]


def ignore(text: str, details: Sequence[str] = ()) -> None:
    """The report function of a caller that shows nothing."""


class TaskFile:
    """The tasks of a file, or of stdin, for one workflow. Each iteration opens the file; stdin can be read once.

    A line that is not a task raises UsageError with the line's number; with `skip_bad` it is left out, and
    `report` receives the lines that were left out.
    """

    def __init__(
        self,
        name: str,
        definition: Definition,
        inputs: Mapping[str, Data] | None = None,
        *,
        skip_bad: bool = False,
        report: Report = ignore,
    ) -> None:
        self.name = name
        self.definition = definition
        self.inputs = dict(inputs or {})
        self.skip_bad = skip_bad
        self.report = report
        self.skipped = 0
        self._first_skipped: list[tuple[int, str]] = []
        if name != STDIN and Path(name).suffix.lower() not in (".jsonl", ".ndjson", ".csv"):
            raise UsageError(f"{name}: tasks come from a .jsonl or .csv file, or from stdin (-)")

    @property
    def source(self) -> str:
        """The path that the run's record names; `-` for stdin."""
        return STDIN if self.name == STDIN else str(Path(self.name).resolve())

    @property
    def _label(self) -> str:
        return "stdin" if self.name == STDIN else self.name

    def count(self) -> int:
        """The number of tasks, after reading all of them. Raises UsageError at the first bad line."""
        return self._read(lambda line: None)

    def spool(self) -> TaskSpool:
        """A copy of all tasks, so that a later change of the file does not affect the run. Raises UsageError at
        the first bad line."""
        spool = TaskSpool()
        self._read(spool.add)
        return spool

    def _read(self, consume: Callable[[bytes], None]) -> int:
        """Pass every task to `consume` as a line of JSON. Returns the number of tasks."""
        self.skipped = number = 0
        self._first_skipped.clear()
        for _, line in self._tasks(self._records()):
            consume(line)
            number += 1
        if self.skipped:
            self.report_skipped()
        if not number:
            raise UsageError(f"{self._label} has no tasks")
        return number

    def report_skipped(self) -> None:
        """Report how many lines were left out, with the reason for the first REPORTED of them."""
        details = [f"{self._label}:{line}: {what}" for line, what in self._first_skipped]
        if self.skipped > len(details):
            details.append(f"… and {self.skipped - len(details):,} more")
        bad = f"{self.skipped:,} bad line{'s' * (self.skipped > 1)}"
        self.report(f"{self._label}: {bad} left out", details)

    def __iter__(self) -> Iterator[dict[str, Data]]:
        self.skipped = 0
        self._first_skipped.clear()
        return (task for task, _ in self._tasks(self._records()))

    def parse(self, lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Data], bytes]]:
        """The tasks in these lines of JSON, each with its text."""
        return self._tasks(self._json(lines))

    def _tasks(self, records: Iterable[tuple[int, Data, bytes]]) -> Iterator[tuple[dict[str, Data], bytes]]:
        for line, task, text in records:
            try:
                yield self._checked(task), text or json.dumps(task).encode()
            except ValueError as error:
                self._skip(line, str(error))

    def _records(self) -> Iterator[tuple[int, Data, bytes]]:
        """(line number, task, the task's text if that is JSON)."""
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
                raise UsageError(
                    f"{self._label}:{number}: a line of more than {LONGEST // 10**6} MB is too long for a task"
                )
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                task = json.loads(text)
            except UnicodeDecodeError:
                self._skip(number, "not UTF-8 text")
                continue
            except (ValueError, RecursionError) as error:
                self._skip(number, f"not JSON ({error})")
                continue
            if not isinstance(task, dict):
                self._skip(number, f"not a JSON object but {_kind(task)}")
                continue
            yield number, task, text.strip(" \t\r\n").encode()

    def _csv(self, lines: Iterable[bytes]) -> Iterator[tuple[int, Data, bytes]]:
        reader = csv.reader(_decoded(lines, self.name))
        try:
            header = [name.strip() for name in next(reader, [])]
            if not header or not all(header):
                raise UsageError(f"{self.name}:1: the first line of a CSV file names the inputs")
            for name in header:
                check_name(name, self.definition)
            for row in reader:
                if not row:
                    continue
                try:
                    yield reader.line_num, self._csv_task(header, row), b""
                except ValueError as error:
                    self._skip(reader.line_num, str(error))
        except csv.Error as error:
            raise UsageError(f"{self.name}:{reader.line_num}: not CSV ({error})") from error

    def _csv_task(self, header: Sequence[str], row: Sequence[str]) -> dict[str, Data]:
        """The task of one row. Raises ValueError."""
        if len(row) != len(header):
            raise ValueError(f"{len(row)} values for {len(header)} columns")
        task: dict[str, Data] = {}
        for name, text in zip(header, row, strict=True):
            spec = self.definition.inputs.get(name)
            if text == "" and spec is not None and (not spec.required or spec.type.kind != "string"):
                continue  # an empty cell gives no value: the default applies
            try:
                task[name] = read(text, spec.type) if spec else text
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return task

    def _checked(self, task: dict[str, Data]) -> dict[str, Data]:
        """The task. Raises ValueError if it does not fit the workflow's inputs."""
        for name, value in task.items():
            try:
                check_name(name, self.definition)
            except UsageError as error:
                raise ValueError(str(error)) from None
            spec = self.definition.inputs.get(name)
            wrong = fits(value, spec.type) if spec is not None else ""
            if wrong and (value is not None or (spec is not None and spec.required)):
                raise ValueError(f"{name} is {wrong}")
        if missing := missing_inputs(self.definition, {**self.inputs, **task}):
            raise ValueError(f"needs the input {', '.join(missing)}")
        return task

    def _skip(self, line: int, what: str) -> None:
        """Count a bad line as left out. Raises UsageError without `skip_bad`."""
        self.skipped += 1
        if not self.skip_bad:
            raise UsageError(f"{self._label}:{line}: {what}; correct it, or leave out such lines with --skip-bad")
        if self.skipped <= REPORTED:
            self._first_skipped.append((line, what))


def remove_stdin_copy(tasks: Data, db: Path) -> None:
    """Delete the file beside the store into which version 0.1 copied the tasks of stdin, once the run is over."""
    folder = db.with_name(db.name + ".tasks")
    if isinstance(tasks, str) and Path(tasks).parent == folder:
        Path(tasks).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file. A line is cut one byte after LONGEST, so that it cannot fill the memory."""
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
