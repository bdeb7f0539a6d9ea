"""The process that ends agents' processes when their engine dies.

kill -9 leaves an engine no time for that. Each engine process that starts commands has one watcher, in a session
of its own, with the read end of a pipe as stdin. The engine holds the write end, and so do its children between
fork and exec, so when the pipe closes, each child has its mark or has ended. One watcher per engine costs 12 MB
and 30 ms of CPU once. A death signal (PR_SET_PDEATHSIG) would need a wrapper per command and does not reach
grandchildren; a watcher per command would cost 30 ms each.

The lines of the pipe: `+ MARK` a process is about to start; `= MARK PID START` it leads this group; `- MARK` it
has ended; `! MARK` end all processes with this mark now."""

from __future__ import annotations

import os
import select
import signal
import sys

from agentdeck.processes.ending import Group, end

#: Seconds between two checks whether the engine lives, where the system has no pidfd.
LOOK = 0.5


class Watcher:
    """Follows the lines of one engine's pipe."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._rest = b""

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        ended_now = []
        for line in lines:
            verb, mark, *more = line.decode("utf-8", "replace").split(" ", 3)
            if verb == "+":
                self._groups[mark] = Group(mark)
            elif verb == "=" and mark in self._groups:
                self._groups[mark] = Group(mark, int(more[0]), more[1])
            elif verb == "-":
                self._groups.pop(mark, None)
            elif verb == "!":
                ended_now.append(self._groups.pop(mark, Group(mark)))
        if ended_now:
            end(ended_now, grace=0.0)

    def finish(self) -> None:
        if self._groups:
            end([*self._groups.values()], leaderless=True)


def main() -> None:
    """Follow the engine whose pid is the last argument until it has ended, then end its processes."""
    engine = int(sys.argv[-1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # an engine that gets these signals ends its processes itself
    watcher = Watcher()
    inputs, pidfd = [0], _open_pidfd(engine)
    if pidfd is not None:
        inputs.append(pidfd)
    while os.getppid() == engine:
        ready = select.select(inputs, [], [], LOOK)[0]
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            watcher.take(data)
        elif pidfd in ready:  # a process that it forked still holds the pipe
            break
    os.set_blocking(0, False)
    try:
        while data := os.read(0, 65536):
            watcher.take(data)
    except BlockingIOError:
        pass
    watcher.finish()


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
