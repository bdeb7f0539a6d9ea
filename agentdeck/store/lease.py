"""Whether a process holds (executes) a run.

A process of this machine holds its run as long as it lives, whatever its lease says: a suspended machine, a clock
that was set, a store that was locked or full can keep it from renewing the lease, and it continues afterwards. Of
processes on other machines only the lease is known. It has expired when it was not renewed for UNRENEWED seconds
of this process's monotonic clock, or when its end is more than BOUND seconds ago: the clocks of two machines
differ, so the end alone is not reliable.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from agentdeck.processes.identity import is_running, start_of, this_machine

#: Seconds without a renewal after which this process regards a lease of another machine as expired.
UNRENEWED = 15.0
#: Seconds after its end, by this machine's clock, at which a lease of another machine has expired in any case.
BOUND = 60.0
#: The columns of `runs` that make a `Lease`, in its order.
LEASE_COLUMNS = "run, owner, lease_until, pid, host, machine, process_start"
_REMEMBERED = 10_000


class Lease(NamedTuple):
    """The holder in a run's row. `machine` and `start` are None in rows of version 0.1."""

    run: str
    owner: str | None
    until: float | None
    pid: int | None
    host: str | None
    machine: str | None = None
    start: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether its process is, or was, one of this machine."""
        if not self.pid:
            return False
        return self.machine == this_machine() if self.machine else self.host == socket.gethostname()

    @property
    def is_of_earlier_boot(self) -> bool:
        """Whether its process ran on this machine before the last boot."""
        if self.host != socket.gethostname() or not self.machine:
            return False
        boot, _, namespace = self.machine.partition(" ")
        return bool(namespace) and boot != this_machine().partition(" ")[0]


class LeaseObserver:
    """When this process first saw the current end of each lease of other machines, by its monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def unrenewed(self, lease: Lease) -> float:
        """Seconds since the lease was last seen to be renewed."""
        now, key, until = self._clock(), (lease.run, lease.owner or ""), lease.until or 0.0
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or seen[0] != until:
                if len(self._seen) >= _REMEMBERED:
                    self._seen.clear()
                self._seen[key] = seen = (until, now)
        return now - seen[1]


#: The observer of this process.
OBSERVED = LeaseObserver()
#: The owners whose runs this process executes now. It may outlive a run that it could not release.
LOCAL_OWNERS: set[str] = set()


def held(lease: Lease, now: float, observed: LeaseObserver = OBSERVED) -> bool:
    """Whether a process executes the run. `now` is the time of day."""
    if not lease.owner or lease.until is None:
        return False
    if lease.is_local:
        assert lease.pid is not None
        if lease.start is None:  # version 0.1 did not record when its process started
            return lease.until >= now and is_running(lease.pid)
        if lease.pid == os.getpid() and lease.start == start_of(lease.pid):
            return lease.owner in LOCAL_OWNERS
        return is_running(lease.pid, lease.start)
    if lease.is_of_earlier_boot:
        return False
    return now <= lease.until + BOUND and observed.unrenewed(lease) < UNRENEWED


def lease_of(connection: sqlite3.Connection, run: str) -> Lease | None:
    """The lease of a run; None where there is no such run."""
    row = connection.execute(f"SELECT {LEASE_COLUMNS} FROM runs WHERE run = ?", (run,)).fetchone()
    return None if row is None else Lease(*row)
