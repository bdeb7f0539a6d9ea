"""Steps that are more than one attempt: `when`, `each`, dispatch, rounds, and sub-workflows."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdeck.errors import AgentdeckError, Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.attempts import Attempts
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.ready_queue import ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.scope import evaluate_items, leaf_results, output_scope, scope_of
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, OPEN, Step, Task
from agentdeck.workflow.expressions import Template, is_light
from agentdeck.workflow.model import Data, Dispatch


@dataclass(slots=True, eq=False)
class Expansion:
    """Decides what becomes of such a step when it is ready, and after each part of it has ended."""

    _state: RunState
    _queue: ReadyQueue
    _recorder: Recorder
    _attempts: Attempts
    _failures: Failures
    #: The tasks whose output the engine renders, each with the number of its last request.
    rendering: dict[str, tuple[int, Task]] = field(default_factory=dict, init=False)
    _last: int = field(default=0, init=False)

    # A step is ready

    def begin(self, step: Step, at: float) -> None:
        """Skip a ready step whose `when` is false, expand its `each`, queue it, or start it without a worker."""
        try:
            self._begin(step, at)
        except AgentdeckError as error:
            self._failures.fail(step, at, Fault("expression", str(error)))

    def _begin(self, step: Step, at: float) -> None:
        rule = step.rule
        if rule.when is not None and not rule.when.evaluate(scope_of(step, self._state.run)):
            why = f"when: {rule.agent.when} is false"
            self._recorder.record(ev.StepSkipped(at, step.task.id, step.key, why))
        elif rule.each is not None:
            self._expand(step, at)
        elif rule.slot:
            self._queue.push(step)
        else:
            self._attempts.start(step, at)
            if isinstance(rule.agent.does, Dispatch):
                self._dispatch(step, rule.agent.does, at)

    def _expand(self, step: Step, at: float) -> None:
        """Make a step for each item of the list."""
        items = evaluate_items(step, self._state.run)
        if not isinstance(items, list):
            what = f"each: {step.rule.agent.each} is {type(items).__name__}, not a list"
            self._failures.fail(step, at, Fault("expression", what))
            return
        self._recorder.record(ev.StepExpanded(at, step.task.id, step.key, len(items)))
        if not items:
            self._recorder.record(ev.StepDone(at, step.task.id, step.key))

    def _dispatch(self, step: Step, does: Dispatch, at: float) -> None:
        """Choose one of the target agents by the value of an expression, and skip the others."""
        rule, task = step.rule, step.task.id
        assert rule.on is not None
        value = rule.on.evaluate(scope_of(step, self._state.run))
        chosen = does.cases.get(str(value), does.otherwise)
        if chosen is None:
            known = ", ".join(does.cases)
            fault = Fault("expression", f"no case for {value!r}; there are {known}")
            self._failures.fail(step, at, fault)
            return
        answer = {"value": value, "chosen": chosen}
        self._recorder.record(ev.StepSucceeded(at, task, step.key, step.attempt, answer))
        for index in rule.targets:
            target = step.task.steps[index]
            if target is not None and target.key != chosen and not target.ended:
                self._recorder.record(ev.StepSkipped(at, task, target.key, f"{step.key} chose {chosen}"))

    # A part of a step has ended

    def proceed(self, step: Step, at: float) -> None:
        """Start the next round of a step, or end it, after an attempt or after its last item."""
        if step.items is not None:
            self._end_group(step, step.items, at)
        elif step.rule.join.kind == "progressive":
            self._next_arrival(step, at)
        else:
            self._next_round(step, at)

    def _end_group(self, step: Step, items: list[Step], at: float) -> None:
        if step.items_left:
            return
        bad = sum(item.state in (FAILED, CANCELLED) for item in items)
        if bad and step.rule.agent.on_error.action != "continue":
            fault = Fault("needs", f"{bad} of {len(items)} items failed")
            self._failures.fail(step, at, fault, letter=False)
        else:
            self._recorder.record(ev.StepDone(at, step.task.id, step.key))

    def _next_arrival(self, step: Step, at: float) -> None:
        task, key = step.task.id, step.key
        if step.arrivals and len(step.arrivals) > 1:
            self._recorder.record(ev.StepRepeated(at, task, key, step.round + 1))
        elif step.arrived + step.absent + step.tolerated + step.broken == len(step.rule.needs):
            self._recorder.record(ev.StepDone(at, task, key))

    def _next_round(self, step: Step, at: float) -> None:
        task, key, rule = step.task.id, step.key, step.rule
        repeat = rule.agent.repeat
        assert repeat is not None
        assert rule.until is not None
        try:
            scope = {**scope_of(step, self._state.run), "output": step.output}
            if step.round >= repeat.max or rule.until.evaluate(scope):
                self._recorder.record(ev.StepDone(at, task, key))
            else:
                self._recorder.record(ev.StepRepeated(at, task, key, step.round + 1))
        except AgentdeckError as error:
            self._failures.fail(step, at, Fault("expression", str(error)))

    # All steps of a task have ended

    def end_task(self, task: Task, at: float) -> None:
        """Record how a task ended whose steps have all ended, and end the step that it is nested in."""
        if not self._state.holds(task) or task.left:
            return
        if task.called:
            self._end_call(task, task.at(task.program.index[task.called]), at)
            return
        self.rendering.pop(task.id, None)
        leaves = [task.at(i) for i in task.program.leaves]
        fault = _fault_of(task, leaves)
        if fault is not None:
            self._record_end(task, at, FAILED, None, fault)
        elif any(step.state == CANCELLED for step in leaves):
            self._record_end(task, at, CANCELLED)
        elif task.program.output is not None:
            self._render(task, task.program.output, at)
        else:
            self._record_end(task, at, DONE, leaf_results(task))

    def _end_call(self, task: Task, step: Step, at: float) -> None:
        """A call has ended. The attempt that made it goes on."""
        state = step.state if step.state in (DONE, FAILED) else CANCELLED
        self._recorder.record(ev.TaskEnded(at, task.id, state, None, step.fault if state == FAILED else None))

    def _render(self, task: Task, template: Template, at: float) -> None:
        """Render the output of a task here where it reads little; otherwise the engine does, off the loop."""
        scope = output_scope(task, self._state.run)
        if not is_light(template.references, scope):
            self._last += 1
            self.rendering[task.id] = self._last, task
            self._recorder.request(act.RenderOutput(self._last, task.id, template, scope))
            return
        try:
            self._record_end(task, at, DONE, template.render(scope))
        except AgentdeckError as error:
            self._record_end(task, at, FAILED, None, Fault("expression", f"output: {error}"))

    def output_rendered(self, event: ev.OutputRendered) -> None:
        """End the task, unless one of its steps has been reopened since its output was requested."""
        ask, task = self.rendering.get(event.task, (0, None))
        if task is None or ask != event.ask:
            return
        del self.rendering[event.task]
        if not task.left:
            state = DONE if event.fault is None else FAILED
            self._record_end(task, event.at, state, event.output, event.fault)

    def end_abandoned(self, at: float) -> list[Task]:
        """End the tasks whose output is being rendered although the step that contains them has ended or will be
        tried again. Returns them."""
        ended = []
        for _, task in list(self.rendering.values()):
            holder = self._state.find(*task.parent) if task.parent is not None else None
            if holder is not None and holder.state != OPEN:
                del self.rendering[task.id]
                self._record_end(task, at, CANCELLED)
                ended.append(task)
        return ended

    def _record_end(
        self, task: Task, at: float, state: str, output: Data = None, fault: Fault | None = None
    ) -> None:
        self._recorder.record(ev.TaskEnded(at, task.id, state, output, fault))
        if task.parent is not None:
            self._end_sub_workflow(task.parent, at, state, output, fault)

    def _end_sub_workflow(
        self, parent: tuple[str, str], at: float, state: str, output: Data, fault: Fault | None
    ) -> None:
        step = self._state.find(*parent)
        if step is None or step.state != OPEN:
            return
        if state == DONE:
            self._recorder.record(ev.StepSucceeded(at, *parent, step.attempt, output))
        elif state == CANCELLED:
            self._recorder.record(ev.StepCancelled(at, *parent, "its sub-workflow was cancelled"))
        else:
            assert fault is not None
            self._failures.fail(step, at, Fault("needs", fault.message), letter=False)


def _fault_of(task: Task, leaves: list[Step]) -> Fault | None:
    """Why a task failed: the fault of its first step that failed by itself; None where no leaf failed."""
    bad = [s for s in leaves if s.state == FAILED and s.rule.agent.on_error.action == "fail"]
    if not bad:
        return None
    steps = [s for s in task.steps if s is not None]
    first = next((s for s in steps if s.state == FAILED and s.fault and s.fault.kind != "needs"), bad[0])
    assert first.fault is not None
    return first.fault._replace(message=f"{first.key}: {first.fault.message}", detail="")
