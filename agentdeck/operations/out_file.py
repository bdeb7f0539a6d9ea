"""`--out FILE`: one JSON line per task of a run.

While the run executes, the file is an observer of it (engine/observers.py): a line is appended when a task has
ended and its end is committed, so a task in the file is never run again after a crash. When the command ends,
the file is replaced by one with a line per ended task, in the order of the tasks, read from the store: a retry
ends tasks a second time, and appended lines would then be duplicates. A process that is killed leaves the
appended lines.

An append that fails (the disk is full) is reported at once; the file then ends with its last whole line, and the
run continues. A file that is not regular (a pipe, /dev/stdout) is only appended to.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from agentdeck.engine.observers import EventBatch
from agentdeck.errors import UsageError
from agentdeck.scheduler import events as ev
from agentdeck.store.final_states import FinalState, final_states
from agentdeck.workflow.model import Data

#: Readable by its owner only, as the store is: it holds the same data.
PRIVATE = 0o600
#: Such a name may lead to a regular file that the shell has opened for another process: never replace it.
DEVICES = ("/dev/", "/proc/")
#: Descriptor 1 is stderr while agents run (cli/run_process.py); these names mean the original stdout.
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def refuse_input(out: str | None, *inputs: Path | str | None) -> None:
    """Raises UsageError if --out names a file that the command reads, or the store: it would be replaced."""
    for one in inputs if out is not None else ():
        if one is not None and Path(str(out)).resolve() == Path(one).resolve():
            raise UsageError(
                f"--out {out}: this is the file {one}, which would be overwritten; name another file"
            )


def result_line(state: FinalState) -> str:
    """The line of `--out` and of `agentdeck results` on an ended task, without the newline."""
    from agentdeck.documents.document import json_text
    from agentdeck.documents.run import ResultLine

    return json_text(ResultLine.of(state), ensure_ascii=True)


class OutFile:
    """The --out file of one command. Does nothing if `name` is None. Memory is bounded by the number of open
    tasks. `report` receives what goes wrong; `failed` is true while the file lacks lines that it should have."""

    def __init__(self, name: str | None, db: Path, report: Callable[[str], None]) -> None:
        """Opens the file without changing it. Raises UsageError."""
        self.name = name
        self.title = f"--out {name}"  # as an observer
        self.db = db
        self.report = report
        self.failed = False
        self._remedy = ""  # the command that writes the whole file later
        self._inputs: dict[str, Mapping[str, Data]] = {}  # of open tasks
        self._fd: int | None = None
        self._size = 0
        self._regular = False
        if name is None:
            return
        refuse_input(name, db)
        try:
            self._fd = _open(name)
            self._regular = _is_replaceable(name, self._fd)
        except OSError as error:
            raise UsageError(f"--out {name}: {error.strerror or error}") from error

    def start_new(self) -> None:
        """Empty the file for a new run."""
        if self._fd is not None and self._regular:
            os.ftruncate(self._fd, 0)

    def continue_run(self, run: str, reopened: Collection[str] = ()) -> None:
        """Write the tasks of a resumed run that have ended, except the `reopened` ones."""
        if self._fd is None or self.name is None:
            return
        self._remedy = self._command(run)
        ended = self._ended(final_states(self.db, run), reopened)
        if not self._regular:
            for state in ended:
                self._append([result_line(state)])
            return
        self.close()
        try:
            write_final(self.name, ended)
            self._fd = _open(self.name)
            self._size = os.fstat(self._fd).st_size
        except OSError as error:
            self._fail(error, "the run continues; ")

    def _ended(self, states: Iterable[FinalState], reopened: Collection[str]) -> Iterator[FinalState]:
        """The states of ended tasks; the inputs of the others are remembered for their lines."""
        for state in states:
            if state.state == "open" or state.task in reopened:
                self._inputs[state.task] = state.inputs
            else:
                yield state

    def observe(self, batch: EventBatch) -> None:
        """Append a line for each task whose end is among these events."""
        if self._fd is not None:
            ended = (self._ended_task(event) for event in batch.events)
            self._append([result_line(state) for state in ended if state is not None])

    def _ended_task(self, event: ev.Event) -> FinalState | None:
        """The final state of the task that ends with this event; else None, and the inputs of open tasks are
        kept up to date."""
        if isinstance(event, ev.RunStarted):
            self._remedy = self._command(event.run)
        elif isinstance(event, ev.TaskOpened):
            if event.parent is None:
                self._inputs[event.task] = event.inputs
        elif isinstance(event, ev.StepReopened):
            if event.inputs and event.task in self._inputs:
                self._inputs[event.task] = {**self._inputs[event.task], **event.inputs}
        elif isinstance(event, ev.TaskEnded) and event.task in self._inputs:
            inputs = dict(self._inputs.pop(event.task))
            error = event.fault.message if event.fault else None
            return FinalState(event.task, event.state, inputs, event.output, error)
        return None

    def finish(self, run: str) -> None:
        """Replace the file by the final states of all tasks. Called when the run has ended."""
        if self.name is None:
            return
        self._remedy = self._command(run)
        regular = self._regular
        self.close()
        if not regular:
            return
        try:
            write_final(self.name, final_states(self.db, run))
            if self.failed:
                self.failed = False
                self.report(f"{self.name}: writing has resumed")
        except OSError as error:
            if not self.failed:
                self._fail(error, "")

    def close(self) -> None:
        """Append nothing more."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _command(self, run: str) -> str:
        return f"agentdeck results {run} --out {shlex.quote(self.name or '')}"

    def _append(self, lines: Iterable[str]) -> None:
        """Append all of these lines, or none of them."""
        data = memoryview("".join(line + "\n" for line in lines).encode())
        if self._fd is None or not data:
            return
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
            self._size += done
        except OSError as error:
            if self._regular:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self._size)
            self._inputs.clear()
            self.close()
            self._fail(error, "the run continues; ")

    def _fail(self, error: OSError, consequence: str) -> None:
        self.failed = True
        remedy = f"its results are in the store; write them with: {self._remedy}" if self._remedy else ""
        self.report(f"{self.name}: {error.strerror or error}; {consequence}{remedy}".rstrip("; "))


def _open(name: str) -> int:
    if name in STDOUT:
        return os.dup(sys.stdout.fileno())
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)


def _is_replaceable(name: str, fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode) and not name.startswith(DEVICES)


def write_results(name: str, states: Iterable[FinalState]) -> tuple[int, int]:
    """Write the final states of a run. Returns the number of ended and of opened tasks. A regular file is
    replaced; a pipe or a device is written to: replacing /dev/null would take it from every process. Raises
    OSError."""
    existed = os.path.lexists(name)
    fd = _open(name)
    try:
        if _is_replaceable(name, fd):
            return write_final(name, states)
        with os.fdopen(os.dup(fd), "w", encoding="utf-8") as file:
            return _write(file, states)
    except OSError:
        if not existed:
            with contextlib.suppress(OSError):
                Path(name).unlink()
        raise
    finally:
        os.close(fd)


def write_final(name: str, states: Iterable[FinalState]) -> tuple[int, int]:
    """Replace the file by one with a line per ended task. Returns the number of ended and of opened tasks. Raises
    OSError, and leaves the file unchanged then."""
    path = Path(name).resolve()
    fd, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            counts = _write(file, states)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE)
        Path(part).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise
    return counts


def _write(file: IO[str], states: Iterable[FinalState]) -> tuple[int, int]:
    ended = opened = 0
    for state in states:
        opened += 1
        if state.state != "open":
            ended += 1
            file.write(result_line(state) + "\n")
    return ended, opened
