"""Which ready steps start before a step, in the scheduler's order."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from agentdeck.insight.ready_steps import TaskSteps
from agentdeck.scheduler.horizon import urgent_path
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.ready_queue import start_order
from agentdeck.scheduler.state import ENDED
from agentdeck.views.run_view import RunView
from agentdeck.views.task_view import TaskView
from agentdeck.workflow.model import Definition


class QueueOrder:
    """The order of the steps that are ready at `now`."""

    def __init__(self, view: RunView, definition: Definition, now: float) -> None:
        self.view, self.definition, self.now = view, definition, now

    def ahead(self, own: str, key: str) -> list[str]:
        """The steps that are ready and start before this one of task `own`."""
        order, ages = self._order(), self._ages()
        mine = order(ages[own], key)
        return [
            other
            for task in self.view.open.values()
            if not task.graph.prefix
            for other in TaskSteps(self.view, self.definition, task, self.now).ready_steps()
            if (task.id, other) != (own, key) and order(ages[task.id], other) < mine
        ]

    def ahead_at_pace(self, own: str, key: str, why: str) -> int:
        """The number of steps that wait for the same pace, for the reason `why`, and go before this one."""
        order, ages = self._order(), self._ages()
        mine = order(ages[own], key)
        return sum(
            other.state == "ready" and other.reason == "pace" and other.why == why
            and order(ages[task.id], name) < mine
            for task in self.view.open.values()
            if not task.graph.prefix
            for name, other in task.steps.items()
        )  # fmt: skip

    def _order(self) -> Callable[[int, str], tuple[int, int, float, int, int]]:
        """The scheduler's order: by the age of a task and the key of a step, what starts first is lowest."""
        seconds = {name: mean for name, totals in self.view.agents.items() if (mean := totals.durations.mean)}
        program = Program(self.definition, seconds)
        program.start_in(self.view.order)
        least = self._urgent_path(program)

        def order(age: int, key: str) -> tuple[int, int, float, int, int]:
            name, _, item = key.partition("[")
            number = int(item[:-1]) if item[:-1].isdigit() else -1
            return start_order(program.rules[program.index[name]], age, number, least=least)

        return order

    def _urgent_path(self, program: Program) -> float:
        """The remaining path from which on a step goes before older tasks, infinite where age alone counts."""
        view, tasks = self.view, self.view.tasks
        given = tasks.given if tasks.total is None else tasks.opened
        if not view.workers or given is None or given < 2:
            return inf
        unopened = max(0, given - tasks.opened)
        paths, running = [program.path if unopened else 0.0], []
        work: float = unopened * program.work
        for task in view.open.values():
            if task.graph.prefix:
                continue
            paths += [
                -_rule(program, key).remaining
                for key in TaskSteps(view, self.definition, task, self.now).ready_steps()
            ]
            work += _work_left(program, task)
            for key, step in task.steps.items():
                if step.state == "running" and step.size < 0 and step.started is not None:
                    rule = _rule(program, key)
                    running.append((self.now - step.started, rule.work, -rule.remaining))
        return urgent_path(max(paths), running, work, view.workers)

    def _ages(self) -> dict[str, int]:
        ages = {task: age for age, task in enumerate(self.view.open)}
        hurried = (m.task for m in self.view.timeline if m.kind == "hurried" and m.task in ages)
        return {**ages, **{task: -number for number, task in enumerate(hurried, 1)}}


def _rule(program: Program, key: str) -> Rule:
    return program.rules[program.index[key.partition("[")[0]]]


def _work_left(program: Program, task: TaskView) -> float:
    """The seconds for which the steps of a task that have not ended will hold workers."""
    left = 0.0
    for rule in program.rules:
        step = task.steps.get(rule.name)
        if step is not None and step.size >= 0:
            items = [task.steps.get(f"{rule.name}[{number}]") for number in range(step.size)]
            left += rule.work * sum(item is None or item.state not in ENDED for item in items)
        elif step is None or step.state not in ENDED:
            left += rule.work
    return left
