"""Steps that are more than one attempt: `when`, `each`, a dispatch, rounds, and tasks nested in a step."""

from __future__ import annotations

from agentdeck.errors import AgentdeckError, Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.metered import Metered
from agentdeck.scheduler.scope import output_of, scope_of, scope_of_group
from agentdeck.scheduler.state import CANCELLED, DONE, FAILED, OPEN, Step, Task
from agentdeck.workflow.model import Data, Dispatch


class Special(Metered):
    """The part of the machine that says what becomes of such a step when it is ready, and after each part of it
    has ended."""

    def _open(self, step: Step, at: float) -> None:
        """A ready step that is more than an attempt: `when`, `each`, or a verb that holds no worker."""
        rule, task = step.rule, step.task.id
        try:
            if rule.when is not None and not rule.when.evaluate(scope_of(step, self.run)):
                why = f"when: {rule.agent.when} is false"
                self._record(ev.StepSkipped(at, task, step.key, why))
                return
            if rule.each is not None:
                self._expand(step, at)
                return
        except AgentdeckError as error:
            self._fail_for_good(step, at, Fault("expression", str(error)))
            return
        if rule.slot:
            self._push(step)
            return
        self._begin(step, at)
        if isinstance(rule.agent.does, Dispatch):
            self._dispatch(step, rule.agent.does, at)

    def _expand(self, step: Step, at: float) -> None:
        rule = step.rule
        assert rule.each is not None
        items = rule.each.evaluate(scope_of_group(step, self.run))
        if items is None:
            items = []
        if not isinstance(items, list):
            what = f"each: {rule.agent.each} is {type(items).__name__}, not a list"
            self._fail_for_good(step, at, Fault("expression", what))
            return
        step.previous = items
        self._record(ev.StepExpanded(at, step.task.id, step.key, len(items)))
        if not items:
            self._record(ev.StepDone(at, step.task.id, step.key))

    def _dispatch(self, step: Step, does: Dispatch, at: float) -> None:
        rule, task = step.rule, step.task.id
        assert rule.on is not None
        try:
            value = rule.on.evaluate(scope_of(step, self.run))
        except AgentdeckError as error:
            self._fail_for_good(step, at, Fault("expression", str(error)))
            return
        chosen = does.cases.get(str(value), does.otherwise)
        if chosen is None:
            known = ", ".join(does.cases)
            self._fail_for_good(step, at, Fault("expression", f"no case for {value!r}; there are {known}"))
            return
        answer = {"value": value, "chosen": chosen}
        self._record(ev.StepSucceeded(at, task, step.key, step.attempt, answer))
        for index in rule.targets:
            target = step.task.steps[index]
            if target is not None and target.key != chosen and not target.ended:
                self._record(ev.StepSkipped(at, task, target.key, f"{step.key} chose {chosen}"))

    def _next_round(self, step: Step, at: float) -> None:
        """After an attempt of a step that may run more than once, or after the last item of an `each`."""
        task, rule = step.task.id, step.rule
        if step.items is not None:
            if step.left:
                return
            bad = sum(item.state == FAILED for item in step.items)
            gone = sum(item.state == CANCELLED for item in step.items)
            if (bad or gone) and rule.agent.on_error.action != "continue":
                what = f"{bad + gone} of {len(step.items)} items failed"
                self._fail_for_good(step, at, Fault("needs", what), letter=False)
            else:
                self._record(ev.StepDone(at, task, step.key))
            return
        if rule.join.kind == "progressive":
            if step.arrivals and len(step.arrivals) > 1:
                self._record(ev.StepRepeated(at, task, step.key, step.round + 1))
            elif step.arrived + step.absent + step.tolerated + step.broken == len(rule.needs):
                self._record(ev.StepDone(at, task, step.key))
            return
        repeat = rule.agent.repeat
        assert repeat is not None
        assert rule.until is not None
        try:
            scope = {**scope_of(step, self.run), "output": step.output}
            if step.round >= repeat.max or rule.until.evaluate(scope):
                self._record(ev.StepDone(at, task, step.key))
            else:
                self._record(ev.StepRepeated(at, task, step.key, step.round + 1))
        except AgentdeckError as error:
            self._fail_for_good(step, at, Fault("expression", str(error)))

    def _end_task(self, task: Task, at: float) -> None:
        if self.tasks.get(task.id) is not task or task.left:
            return
        steps = [s for s in task.steps if s is not None]
        leaves = [task.at(i) for i in task.program.leaves]
        bad = [s for s in leaves if s.state == FAILED and s.rule.agent.on_error.action == "fail"]
        output: Data = None
        fault: Fault | None = None
        state = DONE
        if bad:
            state = FAILED
            first = next((s for s in steps if s.state == FAILED and s.fault and s.fault.kind != "needs"), bad[0])
            assert first.fault is not None
            fault = first.fault._replace(message=f"{first.key}: {first.fault.message}", detail="")
        elif any(s.state == CANCELLED for s in leaves):
            state = CANCELLED
        else:
            try:
                output = output_of(task, self.run)
            except AgentdeckError as error:
                state, fault = FAILED, Fault("expression", f"output: {error}")
        self._record(ev.TaskEnded(at, task.id, state, output, fault))
        if task.parent is not None:
            self._nested_ended(task.parent, at, state, output, fault)

    def _nested_ended(
        self, parent: tuple[str, str], at: float, state: str, output: Data, fault: Fault | None
    ) -> None:
        step = self._open_step(*parent)
        if step is None or step.state != OPEN:
            return
        if state == DONE:
            self._record(ev.StepSucceeded(at, parent[0], parent[1], step.attempt, output))
        elif state == CANCELLED:
            self._record(ev.StepCancelled(at, parent[0], parent[1], "its sub-workflow was cancelled"))
        else:
            assert fault is not None
            self._fail_for_good(step, at, Fault("needs", fault.message), letter=False)
