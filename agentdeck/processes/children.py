"""The child processes of an engine: each gets a mark and is registered with the watcher."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from agentdeck.processes.ending import MARK
from agentdeck.processes.identity import start_of

_ROOT = str(Path(__file__).parents[2])
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from agentdeck.processes.watcher import main; main()"
#: Seconds within which a watcher that ends is not replaced at once.
_AT_ONCE = 1.0
#: Seconds for which the exit of this process waits for the watcher.
_PATIENCE = 2.0


class Child(NamedTuple):
    """A process that an attempt started, as it is recorded. `pid` is also the number of its group, and 0 where
    it is not known; MCP servers belong to no task."""

    mark: str
    pid: int = 0
    start: str = ""
    task: str = ""
    step: str = ""
    attempt: int = 0


class _WatcherProcess:
    """The watcher of this process. It is started with the first child, and again if it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, list[str]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @property
    def running(self) -> bool:
        return self._process is not None

    def send(self, verb: str, mark: str, *more: object) -> None:
        line = " ".join((verb, mark, *map(str, more))) + "\n"
        with self._lock:
            if verb in "+=":
                self._lines.setdefault(mark, []).append(line)
            else:
                self._lines.pop(mark, None)
            if self._process is None:
                self._start()
            elif not self._write(line):
                self._close()
                self._start(line if verb == "!" else "")

    def _start(self, more: str = "") -> None:
        """Start a watcher and register all children. Where none can be started, commands run without one."""
        read, self._pipe = os.pipe()
        try:
            environ = {name: value for name, value in os.environ.items() if name != MARK}
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, str(os.getpid())],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environ,
                start_new_session=True,
            )
        except OSError:
            os.close(self._pipe)
            return
        finally:
            os.close(read)
        os.set_blocking(self._pipe, False)
        self._write("".join(line for lines in self._lines.values() for line in lines) + more)
        threading.Thread(
            target=self._follow, args=(self._process,), name="agentdeck-watcher", daemon=True
        ).start()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread: replace a watcher that was killed; one that ended at once is replaced with the next
        child."""
        since = time.monotonic()
        process.wait()
        with self._lock:
            if self._process is process and time.monotonic() - since > _AT_ONCE:
                self._close()
                self._start()

    def _write(self, text: str) -> bool:
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._pipe, data) :]
        except OSError:
            return False
        return True

    def _close(self) -> None:
        if self._process is not None:
            os.close(self._pipe)
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self, *, only_idle: bool = False) -> None:
        """This process ends: the watcher ends all remaining children, and then itself. With `only_idle` a run has
        ended: no watcher ends that has children of another run. The next child starts a new one."""
        with self._lock:
            if self._process is not None and not (only_idle and self._lines):
                os.close(self._pipe)
                process, self._process = self._process, None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)

    def forked(self) -> None:
        """In a child made by `os.fork`: the watcher belongs to the parent."""
        if self._process is not None:
            os.close(self._pipe)
            self._process.returncode = 0  # not this process's to wait for
        self.__init__()  # type: ignore[misc]


_WATCHER = _WatcherProcess()
atexit.register(_WATCHER.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WATCHER.forked)


class Children:
    """The child processes of one run. `record` is called with each that has started, `forget` with the mark of
    each that has ended."""

    def __init__(
        self, record: Callable[[Child], object] | None = None, forget: Callable[[str], object] | None = None
    ) -> None:
        self._record = record
        self._forget = forget

    async def close(self) -> None:
        """The run is over."""
        if _WATCHER.running:
            await anyio.to_thread.run_sync(partial(_WATCHER.end, only_idle=True))

    @contextmanager
    def child(self, task: str = "", step: str = "", attempt: int = 0) -> Iterator[StartingProcess]:
        """Covers the life of one process, from before its start. When the block ends normally, processes that it
        left in a session of their own continue; when it raises, all are ended."""
        mark = secrets.token_hex(12)
        child = StartingProcess(Child(mark, task=task, step=step, attempt=attempt), self._record)
        _WATCHER.send("+", mark)
        verb = "!"
        try:
            yield child
            verb = "!" if child.ends_whole else "-"
        finally:
            _WATCHER.send(verb, mark)
            if self._forget is not None and child.recorded:
                self._forget(mark)


class StartingProcess:
    """A process that is about to start. `ends_whole`: none of its processes may outlive the block."""

    def __init__(self, child: Child, record: Callable[[Child], object] | None) -> None:
        self.child = child
        self.ends_whole = False
        self.recorded = False
        self._record = record

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment with the mark added."""
        return {**env, MARK: self.child.mark}

    def started(self, pid: int = 0) -> None:
        """The process has started and leads a group of its own; without a pid, only its mark is known."""
        self.child = self.child._replace(pid=pid, start=(start_of(pid) or "") if pid else "")
        if pid:
            _WATCHER.send("=", self.child.mark, pid, self.child.start)
        if self._record is not None:
            self._record(self.child)
            self.recorded = True
