"""How busy each agent and each worker of a place was over time, in memory that does not grow with the run."""

from __future__ import annotations

from collections.abc import Iterable

from agentdeck.scheduler import events as ev
from agentdeck.views.place_workers import counted
from agentdeck.views.step_transitions import ATTEMPT_ENDS

BUCKETS = 512


def worker_row(worker: str) -> str:
    """The name of a worker's row among those of agents, whose names begin with a letter."""
    return f"@{worker}"


class AgentActivity:
    """Seconds of work per interval, of each agent and, by `worker_row`, of each worker. All intervals are equally
    long; beyond BUCKETS of them, neighbours are merged. `start` is the beginning of the first; events are applied
    up to `until`."""

    def __init__(self) -> None:
        self.start: float | None = None
        self.until = 0.0
        self.width = 0.05
        self.work: dict[str, list[float]] = {}
        self.failed: dict[str, list[float]] = {}

    def add(self, agent: str, since: float, until: float, many: float = 1.0) -> None:
        """`many` attempts of the agent ran from `since` to `until`."""
        if until <= since:
            return
        start = self._reach(since, until)
        work = self.work.setdefault(agent, [])
        first, last = (int((at - start) / self.width) for at in (since, until))
        work.extend([0.0] * (last + 1 - len(work)))
        for place in range(first, last + 1):
            begin = start + place * self.width
            work[place] += max(0.0, min(until, begin + self.width) - max(since, begin)) * many

    def fail(self, agent: str, at: float) -> None:
        """An attempt of the agent failed."""
        place = int((at - self._reach(at, at)) / self.width)
        failed = self.failed.setdefault(agent, [])
        failed.extend([0.0] * (place + 1 - len(failed)))
        failed[place] += 1

    def along(self, agent: str, start: float, cell: float, number: int) -> list[tuple[float, int]]:
        """For so many stretches of `cell` seconds from `start`: how many attempts ran at once on average, and
        how many failed."""
        if self.start is None or cell <= 0:
            return [(0.0, 0)] * number
        work, failed = self.work.get(agent, []), self.failed.get(agent, [])
        width, size = self.width, len(work)
        found: list[tuple[float, int]] = []
        for n in range(number):
            since = (start - self.start + n * cell) / width
            until = since + cell / width
            first, last = max(0, int(since)), int(until)
            spent = 0.0
            for place in range(first, min(last + 1, size)):
                spent += work[place] * (min(until, place + 1) - max(since, place))
            found.append((max(0.0, spent) / cell, int(sum(failed[first : max(last, first + 1)]))))
        return found

    def _reach(self, since: float, until: float) -> float:
        """Make intervals for this time. Returns the beginning of the first one."""
        if self.start is None:
            self.start = since
        while since < self.start:
            # Earlier than the first interval: insert intervals before it.
            more = int((self.start - since) / self.width) + 1
            self.start -= more * self.width
            for row in (*self.work.values(), *self.failed.values()):
                row[:0] = [0.0] * more
        while until - self.start >= BUCKETS * self.width:
            self.width *= 2
            for row in (*self.work.values(), *self.failed.values()):
                row[:] = [sum(row[i : i + 2]) for i in range(0, len(row), 2)]
        return self.start


def agent_activity(events: Iterable[tuple[int, ev.Event]]) -> AgentActivity:
    """Of a whole run, from its events up to the last one. Agents are named as in `View.agents`."""
    found = AgentActivity()
    placed: dict[tuple[str, str], tuple[str, float]] = {}
    workers: set[str] = set()
    running: dict[tuple[str, str], tuple[str, float]] = {}
    prefixes: dict[str, str] = {}
    at = 0.0
    for _, event in events:
        at = event.at
        if type(event) is ev.StepStarted:
            name = prefixes.get(event.task, "") + event.agent
            running[event.task, event.step] = name, at
        elif type(event) is ev.AttemptPlaced:
            worker = counted(event.worker, workers)
            workers.add(worker)
            row, since = placed.pop((event.task, event.step), ("", at))
            found.add(row, since, at)  # a worker took the attempt over from another
            placed[event.task, event.step] = worker_row(worker), at
        elif isinstance(event, ATTEMPT_ENDS):
            name, since = running.pop((event.task, event.step), ("", at))
            if name:
                found.add(name, since, at)
                if type(event) is ev.AttemptFailed:
                    found.fail(name, at)
            name, since = placed.pop((event.task, event.step), ("", at))
            if name:
                found.add(name, since, at)
                if type(event) in (ev.AttemptFailed, ev.AttemptLost):
                    found.fail(name, at)
        elif type(event) is ev.TaskOpened and event.parent is not None:
            above, step = event.parent
            prefixes[event.task] = f"{prefixes.get(above, '')}{step.partition('[')[0]}/"
        elif type(event) is ev.TaskEnded:
            prefixes.pop(event.task, None)
    for name, since in (*running.values(), *placed.values()):
        found.add(name, since, at)
    found.until = at
    return found
