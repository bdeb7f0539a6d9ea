"""Which process holds a run: by its identity on this machine, by its lease elsewhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agentdeck.processes import identity
from agentdeck.processes.identity import Process, is_running, start_of, this_machine, this_process
from agentdeck.store.lease import (
    BOUND,
    LOCAL_OWNERS,
    UNRENEWED,
    Lease,
    LeaseObserver,
    held,
)

NOW = 1_789_000_000.0
HOUR = 3600.0


@pytest.fixture
def other() -> Iterator[Process]:
    """A process that lives as long as the test."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = start_of(child.pid)
    assert start
    yield Process(child.pid, start, this_machine())
    child.communicate()


def lease(of: Process, until: float = NOW, **changes: Any) -> Lease:
    return Lease("r", "o", until, of.pid, "here", of.machine, of.start)._replace(**changes)


@pytest.mark.parametrize("step", [-HOUR, 0.0, 3.0, HOUR, 365 * 24 * HOUR])
def test_a_process_of_this_machine_holds_its_run_whatever_the_clock_says(other: Process, step: float) -> None:
    assert held(lease(other), NOW + step)


def test_a_pid_that_is_used_again_holds_nothing(other: Process) -> None:
    assert not held(lease(other, NOW + HOUR, start=str(int(other.start) - 1)), NOW)
    assert not held(lease(other, NOW + HOUR, pid=2**22 - 3), NOW)


def test_a_process_of_an_earlier_boot_holds_nothing(other: Process) -> None:
    earlier = lease(other, NOW + 1, machine="11111111 pid:[1]", host=socket.gethostname())
    assert not held(earlier, NOW)


def test_a_process_of_another_container_holds_its_run_by_its_lease(other: Process) -> None:
    """Pids of another namespace say nothing here."""
    boot = other.machine.partition(" ")[0]
    away = lease(other, machine=f"{boot} pid:[1]", host=socket.gethostname())
    assert held(away, NOW + 1)
    assert not held(away, NOW + BOUND + 1)


def test_a_lease_of_another_machine_is_over_when_it_is_not_renewed_while_this_one_looks_on(
    other: Process,
) -> None:
    passed = 100.0
    observed = LeaseObserver(lambda: passed)
    away = lease(other, machine="elsewhere")
    assert held(away, NOW + 3, observed), "its clock may be behind this one"
    passed += UNRENEWED / 2
    assert held(away._replace(until=NOW + 1), NOW + 3, observed), "it was renewed"
    passed += UNRENEWED / 2
    assert held(away._replace(until=NOW + 1), NOW + 3, observed)
    passed += UNRENEWED / 2
    assert not held(away._replace(until=NOW + 1), NOW - HOUR, observed), "whatever the time of day is"


def test_this_process_holds_what_it_executes_and_no_more() -> None:
    mine = lease(this_process())
    assert not held(mine, NOW)
    LOCAL_OWNERS.add("o")
    assert held(mine, NOW + HOUR)
    LOCAL_OWNERS.discard("o")
    assert not held(mine, NOW)


def test_rows_of_the_first_version_go_by_pid_and_lease(other: Process) -> None:
    row = Lease("r", "o", NOW, other.pid, socket.gethostname())
    assert held(row, NOW - 1)
    assert not held(row, NOW + 1)
    assert not held(row._replace(pid=2**22 - 3), NOW - 1)


def test_a_process_is_told_from_another_one_with_its_pid() -> None:
    me = this_process()
    assert me.alive
    assert me.pid == os.getpid()
    assert not me._replace(start="1").alive
    assert not me._replace(machine="another").alive
    assert is_running(me.pid)
    assert start_of(2**22 - 3) is None


def test_without_proc_the_start_is_what_ps_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems other than Linux."""

    class NoProc(type(identity.Path())):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            raise FileNotFoundError

        def exists(self, **_: bool) -> bool:
            return False

    if subprocess.run(["which", "ps"], capture_output=True, check=False).returncode:
        pytest.skip("there is no ps here")
    monkeypatch.setattr(identity, "Path", NoProc)
    found = start_of(os.getpid())
    assert found
    assert time.strptime(found, "%a %b %d %H:%M:%S %Y")
    assert start_of(2**22 - 3) is None
