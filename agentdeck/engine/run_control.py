"""Controls a run from outside its event loop: from a signal handler, a console or a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from agentdeck.scheduler.events import (
    CancelAsked,
    Event,
    LimitChanged,
    RunDrained,
    RunPaused,
    RunUnpaused,
    Signal,
)
from agentdeck.workflow.model import Data

#: Returns the event to handle at the time given.
Make: TypeAlias = Callable[[float], Event | Signal]


class RunControl:
    """Thread-safe. Requests made before the run begins are carried out when it begins; after its end, none is."""

    def __init__(self, who: str = "") -> None:
        self.who = who
        self._post: Callable[[Make], None] | None = None
        self._early: list[Make] = []

    def attach(self, post: Callable[[Make], None]) -> None:
        """Set the engine's entry, which may be called from any thread."""
        self._post = post
        for make in self._early:
            post(make)

    def send(self, make: Make) -> None:
        if self._post is None:
            self._early.append(make)
        else:
            self._post(make)

    def drain(self) -> None:
        """Let running steps finish and start no others; the run can be resumed."""
        self.send(lambda at: RunDrained(at, self.who))

    def cancel(self, task: str = "", step: str = "", *, now: bool = False) -> None:
        """Cancel everything, or a task, or a step of it; `now`: without grace for running attempts."""
        self.send(lambda at: CancelAsked(at, task, step, self.who, now))

    def pause(self) -> None:
        self.send(lambda at: RunPaused(at, "", self.who))

    def unpause(self) -> None:
        self.send(lambda at: RunUnpaused(at, self.who))

    def limit(self, name: str, old: Data, new: Data) -> None:
        self.send(lambda at: LimitChanged(at, name, old, new, self.who))
