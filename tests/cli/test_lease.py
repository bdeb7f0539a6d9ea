"""A run that lives is never taken for dead, whatever keeps its process from saying so."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from agentdeck.processes.identity import start_of
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing
from tests.cli.conftest import Deck
from tests.waiting import until

Until: TypeAlias = Callable[[Callable[[], bool]], None]

WAITS = """
agentdeck: 1
name: waits
agents:
  gate: { approve: { ask: "Really?" } }
  after: { needs: gate, simulate: { takes: 1ms, returns: 2 } }
"""


def begin(deck: Deck) -> tuple[subprocess.Popen[str], str]:
    """A run that waits for an answer."""
    deck.write("waits.yaml", WAITS)
    process = deck.start("run", "waits.yaml", "--wait")
    reader = Reader(deck.db)
    until(lambda: bool(runs := reader.runs(1)) and reader.last_seq(runs[0].run) >= 3)
    run = reader.runs(1)[0].run
    reader.close()
    return process, run


def state(deck: Deck, run: str) -> str:
    (row,) = (row for row in json.loads(deck("runs", "--json").stdout) if row["run"] == run)
    return str(row["state"])


def is_refused(deck: Deck, run: str, process: subprocess.Popen[str]) -> None:
    tried = deck("resume", run)
    assert tried.returncode == 2
    assert f"{run} is running in process {process.pid} on {os.uname().nodename}" in tried.stderr


def ends_undisturbed(deck: Deck, run: str, process: subprocess.Popen[str]) -> None:
    assert deck("approve", run, "gate", "yes").returncode == 0
    assert process.wait(60) == 0
    reader = Reader(deck.db)
    assert not [event for _, event in reader.events(run) if isinstance(event, ev.RunResumed)]
    reader.close()


@contextmanager
def stopped(process: subprocess.Popen[str], db: Path, ahead: float = 0.0) -> Iterator[None]:
    """Suspend the process, but not in the middle of a transaction; its lease is as if the clock went `ahead`."""
    guard = sqlite3.connect(db, isolation_level=None, timeout=10)
    guard.execute("BEGIN IMMEDIATE")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        guard.execute("UPDATE runs SET lease_until = lease_until - ?", (ahead,))
        guard.execute("COMMIT")
        guard.close()
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_a_process_that_is_suspended_for_longer_than_its_lease_holds_its_run(deck: Deck) -> None:
    process, run = begin(deck)
    with stopped(process, deck.db):
        reader = Reader(deck.db)
        until(lambda: (reader.run(run).lease_until or 0.0) < time.time())
        reader.close()
        assert state(deck, run) == "running"
        is_refused(deck, run, process)
    ends_undisturbed(deck, run, process)


def test_a_clock_that_is_set_does_not_interrupt_a_run(deck: Deck) -> None:
    """The observer's clock is an hour ahead of the one that the lease was made with."""
    process, run = begin(deck)
    with stopped(process, deck.db, ahead=3600):
        assert state(deck, run) == "running"
        is_refused(deck, run, process)
    ends_undisturbed(deck, run, process)


def test_a_locked_store_does_not_interrupt_a_run(deck: Deck) -> None:
    process, run = begin(deck)
    guard = sqlite3.connect(deck.db, isolation_level=None, timeout=10)
    guard.execute("BEGIN EXCLUSIVE")
    reader = Reader(deck.db)
    until(lambda: (reader.run(run).lease_until or 0.0) < time.time())
    assert reader.run(run).state in ("running", "paused")
    is_refused(deck, run, process)
    guard.close()
    until(lambda: (reader.run(run).lease_until or 0.0) > time.time())
    reader.close()
    ends_undisturbed(deck, run, process)


def test_a_pid_that_is_used_again_does_not_hold_a_run(deck: Deck) -> None:
    process, run = begin(deck)
    process.kill()
    process.wait()
    connection = open_for_writing(deck.db)
    connection.execute(
        "UPDATE runs SET pid = ?, lease_until = ? WHERE run = ?", (os.getpid(), time.time() + 99, run)
    )
    connection.close()
    assert start_of(os.getpid())
    assert state(deck, run) == "interrupted"
