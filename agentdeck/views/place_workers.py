"""The workers of places: how many attempts each has, and how those that it had ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from agentdeck.scheduler.state import DONE, FAILED

#: Workers that are counted each. All others are counted as OTHERS: on some clusters each attempt has a new one.
MOST_WORKERS: Final = 500
OTHERS: Final = "…"


def counted(worker: str, known: Collection[str]) -> str:
    """The name under which a worker is counted, beside those that are known."""
    return worker if worker in known or len(known) < MOST_WORKERS else OTHERS


@dataclass(slots=True, eq=False)
class WorkerTotals:
    """The attempts of one worker: how many are `running`, and how many ended in which way. One that ended with a
    question is `done`, and `cancelled` is also what was skipped or deferred."""

    running: int = 0
    done: int = 0
    failed: int = 0
    lost: int = 0
    cancelled: int = 0


class PlaceWorkers:
    """The workers that the log has named, by name, and the worker of each attempt under way, by task and step."""

    def __init__(self) -> None:
        self.totals: dict[str, WorkerTotals] = {}
        self.live: dict[tuple[str, str], str] = {}

    def place(self, task: str, step: str, worker: str) -> None:
        """A worker has begun the attempt of a step. A second one has taken it over from the first."""
        before = self.live.get((task, step))
        if before is not None:
            self.totals[before].running -= 1
        worker = counted(worker, self.totals)
        self.totals.setdefault(worker, WorkerTotals()).running += 1
        self.live[task, step] = worker

    def end(self, task: str, step: str, outcome: str) -> None:
        """The attempt of a step has ended: done, rejected, failed, lost, deferred, asked, skipped, cancelled."""
        worker = self.live.pop((task, step), None)
        if worker is None:
            return
        totals = self.totals[worker]
        totals.running -= 1
        if outcome in (DONE, "asked"):
            totals.done += 1
        elif outcome == FAILED:
            totals.failed += 1
        elif outcome == "lost":
            totals.lost += 1
        else:
            totals.cancelled += 1

    def restore(self, totals: Mapping[str, WorkerTotals], live: Mapping[tuple[str, str], str]) -> None:
        """Go on with what was counted before."""
        self.totals.update(totals)
        self.live.update(live)
