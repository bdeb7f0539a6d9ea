"""Tasks from a pipe, taken as they come: the run begins with the first ones, and a pipe may go on for ever."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentdeck.cli.tasks import LONGEST, TaskFile
from agentdeck.engine.task_feed import Arriving
from agentdeck.errors import AgentdeckError, UsageError

if TYPE_CHECKING:
    from agentdeck.workflow.model import Data

#: A pipe that brought something and is then silent for this long is slow: the run begins with what there is.
SILENT = 0.3
BLOCK = 65_536
#: Tasks recorded together at most.
BATCH = 500


def is_pipe() -> bool:
    """Whether stdin is something that may be slow. A file (`< tasks.jsonl`) is read whole beforehand."""
    try:
        return not stat.S_ISREG(os.fstat(0).st_mode)
    except OSError:
        return False


class Incoming(Arriving):
    """Reads stdin in a thread of its own. What is read is recorded before the run gets it, so `resume` still has
    it; no more is read than the run is a little ahead of."""

    def __init__(self, file: TaskFile) -> None:
        super().__init__()
        self._file = file
        self._batch: list[tuple[dict[str, Data], bytes]] = []
        self._read = time.monotonic()
        self._ended = threading.Event()
        # From here on stdin is nobody else's: neither agents nor their children take tasks away.
        self._pipe = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        threading.Thread(target=self._work, name="agentdeck-stdin", daemon=True).start()

    def begin(self) -> int | None:
        """Wait for the first tasks. How many there are in all, if the pipe has ended by then. Raises UsageError
        where one of them is bad, or there is none."""
        while not self._ended.wait(0.02) and not self.full:
            if self.waiting and time.monotonic() - self._read > SILENT:
                break
        if not self._ended.is_set():
            return None
        if self.error is not None:
            raise self.error
        if self.waiting == 1:
            raise UsageError("stdin has no tasks")
        return self.waiting - 1

    def _work(self) -> None:
        error: AgentdeckError | None = None
        try:
            try:
                for task in self._file.tasks(self._lines()):
                    self._batch.append(task)
                    if len(self._batch) == BATCH:
                        self._give()
            finally:
                self._give()
            self.stream.end()
        except AgentdeckError as fault:
            error = fault
        except OSError as fault:
            error = UsageError(f"stdin: {fault.strerror or fault}")
        if self._file.skipped and error is None:
            self._file.tell_skipped()
        self.end(error)
        self._ended.set()

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while True:
            self._give()  # before waiting for more
            block = os.read(self._pipe, BLOCK)
            self._read = time.monotonic()
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > LONGEST:
                yield rest
                return
        if rest:
            yield rest

    def _give(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self.stream.add([text for _, text in batch])
        for task, _ in batch:
            self.put(task)
