"""How busy each agent was over time, in bounded memory however long the run."""

from __future__ import annotations

from collections.abc import Iterable

from agentdeck.core import events as ev

BUCKETS = 512


class Activity:
    """Seconds of work per agent and stretch of time. All stretches are equally long; when there are too many,
    neighbours become one. `start` is where the first begins."""

    def __init__(self) -> None:
        self.start: float | None = None
        self.width = 0.05
        self.work: dict[str, list[float]] = {}
        self.failed: dict[str, list[int]] = {}

    def add(self, agent: str, since: float, until: float, many: float = 1.0) -> None:
        """`many` attempts of the agent ran from `since` to `until`."""
        if until <= since:
            return
        self._reach(since, until)
        assert self.start is not None
        work = self.work.setdefault(agent, [])
        first, last = (int((at - self.start) / self.width) for at in (since, until))
        work.extend([0.0] * (last + 1 - len(work)))
        for place in range(first, last + 1):
            begin = self.start + place * self.width
            work[place] += max(0.0, min(until, begin + self.width) - max(since, begin)) * many

    def fail(self, agent: str, at: float) -> None:
        """An attempt of the agent failed."""
        self._reach(at, at)
        assert self.start is not None
        place = int((at - self.start) / self.width)
        failed = self.failed.setdefault(agent, [])
        failed.extend([0] * (place + 1 - len(failed)))
        failed[place] += 1

    def busy(self, agent: str, since: float, until: float) -> tuple[float, int]:
        """How many attempts ran at once in that time, on average, and how many failed in it."""
        if self.start is None or until <= since:
            return 0.0, 0
        work, failed = self.work.get(agent, []), self.failed.get(agent, [])
        first = max(0, int((since - self.start) / self.width))
        last = max(first + 1, int((until - self.start) / self.width + 0.999))
        spent = 0.0
        for place in range(first, min(last, len(work))):
            begin = self.start + place * self.width
            share = (min(until, begin + self.width) - max(since, begin)) / self.width
            spent += work[place] * max(0.0, share)
        return spent / (until - since), sum(failed[first:last])

    def _reach(self, since: float, until: float) -> None:
        if self.start is None:
            self.start = since
        while since < self.start:
            # Earlier than the first: there is room in front.
            more = int((self.start - since) / self.width) + 1
            self.start -= more * self.width
            for row in self.work.values():
                row[:0] = [0.0] * more
            for counts in self.failed.values():
                counts[:0] = [0] * more
        while until - self.start >= BUCKETS * self.width:
            self.width *= 2
            self.work = {
                name: [sum(row[i : i + 2]) for i in range(0, len(row), 2)] for name, row in self.work.items()
            }
            self.failed = {
                name: [sum(row[i : i + 2]) for i in range(0, len(row), 2)] for name, row in self.failed.items()
            }


def activity(events: Iterable[tuple[int, ev.Event]]) -> Activity:
    """Of a whole run, from its events up to the last one. Agents are named as in `View.agents`."""
    found = Activity()
    running: dict[tuple[str, str, int], tuple[str, float]] = {}
    prefixes: dict[str, str] = {}
    at = 0.0
    for _, event in events:
        at = event.at
        if type(event) is ev.StepStarted:
            name = prefixes.get(event.task, "") + event.agent
            running[event.task, event.step, event.attempt] = name, at
        elif isinstance(event, ev.StepSucceeded | ev.AttemptFailed | ev.AttemptLost):
            name, since = running.pop((event.task, event.step, event.attempt), ("", at))
            if name:
                found.add(name, since, at)
                if type(event) is ev.AttemptFailed:
                    found.fail(name, at)
        elif type(event) is ev.TaskOpened and event.parent is not None:
            above, step = event.parent
            prefixes[event.task] = f"{prefixes.get(above, '')}{step.partition('[')[0]}/"
        elif type(event) is ev.TaskEnded:
            prefixes.pop(event.task, None)
    for name, since in running.values():
        found.add(name, since, at)
    return found
