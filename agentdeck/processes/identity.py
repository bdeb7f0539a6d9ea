"""The identity of a process, which stays unique when its pid is reused.

A process is identified by its pid, its start time, and its machine. `machine` names one boot of one kernel and
one pid namespace: where two of them are equal, pids are comparable. Linux provides all three (/proc); elsewhere
the machine is the host name and the start is what `ps -o lstart=` prints."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

_ENDED = ("Z", "X", "x")  # states of a process that has ended: a zombie that its parent has not waited for yet


class Process(NamedTuple):
    """`start` is empty where the system does not provide it."""

    pid: int
    start: str
    machine: str

    @property
    def alive(self) -> bool:
        """Whether this process runs here; False for one of another machine."""
        return self.machine == this_machine() and is_running(self.pid, self.start)


def this_process() -> Process:
    return Process(os.getpid(), start_of(os.getpid()) or "", this_machine())


@functools.cache
def this_machine() -> str:
    """Boot and pid namespace; the host name where these are not available."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def start_of(pid: int) -> str | None:
    """The start of the process with this pid, in the system's notation. None: there is none, or only a zombie.
    Empty: there is one, and its start cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return _start_by_ps(pid) if _exists(pid) else None
    fields = stat.rpartition(b")")[2].split()
    if len(fields) < 20:
        return ""
    return None if fields[0].decode("ascii", "replace") in _ENDED else fields[19].decode("ascii", "replace")


def is_running(pid: int, start: str = "") -> bool:
    """Whether a process with this pid runs that began at `start`, where that is known."""
    found = start_of(pid)
    return found is not None and (not start or not found or found == start)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and belongs to another user
    return True


def _start_by_ps(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return ""  # /proc hides the processes of others
    try:
        done = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=5,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "/bin:/usr/bin")},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    state, _, start = done.stdout.strip().partition(" ")
    return None if not state or state[:1] in _ENDED else start.strip()
