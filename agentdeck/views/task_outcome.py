"""How tasks ended: the fold of the events of a task to its result, the results of its steps, and its error.

`TaskOutcomes` follows a whole run and holds only the tasks that are open, so its memory does not grow with the
number of tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import output_of
from agentdeck.scheduler.state import CANCELLED, DONE, ENDED, FAILED, RUNNING, SKIPPED, WAITING, root_of
from agentdeck.workflow.model import Data


class StepOutcome:
    """One step. `seconds` is how long its last attempt took, None where it had none. `size` is the number of its
    items, -1 for a step without. `why` says why it was skipped or cancelled."""

    __slots__ = ("agent", "attempts", "fault", "output", "seconds", "size", "started", "state", "why")

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.state = WAITING
        self.started = 0.0
        self.seconds: float | None = None
        self.attempts = 0
        self.output: Data = None
        self.fault: Fault | None = None
        self.size = -1
        self.why = ""


class Cause(NamedTuple):
    """Why a task failed: the step that failed first of those that it needed, its agent and its fault. `step` is
    empty where no step is to blame, such as for an `output` that could not be evaluated."""

    step: str
    agent: str
    fault: Fault


class TaskOutcome:
    """One task with its steps. Steps of sub-workflows are among them, under their path: `review/security`. Calls
    through the gateway are not: they are parts of a step, and there may be thousands."""

    __slots__ = ("_calls", "_faults", "inputs", "output", "state", "steps", "task")

    def __init__(self, task: str) -> None:
        self.task = task
        self.state = RUNNING
        self.inputs: dict[str, Data] = {}
        self.output: Data = None
        self.steps: dict[str, StepOutcome] = {}
        #: The faults of the task itself (empty path) and of its nested tasks.
        self._faults: dict[str, Fault | None] = {}
        self._calls: set[str] = set()

    def apply(self, event: Any) -> None:
        """Apply an event of this task, or of a task nested in it. Events of other kinds change nothing."""
        kind, path = type(event), event.task[len(self.task) + 1 :]
        if kind is ev.TaskOpened and event.called:
            self._calls.add(path)
        if path in self._calls:
            if kind is ev.TaskEnded:
                self._calls.discard(path)
            return
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, path, event)

    def step(self, path: str, key: str) -> StepOutcome:
        name = f"{path}/{key}" if path else key
        step = self.steps.get(name)
        if step is None:
            step = self.steps[name] = StepOutcome(key.partition("[")[0])
        return step

    @property
    def cause(self) -> Cause | None:
        """Why the task failed, None where it has not."""
        fault = self._faults.get("")
        return None if fault is None else self._cause("", fault)

    def _cause(self, path: str, fault: Fault) -> Cause:
        """The step that a task's fault names, followed into sub-workflows and into the items of an `each`."""
        key = fault.message.partition(": ")[0]
        name = f"{path}/{key}" if path else key
        step = self.steps.get(name)
        if step is None or step.fault is None:
            return Cause(path, "", fault)
        nested = self._faults.get(name)
        if nested is not None:
            return self._cause(name, nested)
        items = (f"{name}[{number}]" for number in range(step.size))
        failed = next((one for one in items if one in self.steps and self.steps[one].fault is not None), None)
        if failed is None:
            return Cause(name, step.agent, step.fault)
        item = self.steps[failed]
        assert item.fault is not None
        inner = self._faults.get(failed)
        return self._cause(failed, inner) if inner is not None else Cause(failed, item.agent, item.fault)

    # What the events mean

    def _opened(self, path: str, e: ev.TaskOpened) -> None:
        if not path:
            self.inputs = dict(e.inputs)
        else:  # for another round of the step that it is nested in, all of it is new
            self.steps = {name: step for name, step in self.steps.items() if not name.startswith(path + "/")}
            self._faults = {name: one for name, one in self._faults.items() if not name.startswith(path + "/")}
        self._faults.pop(path, None)

    def _ended(self, path: str, e: ev.TaskEnded) -> None:
        if not path:
            self.state, self.output = e.state, e.output
        self._faults[path] = e.fault
        for name, step in self.steps.items():
            if step.state not in ENDED and (not path or name.startswith(path + "/")):
                step.state = CANCELLED

    def _reopened(self, path: str, e: ev.StepReopened) -> None:
        if not path:
            self.state, self.output = RUNNING, None
            self.inputs.update(e.inputs or {})
        self._faults.pop(path, None)
        for key in e.again or (e.step,):
            step = self.step(path, key)
            step.state, step.output, step.fault, step.why = WAITING, None, None, ""

    def _started(self, path: str, e: ev.StepStarted) -> None:
        step = self.step(path, e.step)
        step.state, step.agent, step.started, step.fault = RUNNING, e.agent, e.at, None
        step.attempts += 1

    def _deferred(self, path: str, e: ev.AttemptDeferred) -> None:
        self.step(path, e.step).attempts -= 1

    def _attempt_failed(self, path: str, e: ev.AttemptFailed) -> None:
        step = self.step(path, e.step)
        step.seconds = e.at - step.started

    def _succeeded(self, path: str, e: ev.StepSucceeded) -> None:
        step = self.step(path, e.step)
        step.state, step.output, step.fault = DONE, e.output, None
        if step.attempts:
            step.seconds = e.at - step.started

    def _repeated(self, path: str, e: ev.StepRepeated) -> None:
        self.step(path, e.step).state = WAITING

    def _expanded(self, path: str, e: ev.StepExpanded) -> None:
        step = self.step(path, e.step)
        step.state, step.size = RUNNING, e.size

    def _done(self, path: str, e: ev.StepDone) -> None:
        step = self.step(path, e.step)
        step.state = DONE
        if step.size >= 0:
            items = (self.step(path, f"{e.step}[{number}]") for number in range(step.size))
            step.output = [item.output for item in items]

    def _failed(self, path: str, e: ev.StepFailed) -> None:
        step = self.step(path, e.step)
        step.state, step.output, step.fault = FAILED, None, e.fault

    def _skipped(self, path: str, e: ev.StepSkipped) -> None:
        step = self.step(path, e.step)
        step.state, step.output, step.why = SKIPPED, None, e.why

    def _cancelled(self, path: str, e: ev.StepCancelled) -> None:
        step = self.step(path, e.step)
        step.state, step.output, step.why = CANCELLED, None, e.why

    def _answered(self, path: str, e: ev.StepAnswered) -> None:
        if not e.question:
            step = self.step(path, e.step)
            step.state, step.output, step.seconds = DONE, output_of(e), e.at - step.started


_HANDLERS: dict[type, Callable[[TaskOutcome, str, Any], None]] = {
    ev.TaskOpened: TaskOutcome._opened,
    ev.TaskEnded: TaskOutcome._ended,
    ev.StepReopened: TaskOutcome._reopened,
    ev.StepStarted: TaskOutcome._started,
    ev.AttemptDeferred: TaskOutcome._deferred,
    ev.AttemptFailed: TaskOutcome._attempt_failed,
    ev.StepSucceeded: TaskOutcome._succeeded,
    ev.StepRepeated: TaskOutcome._repeated,
    ev.StepExpanded: TaskOutcome._expanded,
    ev.StepDone: TaskOutcome._done,
    ev.StepFailed: TaskOutcome._failed,
    ev.StepSkipped: TaskOutcome._skipped,
    ev.StepCancelled: TaskOutcome._cancelled,
    ev.StepAnswered: TaskOutcome._answered,
}
#: The events that an outcome is made from.
KINDS = tuple(_HANDLERS)


class TaskOutcomes:
    """Follows the events of a run. `open` holds the tasks that have not ended."""

    def __init__(self) -> None:
        self.open: dict[str, TaskOutcome] = {}

    def apply(self, event: ev.Event) -> TaskOutcome | None:
        """Apply the next event; returns the task that ended with it."""
        if type(event) not in _HANDLERS:
            return None
        task: str = event.task  # type: ignore[union-attr]
        root = root_of(task)
        outcome = self.open.get(root)
        if outcome is None:
            outcome = self.open[root] = TaskOutcome(root)
        outcome.apply(event)
        return self.open.pop(root) if type(event) is ev.TaskEnded and task == root else None
