"""Whether a process holds a run.

A process of this machine holds its run for as long as it lives, whatever its lease says: a machine that slept, a
clock that was set, a store that was locked or full keep it from renewing the lease, and it goes on afterwards.
Of processes on other machines only the lease is known. It is over when it was not renewed for UNRENEWED seconds
of this process's own monotonic clock, or when it ran out longer than BOUND ago: the clocks of two machines
differ, so the time in the lease alone says little.
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

#: Seconds that a lease of another machine may go without being renewed while this process looks on.
UNRENEWED = 15.0
#: Seconds after its end, by this machine's clock, at which a lease of another machine is over in any case.
BOUND = 60.0
#: The columns of `runs` that a `Lease` is made of, in its order.
LEASE_COLUMNS = "run, owner, lease_until, pid, host, machine, process_start"
_REMEMBERED = 10_000


class Lease(NamedTuple):
    """What a run's row says of its holder. `machine` and `start` are None in rows of version 0.1."""

    run: str
    owner: str | None
    until: float | None
    pid: int | None
    host: str | None
    machine: str | None = None
    start: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether its pid says something here."""
        if not self.pid:
            return False
        return self.machine == this_machine() if self.machine else self.host == socket.gethostname()

    @property
    def is_of_earlier_boot(self) -> bool:
        """Whether its process ran here before the machine was started anew."""
        if self.host != socket.gethostname() or not self.machine:
            return False
        boot, _, namespace = self.machine.partition(" ")
        return bool(namespace) and boot != this_machine().partition(" ")[0]


class LeaseObserver:
    """When each lease of another machine was last renewed, as far as this process saw, on its monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def unrenewed(self, lease: Lease) -> float:
        """For how many seconds it has had this end."""
        now, key, until = self._clock(), (lease.run, lease.owner or ""), lease.until or 0.0
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or seen[0] != until:
                if len(self._seen) >= _REMEMBERED:
                    self._seen.clear()
                self._seen[key] = seen = (until, now)
        return now - seen[1]


#: What all of this process has seen.
OBSERVED = LeaseObserver()
#: The owners whose runs this process executes now: it may live on after a run that it could not release.
_HERE: set[str] = set()


def add_local_owner(owner: str) -> None:
    _HERE.add(owner)


def remove_local_owner(owner: str) -> None:
    _HERE.discard(owner)


def held(lease: Lease, now: float, observed: LeaseObserver = OBSERVED) -> bool:
    """Whether a process executes the run. `now` is the time of day."""
    if not lease.owner or lease.until is None:
        return False
    if lease.is_local:
        assert lease.pid is not None
        if lease.start is None:  # version 0.1 did not say when its process began
            return lease.until >= now and is_running(lease.pid)
        if lease.pid == os.getpid() and lease.start == start_of(lease.pid):
            return lease.owner in _HERE
        return is_running(lease.pid, lease.start)
    if lease.is_of_earlier_boot:
        return False
    return now <= lease.until + BOUND and observed.unrenewed(lease) < UNRENEWED


def lease_of(connection: sqlite3.Connection, run: str) -> Lease | None:
    """The lease of a run; None where there is no such run."""
    row = connection.execute(f"SELECT {LEASE_COLUMNS} FROM runs WHERE run = ?", (run,)).fetchone()
    return None if row is None else Lease(*row)
