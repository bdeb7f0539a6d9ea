"""The outcome of one event: what is recorded, and what the engine is asked to do."""

from __future__ import annotations

from collections.abc import Callable

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.state import Step

#: Returns what an attempt under way (task, step, number) has used so far; None where that is unknown.
UsageSource = Callable[[str, str, int], ev.Usage | None]


def _unknown(task: str, step: str, attempt: int) -> ev.Usage | None:
    return None


class Recorder:
    """Collects the actions of the event at hand. A recorded event is applied to the state at once.

    `usage_source` is asked when the scheduler itself ends an attempt. The answer is recorded with the end, so the
    log alone gives the same state.
    """

    __slots__ = ("_apply", "actions", "usage_source")

    def __init__(self, fold: Fold) -> None:
        self._apply = fold.apply
        self.actions: list[act.Action] = []
        self.usage_source: UsageSource = _unknown

    def set_usage_source(self, source: UsageSource) -> None:
        self.usage_source = source

    def start(self) -> None:
        """Begin with the next event."""
        self.actions = []

    def record(self, event: ev.Event) -> None:
        self.actions.append(act.Record(event))
        self._apply(event)

    def request(self, action: act.Action) -> None:
        """Ask the engine to carry out an action."""
        self.actions.append(action)

    def cancel_at_once(self) -> None:
        """Let the attempts that the event at hand cancels end without time to clean up."""
        self.actions = [
            action._replace(now=True) if type(action) is act.CancelAttempt else action for action in self.actions
        ]

    def usage_of(self, step: Step) -> ev.Usage | None:
        """What the attempt that is about to be ended has used; zeros where it holds a reservation and that is not
        known."""
        used = self.usage_source(step.task.id, step.key, step.attempt)
        return ev.Usage(0, 0, 0, 0.0, 0.0) if used is None and step.held is not None else used
