"""A run as lists show it, and whether anybody runs it now."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdeck.store.runs import Counts
from agentdeck.workflow.model import Data

#: The columns that `run_of` takes.
ROW = (
    "runs.run, workflow, identity, state, runs.started, ended, simulated, tags, source, options,"
    " tasks_total, tasks_done, tasks_failed, tasks_cancelled, summary, owner, lease_until, pid, host"
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as lists show it. `state` is what is true now: a run that says `running` and whose owner died is
    `interrupted` (so is one that drained). `owner` is empty where nobody holds the run."""

    run: str
    workflow: str
    identity: str
    state: str
    started: float
    ended: float | None
    simulated: bool
    tags: tuple[str, ...]
    source: dict[str, Data]
    options: dict[str, Data]
    tasks: Counts
    summary: Data
    owner: str
    lease_until: float | None
    pid: int | None
    host: str

    @property
    def key(self) -> tuple[float, str]:
        """Where it stands in a list: what `before` of `Reader.runs` takes for the next page."""
        return self.started, self.run

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else self.ended - self.started


def run_of(row: tuple[Any, ...]) -> RunRow:
    """The row of the columns `ROW`."""
    (run, workflow, identity, state, started, ended, simulated, tags, source, options) = row[:10]
    total, done, failed, cancelled, summary, owner, lease_until, pid, host = row[10:]
    if state == "drained" or (
        state in ("running", "paused") and not held(owner, lease_until, pid, host, time.time())
    ):
        state = "interrupted"
    return RunRow(
        run,
        workflow,
        identity,
        state,
        started,
        ended,
        bool(simulated),
        tuple(json.loads(tags)),
        json.loads(source),
        json.loads(options),
        Counts(total, done, failed, cancelled),
        None if summary is None else json.loads(summary),
        owner or "",
        lease_until,
        pid,
        host or "",
    )


def held(owner: str | None, until: float | None, pid: int | None, host: str | None, now: float) -> bool:
    """Whether somebody runs it. On this machine a dead process is seen at once, elsewhere when the lease ends."""
    if not owner or until is None or until < now:
        return False
    return not (pid and host == socket.gethostname() and is_dead(pid))


def is_dead(pid: int) -> bool:
    """Gone, or a zombie that its parent has not asked after yet."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return True
    except (OSError, UnicodeDecodeError):
        return False
    return stat.rpartition(")")[2].split()[:1] == ["Z"]
