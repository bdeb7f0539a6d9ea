"""The questions of a run that wait for an answer: approvals, those of agents, and a budget that is used up."""

from __future__ import annotations

from agentdeck.scheduler import events as ev

#: The events that ask, and those after which no answer is needed.
KINDS = (
    ev.Noted, ev.StepAnswered, ev.StepFailed, ev.StepSkipped, ev.StepCancelled, ev.StepReopened, ev.TaskEnded,
    ev.RunPaused, ev.RunUnpaused, ev.RunResumed, ev.RunEnded,
)  # fmt: skip
_STEP_ENDS = (ev.StepAnswered, ev.StepFailed, ev.StepSkipped, ev.StepCancelled, ev.StepReopened)


class OpenQuestions:
    """A fold of the events of a run; it needs no others than KINDS. `asked` holds the event of each question, by
    task and step, in the order in which they were asked; `budget` is the pause of a run whose budget is used
    up."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], ev.Noted] = {}
        self.budget: ev.RunPaused | None = None

    def apply(self, event: ev.Event) -> None:
        match event:
            case ev.Noted() if event.asks:
                self._ask(event)
            case ev.TaskEnded(task=task):
                self._drop(task)
            case ev.RunPaused():
                self.budget = event if event.why.startswith("budget") else None
            case ev.RunUnpaused() | ev.RunResumed():
                self.budget = None
            case ev.RunEnded():
                self.budget = None
                self.asked.clear()
            case _ if isinstance(event, _STEP_ENDS):
                self.asked.pop((event.task, event.step), None)

    def _ask(self, event: ev.Noted) -> None:
        """A resumed run asks again what it asked before: that keeps its place and its time."""
        key = event.task, event.step
        before = self.asked.get(key)
        same = before is not None and before.data == event.data
        if not same:
            self.asked.pop(key, None)
            self.asked[key] = event

    def _drop(self, task: str) -> None:
        for key in [key for key in self.asked if key[0] == task or key[0].startswith(task + "/")]:
            del self.asked[key]
