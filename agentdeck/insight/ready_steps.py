"""Which steps of a task are ready, and since when.

The log does not record when a step became ready. That follows from the ends of its needs.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentdeck.scheduler.joins import goal_of
from agentdeck.scheduler.state import ENDED
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import StepView
from agentdeck.views.task_view import TaskView
from agentdeck.workflow.model import Agent, Data, Definition


def ready_counts(view: RunView, definition: Definition) -> dict[str, int]:
    """The number of steps of each agent that are ready and have not started."""
    found: dict[str, int] = {}
    for task in view.open.values():
        own = None if task.graph.prefix else definition
        for key in TaskSteps(view, own, task, view.now).ready_steps():
            name = key.partition("[")[0]
            found[name] = found.get(name, 0) + 1
    return found


def workflow_path(task: str) -> str:
    """The path of the sub-workflow that a nested task belongs to: `review/a` for `7/review[2]/a`. Empty for a
    task of the run."""
    return "/".join(part.partition("[")[0] for part in task.split("/")[1:])


def arrivals_needed(agent: Agent, due: int) -> int:
    """How many arrivals make the join go at once, as far as there are any to come."""
    return min(due, goal_of(agent.join, due))


class TaskSteps:
    """The steps of one task, as they are at `now`. `definition` is that of its workflow; where it is None, its
    agents are not known."""

    def __init__(self, view: RunView, definition: Definition | None, task: TaskView, now: float) -> None:
        self.view, self.task, self.now = view, task, now
        self.agents = {} if definition is None else dict(definition.agents)
        self._ready: dict[str, float | None] = {}

    def step(self, key: str) -> StepView | None:
        return self.task.steps.get(key)

    def state(self, need: str) -> str:
        step = self.step(need)
        return step.state if step is not None else "waiting"

    def spare(self, name: str) -> bool:
        agent = self.agents.get(name)
        return agent is not None and agent.spare

    def limit(self, key: str, setting: str, declared: Data) -> Data:
        """A limit as it is now. Those of sub-workflows cannot be changed."""
        if self.task.graph.prefix:
            return declared
        return self.view.limits.get(f"agents.{key.partition('[')[0]}.{setting}", declared)

    def retries_in(self, step: StepView) -> float:
        """Seconds of its backoff that are left; 0 without one."""
        return max(0.0, step.until - self.now) if step.until is not None else 0.0

    def since(self, key: str, step: StepView | None, agent: Agent | None) -> float | None:
        """When the step became ready; None while its join waits."""
        if step is not None and step.state == "ready":
            return min(self.now, max(step.until or 0.0, step.since))
        if agent is None or (step is not None and step.attempts and agent.join.kind == "progressive"):
            return None
        ready = self.ready_at(agent.name)
        return ready if ready is None or step is None else max(ready, step.since)

    def ready_at(self, name: str) -> float | None:
        """When the join of an agent was satisfied; None while it is not."""
        if name not in self._ready:
            self._ready[name] = None
            self._ready[name] = self._joined(name)
        return self._ready[name]

    def ready_steps(self) -> Iterator[str]:
        """The task's steps that are ready and may start as soon as a worker is free."""
        for name, agent in self.agents.items():
            if agent.spare or not agent.does.holds_worker:
                continue
            step = self.step(name)
            if step is not None and step.size >= 0:
                for number in range(step.size):
                    item = self.step(f"{name}[{number}]")
                    if item is None or (item.state == "ready" and not self._held_back(item)):
                        yield f"{name}[{number}]"
            elif (
                (step is None or step.state in ("waiting", "ready"))
                and not (step and self._held_back(step))
                and self.since(name, step, agent) is not None
            ):
                yield name

    def _joined(self, name: str) -> float | None:
        agent = self.agents.get(name)
        if agent is None:
            return None
        for moment in reversed(self.view.timeline):
            if moment.kind == "released" and (moment.task, moment.step) == (self.task.id, name):
                return moment.at
        needs = [need for need in agent.needs if not self.spare(need)]
        if not needs:
            return self.task.opened
        there, settled = list[float](), list[float]()
        for need in needs:
            step = self.step(need)
            if step is not None and step.state in ENDED:
                settled.append(step.since)
                if step.state == "done":
                    there.append(step.since)
        skipped = sum(self.state(need) == "skipped" for need in needs)
        goal = arrivals_needed(agent, len(needs) - skipped)
        if len(there) >= goal > 0:
            return sorted(there)[goal - 1]
        return max(settled) if len(settled) == len(needs) and settled else None

    def _held_back(self, step: StepView) -> bool:
        return self.retries_in(step) > 0 or bool(step.reason)
