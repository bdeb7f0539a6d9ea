"""A run as lists show it, with its actual state."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from agentdeck.store.lease import Lease, held
from agentdeck.store.runs import Counts
from agentdeck.workflow.model import Data

#: The columns that `run_from_row` takes.
ROW = (
    "runs.run, workflow, identity, state, runs.started, ended, simulated, tags, source, options,"
    " tasks_total, tasks_done, tasks_failed, tasks_cancelled, summary, owner, lease_until, pid, host,"
    " machine, process_start, idle, pause_reason"
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as lists show it. `state` is the actual one: a run recorded as `running` whose owner died is
    `interrupted`, as is one that drained. `owner` is empty where no process holds the run; `is_local`: whether
    `pid` is one of this machine."""

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
    is_local: bool = False
    idle: float = 0.0
    pause_reason: str = ""

    @property
    def key(self) -> tuple[float, str]:
        """Its place in a list, for `before` of `Reader.runs`."""
        return self.started, self.run

    @property
    def pause_cause(self) -> str:
        """What paused the run: `budget` or `store`; empty where an operator did, or where it is not paused."""
        return self.pause_reason.partition(" ")[0].rstrip(":") if self.state == "paused" else ""

    @property
    def state_text(self) -> str:
        """The state with what paused the run: `running`, `paused: budget`."""
        return f"{self.state}: {self.pause_cause}" if self.pause_cause else self.state

    @property
    def seconds(self) -> float | None:
        """For how long processes have executed it, without the time between them. None where that is not known,
        as its process died."""
        end = time.time() if self.state in ("running", "paused") else self.ended
        if end is None:
            return None
        return max(0.0, end - self.started - self.idle)


def run_from_row(row: tuple[Any, ...]) -> RunRow:
    """A run from the columns `ROW`."""
    run, workflow, identity, state, started, ended, simulated, tags, source, options = row[:10]
    summary, idle, pause_reason = row[14], row[21], row[22]
    lease = Lease(run, *row[15:21])
    if state == "drained" or (state in ("running", "paused") and not held(lease, time.time())):
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
        Counts(*row[10:14]),
        None if summary is None else json.loads(summary),
        lease.owner or "",
        lease.until,
        lease.pid,
        lease.host or "",
        lease.is_local,
        idle,
        pause_reason,
    )
