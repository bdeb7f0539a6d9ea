"""Controls a run from outside its event loop: from a signal handler, a console or a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from agentdeck.scheduler.events import (
    CancelAsked,
    Event,
    LimitChanged,
    RunDrained,
    RunPaused,
    RunUnpaused,
    Signal,
)
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.commands import Request
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data

#: Returns the event to handle at the time given.
Make: TypeAlias = Callable[[float], Event | Signal]


class ControlledEngine(Protocol):
    """The engine as its control uses it. `post` may be called from any thread, `carry_out` on the run's loop."""

    scheduler: Scheduler

    @property
    def view(self) -> RunView: ...

    def post(self, make: Make) -> None: ...

    def carry_out(self, request: Request) -> Data: ...


class RunControl:
    """Thread-safe. Requests made before the run begins are carried out when it begins; after its end, none is.

    `engine` is None until the run begins; then `begun` is called, on the run's loop."""

    def __init__(self, who: str = "", begun: Callable[[], None] | None = None) -> None:
        self.who = who
        self.engine: ControlledEngine | None = None
        self._begun = begun
        self._early: list[Make] = []

    def attach(self, engine: ControlledEngine) -> None:
        """Set the engine of the run, which begins now."""
        self.engine = engine
        for make in self._early:
            engine.post(make)
        if self._begun is not None:
            self._begun()

    def send(self, make: Make) -> None:
        if self.engine is None:
            self._early.append(make)
        else:
            self.engine.post(make)

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
