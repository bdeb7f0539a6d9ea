"""Finds and ends the processes that agents started, with all their descendants.

A process leaves its group only by calling `setsid`. The mark in its environment is inherited across that too,
and can be read in /proc on Linux. A process is an agent's if it has a mark, or is in a group whose leader has a
mark or is the process that was recorded."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from agentdeck.processes.identity import start_of

#: The environment variable that holds the mark.
MARK = "AGENTDECK_PROCESS"
#: Seconds from TERM to KILL.
GRACE = 0.8
#: Seconds after which processes that cannot be killed are abandoned: they wait for a device.
PATIENCE = 5.0
PAUSE = 0.02
#: A process has no mark for less than a millisecond while it executes another program: checks before it counts
#: as gone.
LOOKS = 3


class Group(NamedTuple):
    """A marked process that leads a group. `pid` 0: only the mark is known."""

    mark: str
    pid: int = 0
    start: str = ""


def end(groups: Collection[Group], grace: float = GRACE, *, leaderless: bool = False) -> int:
    """Send TERM to all living processes of these groups, and KILL to those left after the grace. Returns how
    many there were. A group without its leader is ended only if it is `leaderless`: known to be the same
    group."""
    marks = {one.mark for one in groups}
    led = {one.pid for one in groups if one.pid and _is_the_same(one, leaderless)}
    seen: set[int] = set()
    begun, quiet = time.monotonic(), 0
    signalled: set[int] = set()
    while time.monotonic() < begun + PATIENCE:
        alive = _members(marks, led)
        quiet = 0 if alive else quiet + 1
        if quiet >= LOOKS:
            break
        seen |= alive
        kill = time.monotonic() >= begun + grace
        for pid in alive:
            if kill or pid not in signalled:
                signalled.add(pid)
                _signal(pid, signal.SIGKILL if kill else signal.SIGTERM)
        time.sleep(PAUSE)
    return len(seen)


def marked(marks: Iterable[str]) -> Iterator[int]:
    """The processes with one of these marks, on Linux, except for this one."""
    wanted, name, me = {mark.encode() for mark in marks}, MARK.encode() + b"=", os.getpid()
    for pid in _all():
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or belongs to another user
        if pid != me and any(entry.startswith(name) and entry[len(name) :] in wanted for entry in entries):
            yield pid


def _members(marks: set[str], led: set[int]) -> set[int]:
    """All living processes with these marks and in the groups of `led`. Adds groups whose leader has a mark to
    `led`. (A command that reads a key has a mark, and is in the engine's group.)"""
    found = set(marked(marks))
    led.update(pid for pid in found if _group_of(pid) == pid)
    if not led:
        return found
    groups = {pid: _group_of(pid) for pid in _all()}
    if not groups:  # there is no /proc; a negative number signals the whole group
        return {-pid for pid in led if _exists(-pid)}
    return found | {pid for pid, group in groups.items() if group in led}


def _is_the_same(group: Group, leaderless: bool) -> bool:
    found = start_of(group.pid)
    return found == group.start if found else leaderless


def _all() -> Iterator[int]:
    try:
        names = os.listdir("/proc")  # noqa: PTH208
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


def _group_of(pid: int) -> int:
    """The group of a living process; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[2]) if len(fields) > 2 and fields[0] not in (b"Z", b"X") else 0


def group_lives(group: int) -> bool:
    """Whether a process of the group still runs, not counting zombies where /proc shows them."""
    if not _exists(-group):
        return False
    groups = {_group_of(pid) for pid in _all()}
    return group in groups or groups <= {0}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended, or belongs to another user
        os.kill(pid, number)
