"""Tasks from a pipe: the run starts with the first tasks, and the pipe may stay open."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentdeck.engine.task_feed import TaskFeed
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.operations.task_files import LONGEST, TaskFile

if TYPE_CHECKING:
    from agentdeck.workflow.model import Data

#: Seconds without input after which the run starts with the tasks that have been read.
SILENT = 0.3
#: Bytes per read.
BLOCK = 65_536
#: Most tasks recorded in one transaction.
BATCH = 500


def is_pipe() -> bool:
    """Whether stdin may deliver slowly. A regular file (`< tasks.jsonl`) is read whole before the run starts."""
    try:
        return not stat.S_ISREG(os.fstat(0).st_mode)
    except OSError:
        return False


class PipedTasks(TaskFeed):
    """Reads stdin in a thread. Each task is recorded before the run receives it, so that `resume` has it; the
    queue of `TaskFeed` bounds how far reading is ahead of the run."""

    def __init__(self, file: TaskFile) -> None:
        super().__init__()
        self._file = file
        self._batch: list[tuple[dict[str, Data], bytes]] = []
        self._last_read = time.monotonic()
        self._ended = threading.Event()
        # Agents and their child processes inherit descriptor 0: they must not read tasks from it.
        self._pipe = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        threading.Thread(target=self._work, name="agentdeck-stdin", daemon=True).start()

    def wait_for_first(self) -> int | None:
        """Wait for the first tasks. Returns the number of all tasks if the pipe has ended by then, else None.
        Raises UsageError if one of them is bad, or if there are none."""
        while not self._ended.wait(0.02) and not self.full:
            if self.waiting and time.monotonic() - self._last_read > SILENT:
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
                for task in self._file.parse(self._lines()):
                    self._batch.append(task)
                    if len(self._batch) == BATCH:
                        self._hand_over()
            finally:
                self._hand_over()
            self.stream.end()
        except AgentdeckError as fault:
            error = fault
        except OSError as fault:
            error = UsageError(f"stdin: {fault.strerror or fault}")
        if self._file.skipped and error is None:
            self._file.report_skipped()
        self.end(error)
        self._ended.set()

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while True:
            self._hand_over()  # the next read may block
            block = os.read(self._pipe, BLOCK)
            self._last_read = time.monotonic()
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > LONGEST:
                yield rest
                return
        if rest:
            yield rest

    def _hand_over(self) -> None:
        """Record the tasks of the batch, then queue them for the run."""
        batch, self._batch = self._batch, []
        if batch:
            self.stream.add([text for _, text in batch])
        for task, _ in batch:
            self.put(task)
