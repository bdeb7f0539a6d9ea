"""`--out FILE`: one JSON line per task of a run.

While the run executes, a line is appended when a task has ended and its end is on disk. When the command ends,
the file is replaced by one with a line per ended task, in the order of the tasks, from the store: so it is right
after a retry, which ends tasks a second time. A process that is killed leaves the appended lines.

An append that fails (the disk is full) is reported at once; the file then ends with its last whole line, and the
run goes on. What is not a regular file (a pipe, /dev/stdout) is only appended to.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from agentdeck.cli.error_output import say
from agentdeck.errors import UsageError
from agentdeck.scheduler import events as ev
from agentdeck.store.final_states import FinalState, final_states
from agentdeck.workflow.model import Data

#: Readable by its owner only, as the store is: it holds the same data.
PRIVATE = 0o600
#: Names of streams, which may lead to a regular file that a shell has opened: it is not ours to replace.
DEVICES = ("/dev/", "/proc/")
#: Descriptor 1 is stderr while agents run (cli/process_exit.py); these names mean the stdout that was given.
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def refuse_input(out: str | None, *inputs: Path | str | None) -> None:
    """Raises UsageError where --out names a file that the command reads, or the store: it would be replaced."""
    for one in inputs if out is not None else ():
        if one is not None and Path(str(out)).resolve() == Path(one).resolve():
            raise UsageError(f"--out {out}: this is the file {one}, which would be lost; name another one")


class OutFile:
    """The file of one command. Without a name it does nothing. Holds the inputs of open tasks, no more. `tell` is
    called with what goes wrong; `failed` is set while the file lacks something that it should have."""

    def __init__(self, name: str | None, db: Path) -> None:
        """Opens the file, and changes nothing in it yet. Raises UsageError."""
        self.name = name
        self.db = db
        self.failed = False
        self.tell: Callable[[str], None] = say
        self._hint = ""
        self._open: dict[str, Mapping[str, Data]] = {}
        self._waiting: deque[tuple[int, str]] = deque()
        self._fd: int | None = None
        self._size = 0
        self._regular = False
        if name is None:
            return
        refuse_input(name, db)
        try:
            self._fd = _opened(name)
            self._regular = _is_replaceable(name, self._fd)
        except OSError as error:
            raise UsageError(f"--out {name}: {error.strerror or error}") from error

    def empty(self) -> None:
        """A new run begins: what the file held is of another one."""
        if self._fd is not None and self._regular:
            os.ftruncate(self._fd, 0)

    def begin(self, run: str, leave_out: Collection[str] = ()) -> None:
        """A run goes on: write its tasks that have ended before, without those that go again."""
        if self._fd is None or self.name is None:
            return
        self._hint = self._command(run)
        before = self._not_open(final_states(self.db, run), leave_out)
        if not self._regular:
            for state in before:
                self._append([state.line])
            return
        self.close()
        try:
            write_final(self.name, before)
            self._fd = _opened(self.name)
            self._size = os.fstat(self._fd).st_size
        except OSError as error:
            self._fail(error, "the run goes on; ")

    def _not_open(self, states: Iterable[FinalState], leave_out: Collection[str]) -> Iterator[FinalState]:
        """Those that have ended; the inputs of the others are for the lines that are to come."""
        for state in states:
            if state.state == "open" or state.task in leave_out:
                self._open[state.task] = state.inputs
            else:
                yield state

    def event(self, seq: int, event: ev.Event) -> None:
        if self._fd is None:
            return
        if isinstance(event, ev.RunStarted):
            self._hint = self._command(event.run)
        elif isinstance(event, ev.TaskOpened):
            if event.parent is None:
                self._open[event.task] = event.inputs
        elif isinstance(event, ev.StepReopened):
            if event.inputs and event.task in self._open:
                self._open[event.task] = {**self._open[event.task], **event.inputs}
        elif isinstance(event, ev.TaskEnded) and event.task in self._open:
            inputs = dict(self._open.pop(event.task))
            error = event.fault.message if event.fault else None
            ended = FinalState(event.task, event.state, inputs, event.output, error)
            self._waiting.append((seq, ended.line))

    def kept(self, seq: int) -> None:
        """Everything up to this event is on disk: a task written here is never run again."""
        if not self._waiting or self._waiting[0][0] > seq:
            return
        lines = []
        while self._waiting and self._waiting[0][0] <= seq:
            lines.append(self._waiting.popleft()[1])
        self._append(lines)

    def finish(self, run: str) -> None:
        """The command ends: put the final state of every task into the file. All of the run is on disk."""
        if self.name is None:
            return
        self._hint = self._command(run)
        if self._waiting:
            self.kept(self._waiting[-1][0])
        regular = self._regular
        self.close()
        if not regular:
            return
        try:
            write_final(self.name, final_states(self.db, run))
            if self.failed:
                self.failed = False
                self.tell(f"{self.name}: written now that there is space")
        except OSError as error:
            if not self.failed:
                self._fail(error, "")

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _command(self, run: str) -> str:
        return f"agentdeck results {run} --out {shlex.quote(self.name or '')}"

    def _append(self, lines: Iterable[str]) -> None:
        """All of these lines, or none of them."""
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
            self._open.clear()
            self._waiting.clear()
            self.close()
            self._fail(error, "the run goes on; ")

    def _fail(self, error: OSError, goes_on: str) -> None:
        self.failed = True
        hint = f"its results are in the store; write them with: {self._hint}" if self._hint else ""
        self.tell(f"{self.name}: {error.strerror or error}; {goes_on}{hint}".rstrip("; "))


def _opened(name: str) -> int:
    if name in STDOUT:
        return os.dup(sys.stdout.fileno())
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)


def _is_replaceable(name: str, fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode) and not name.startswith(DEVICES)


def write_results(name: str, states: Iterable[FinalState]) -> tuple[int, int]:
    """Write the final states of a run. A regular file is replaced; a pipe or a device is written to, and stays
    what it is: replacing /dev/null would take it from every process. Raises OSError."""
    existed = os.path.lexists(name)
    fd = _opened(name)
    try:
        if _is_replaceable(name, fd):
            return write_final(name, states)
        ended = opened = 0
        with os.fdopen(os.dup(fd), "w", encoding="utf-8") as file:
            for state in states:
                opened += 1
                if state.state != "open":
                    ended += 1
                    file.write(state.line + "\n")
        return ended, opened
    except OSError:
        if not existed:
            with contextlib.suppress(OSError):
                Path(name).unlink()
        raise
    finally:
        os.close(fd)


def write_final(name: str, states: Iterable[FinalState]) -> tuple[int, int]:
    """Replace the file by one with a line per task that has ended. Returns how many these are, and how many tasks
    were opened. Raises OSError, and leaves the file as it was then."""
    path = Path(name).resolve()
    ended = opened = 0
    fd, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            for state in states:
                opened += 1
                if state.state != "open":
                    ended += 1
                    file.write(state.line + "\n")
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE)
        Path(part).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise
    return ended, opened
