"""Where inside an attempt something happens: the names of inner steps, from the outermost inwards."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev

#: Between two names: `critic › model`.
INTO = " › "
#: Characters of a place. A longer one loses its beginning.
LONGEST = 200
#: Failed inner steps of an attempt that are remembered, and characters of their messages.
MOST_FAILED = 8
LONGEST_MESSAGE = 300


class Running(NamedTuple):
    """An inner step that runs: where it is, and since when."""

    place: str
    since: float


class InnerPlace:
    """The places of one attempt: of the inner steps that run, by their number, and of those that failed last.
    `idle` is False once an inner step began or ended well after the last failure."""

    def __init__(self) -> None:
        self.running: dict[int, Running] = {}
        self.failed: list[tuple[str, str]] = []
        self.idle = False

    def start(self, e: ev.InnerStarted) -> None:
        above = self.running.get(e.parent)
        place = e.name if above is None else f"{above.place}{INTO}{e.name}"
        if len(place) > LONGEST:
            place = "…" + place[1 - LONGEST :]
        self.running[e.inner] = Running(place, e.at)
        self.idle = False

    def end(self, e: ev.InnerEnded) -> None:
        ended = self.running.pop(e.inner, None)
        self.idle = e.fault is not None
        if ended is not None and e.fault is not None:
            self.failed.append((ended.place, e.fault.message[:LONGEST_MESSAGE]))
            del self.failed[:-MOST_FAILED]

    @property
    def newest(self) -> Running | None:
        """The inner step that began last of those that run; None where none does."""
        return self.running[max(self.running)] if self.running else None

    @property
    def branches(self) -> int:
        """How many of those that run have none inside them that runs: several where a graph has branches."""
        around = {one.place.rpartition(INTO)[0] for one in self.running.values()}
        return sum(one.place not in around for one in self.running.values())

    def of(self, fault: Fault) -> str:
        """Where the attempt failed with this fault: the innermost step that failed with the same message, else
        the one that runs, else the one whose failure was the last thing there. Empty where that is not known."""
        same = [place for place, message in self.failed if message and message in fault.message]
        if same:
            return max((place for place in same if place.startswith(same[-1])), key=len)
        if self.newest is not None:
            return self.newest.place
        return self.failed[-1][0] if self.idle and self.failed else ""


class InnerPlaces:
    """Where inside their attempts the steps of a run failed, for one who follows its events and has no view of
    it. Bounded by the open tasks."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, tuple[int, InnerPlace]]] = {}

    def apply(self, event: ev.Event) -> None:
        """Apply any event of the run."""
        match event:
            case ev.InnerStarted(task=task, step=step):
                steps = self._places.setdefault(task, {})
                if step not in steps or steps[step][0] != event.attempt:
                    steps[step] = event.attempt, InnerPlace()
                steps[step][1].start(event)
            case ev.InnerEnded(task=task, step=step) if step in self._places.get(task, ()):
                self._places[task][step][1].end(event)
            case ev.TaskEnded(task=task):
                self._places.pop(task, None)

    def of(self, e: ev.AttemptFailed | ev.StepFailed) -> str:
        """Where the step failed that this event is about; empty where that is not known."""
        found = self._places.get(e.task, {}).get(e.step)
        return found[1].of(e.fault) if found is not None else ""


def inside(place: str, text: str) -> str:
    """A text on what happened at this place."""
    return f"in {place}: {text}" if place else text
