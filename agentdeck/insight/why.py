"""Why a step waits, was skipped, or failed: one sentence, with the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.errors import Fault, UsageError
from agentdeck.insight.closed_places import out_of_reach
from agentdeck.insight.formatting import format_span, plural
from agentdeck.insight.limits import held_by
from agentdeck.insight.queue_order import QueueOrder
from agentdeck.insight.ready_steps import TaskSteps, arrivals_needed, workflow_path
from agentdeck.insight.resources import lacking
from agentdeck.scheduler.joins import floor_of
from agentdeck.scheduler.state import ENDED
from agentdeck.scheduler.waits import PLACE, RESOURCES
from agentdeck.views.inner_place import inside
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import StepView
from agentdeck.views.task_view import TaskView
from agentdeck.workflow.model import Agent, Approve, Definition
from agentdeck.workflow.units import rate


class Explanation(NamedTuple):
    """The state of a step; the `reason` for which it waits (needs, pool, paused, …), empty where it does not; and
    both in a sentence."""

    state: str
    reason: str
    text: str


def explain(
    view: RunView,
    definition: Definition,
    task: str,
    step: str,
    now: float,
    nested: Mapping[str, Definition] | None = None,
) -> Explanation:
    """Why a step is in its state, with the numbers. `nested` are the run's sub-workflows by their path. Raises
    UsageError where the view does not hold the task, or the task has no such step."""
    held = view.open.get(task) or view.failed.get(task)
    if held is None:
        raise UsageError(f"task {task} is not open in {view.run}")
    return _Explainer(view, definition, held, now, nested or {}).of(step)


class _Explainer:
    """Explains the steps of one task, as they are at `now`."""

    def __init__(
        self,
        view: RunView,
        definition: Definition,
        task: TaskView,
        now: float,
        nested: Mapping[str, Definition],
    ) -> None:
        self.view, self.task, self.now = view, task, now
        self.definition, self.nested = definition, nested
        own = nested.get(task.graph.prefix.removesuffix("/")) if task.graph.prefix else definition
        self.steps = TaskSteps(view, own, task, now)
        self.queue = QueueOrder(view, definition, now)

    def of(self, key: str) -> Explanation:
        step, name = self.task.steps.get(key), key.partition("[")[0]
        agent = self.steps.agents.get(name)
        if agent is None and step is None:
            known = ", ".join(self.steps.agents or self.task.steps)
            raise UsageError(f"there is no step {key}; there are {known}")
        if agent is not None and agent.spare and step is None:
            used_by = [n for n, one in self.steps.agents.items() if one.on_error.fallback == name]
            text = f"spare: runs only as the fallback of {', '.join(used_by) or 'no agent'}"
            return Explanation("waiting", "needs", text)
        if step is not None and step.state in ENDED:
            return self._ended(step, agent)
        if self.task.state != "running":
            return Explanation("cancelled", "", f"did not run: its task ended {self.task.state}")
        if step is not None and step.state == "running":
            return self._running(step, agent)
        if step is not None and self.steps.retries_in(step) > 0:
            return self._retried(step, agent)
        since = self.steps.since(key, step, agent)
        if since is None:
            return self._needs(agent) if agent else Explanation("waiting", "needs", "waits for its needs")
        return self._ready_since(key, step, agent, since)

    # Ended steps

    def _ended(self, step: StepView, agent: Agent | None) -> Explanation:
        if step.state == "failed":
            return Explanation("failed", "", self._failed(step))
        if step.state != "done":
            text = f"{step.state}: {step.why}" if step.why else f"{step.state} with its task"
            return Explanation(step.state, "", text)
        took = ""
        if step.started is not None and step.ended is not None:
            took = f" in {format_span(step.ended - step.started)}"
        tries = f", attempt {step.attempts}" if step.attempts > 1 else ""
        if step.why:  # an approval: who decided it, and how
            return Explanation("done", "", step.why + took.replace(" in ", ", after ", 1))
        return Explanation("done", "", f"done{took}{tries}")

    def _failed(self, step: StepView) -> str:
        fault = step.fault
        if fault is None:
            return "failed"
        if fault.kind == "needs":
            own = [
                need for need in self._needs_of(step.key) if (n := self.steps.step(need)) and n.state == "failed"
            ]
            failed = "; ".join(f"{need}, which it needs, {self._failed(self.task.steps[need])}" for need in own)
            return f"failed: {failed or fault.message}"
        if fault.kind in ("join", "budget", "expression", "rejected_by_person") or not step.attempts:
            return f"failed: {fault.message}"
        return f"failed after {plural(step.attempts, 'attempt')}: {inside(step.inside, _about(fault))}"

    # Open steps

    def _running(self, step: StepView, agent: Agent | None) -> Explanation:
        lasted = format_span(self.now - (step.started if step.started is not None else step.since))
        if step.size >= 0:
            return Explanation("running", "", self._items(step, lasted))
        if step.agent.asks:
            does, ends = agent.does if agent is not None else None, ""
            if isinstance(does, Approve) and does.within is not None and step.started is not None:
                ends = (
                    f"; {does.otherwise}s automatically in {format_span(step.started + does.within - self.now)}"
                )
            return Explanation("running", "approval", f"waiting for an approval for {lasted}{ends}")
        if step.asks:
            return Explanation("running", "approval", f"waits for an answer {self._asked(step)}")
        below = self.view.open.get(f"{self.task.id}/{step.key}")
        if below is not None:
            return Explanation(
                "running", "", f"its sub-workflow has been running for {lasted}: {self._below(below)}"
            )
        attempts = self.steps.limit(step.key, "attempts", agent.retry.attempts if agent else None)
        text = f"running for {lasted}, attempt {step.attempts}"
        text += f" of {attempts}" if attempts and step.attempts <= attempts else ""
        clock = self.steps.limit(step.key, "timeout", agent.timeout.attempt if agent else None)
        if clock and step.started is not None:
            text += f"; its timeout expires in {format_span(step.started + clock - self.now)}"
        text += self._inside(step) + self._calls(step)
        if step.fault is not None:
            text += f"; the attempt before failed: {inside(step.inside, _about(step.fault))}"
        return Explanation("running", "", text)

    def _inside(self, step: StepView) -> str:
        """What runs inside its attempt, and since when."""
        place = self.view.inner_steps.places.get((self.task.id, step.key))
        if place is None or (newest := place.newest) is None:
            return ""
        more = f" and {place.branches - 1} more" if place.branches > 1 else ""
        return f"; in {newest.place} for {format_span(self.now - newest.since)}{more}"

    def _calls(self, step: StepView) -> str:
        """What the calls of models are doing that it makes through the gateway."""
        own = self.task.id, step.key
        calls = [call for task in self.view.open.values() if task.parent == own for call in task.steps.values()]
        waiting = [call for call in calls if call.state != "running"]
        if not calls or step.nested is not None:
            return ""
        if not waiting:
            return f"; it waits for {plural(len(calls), 'answer')} of models"
        why = waiting[0].why or waiting[0].reason or "a provider"
        return f"; {len(waiting)} of its {plural(len(calls), 'call')} of models wait: {why}"

    def _asked(self, step: StepView) -> str:
        """How long a question of an attempt has waited, and its text where the view remembers it."""
        lasted = f"for {format_span(self.now - step.since)}"
        for moment in reversed(self.view.timeline):
            if moment.kind == "noted" and (moment.task, moment.step) == (self.task.id, step.key):
                more = f" (1 of {step.asks})" if step.asks > 1 else ""
                return f"{lasted} to: {_line(moment.text)}{more}"
        return lasted

    def _items(self, group: StepView, lasted: str) -> str:
        count = {"done": 0, "running": 0, "failed": 0}
        for key, item in self.task.steps.items():
            if key.startswith(group.key + "[") and item.state in count:
                count[item.state] += 1
        left = group.size - sum(count.values())
        counts = ", ".join(f"{number} {state}" for state, number in count.items() if number)
        return f"running for {lasted}: of {plural(group.size, 'item')} {counts or 'none started'}, {left} left"

    def _below(self, task: TaskView) -> str:
        running = [key for key, step in task.steps.items() if step.state == "running"]
        if running:
            return f"{', '.join(running[:3])} of task {task.id}"
        inner = _Explainer(self.view, self.definition, task, self.now, self.nested)
        for key in inner.steps.ready_steps():
            return f"{key} of task {task.id} is {inner.of(key).text}"
        return f"task {task.id} waits"

    def _retried(self, step: StepView, agent: Agent | None) -> Explanation:
        attempts = self.steps.limit(step.key, "attempts", agent.retry.attempts if agent else None)
        of = f" of {attempts}" if attempts else ""
        what = "the server asked to wait" if step.reason == "cooldown" else "backoff"
        left = format_span(self.steps.retries_in(step))
        fault = f": {inside(step.inside, _about(step.fault))}" if step.fault else ""
        text = f"tries again in {left} ({what}); attempt {step.attempts}{of} failed{fault}"
        return Explanation("ready", step.reason or "backoff", text)

    def _ready_since(self, key: str, step: StepView | None, agent: Agent | None, since: float) -> Explanation:
        if step is not None and step.reason == RESOURCES:
            reason, text = lacking(self.view, self.definition, agent) or (RESOURCES, step.why)
            text += "; what becomes free is kept for it"
        elif step is not None and step.why:
            reason, text = step.reason, step.why
            text += self._paced(key, step, agent) if reason == "pace" else ""
        elif step is not None and step.reason and step.until is None:
            reason, text = step.reason, f"waits for {step.reason}"
        elif self.view.state == "paused":
            reason, text = "paused", "the run is paused" + _more(self.view.timeline.last("paused"), "paused")
        elif self.view.state == "draining":
            reason, text = "paused", "the run is draining: no new steps start"
        else:
            reason, text = self._full(key, agent)
        return Explanation("ready", reason, f"ready for {format_span(self.now - since)}; {text}")

    def _paced(self, key: str, step: StepView, agent: Agent | None) -> str:
        """When a step goes whose calls are spaced out: after those that wait for the same and come before it."""
        limit = self.view.limits.get(held_by("pace", step.why))
        if agent is None or self.task.graph.prefix or not isinstance(limit, str):
            return ""
        ahead = self.queue.ahead_at_pace(self.task.id, key, step.why)
        spacing = rate(limit).spacing
        latest = format_span((ahead + 1) * spacing)
        return f", one every {format_span(spacing)}; {ahead} before it, so it goes within {latest}"

    def _full(self, key: str, agent: Agent | None) -> tuple[str, str]:
        """The limit that a ready step waits for, and the numbers."""
        view, name = self.view, key.partition("[")[0]
        most = self.steps.limit(name, "max_parallel", agent.max_parallel if agent else None)
        own = workflow_path(self.task.id), name
        live = sum((workflow_path(task), step.partition("[")[0]) == own for task, step in view.running)
        if most == 0:
            return "held", f"{name} is held: its max_parallel is 0"
        if most is not None and live >= most:
            queue = self._queue(key, agent, name)
            return "max_parallel", f"max_parallel of {name} reached ({live}/{most}){queue}"
        if agent is not None and (closed := out_of_reach(view, agent.place, self.now)):
            return PLACE, f"{closed}; it starts when it is there again"
        if (short := lacking(self.view, self.definition, agent)) is not None:
            return short
        pool, busy = view.workers, sum(t.busy_workers for t in view.agents.values())
        left = min(len(view.held_workers), max(0, (pool or 0) - 1))  # as the scheduler counts them
        if pool is not None and busy + left >= pool:
            of = f", {left} of them by threads that go on after their cancellation" if left else ""
            return "pool", f"all workers busy ({busy + left}/{pool}{of}){self._queue(key, agent)}"
        return "starting", f"workers are free ({busy}/{pool}): it starts next"

    def _queue(self, key: str, agent: Agent | None, name: str = "") -> str:
        """How many ready steps, of the agent `name` where one is given, start before this one. Not known of steps
        in sub-workflows."""
        if self.task.graph.prefix:
            return ""
        ahead = [] if agent is None else self.queue.ahead(self.task.id, key)
        return f"; {sum(name in ('', one.partition('[')[0]) for one in ahead)} ahead in the queue"

    # Joins

    def _needs(self, agent: Agent) -> Explanation:
        """What the join still waits for."""
        needs = [need for need in agent.needs if not self.steps.spare(need)]
        pending = [need for need in needs if self.steps.state(need) not in ENDED]
        there = [need for need in needs if self.steps.state(need) == "done"]
        due = len([need for need in needs if self.steps.state(need) != "skipped"])
        needed = " and ".join(f"{need} ({self._brief(need)})" for need in pending[:4])
        needed += f" and {len(pending) - 4} more" if len(pending) > 4 else ""
        join = agent.join
        goal = arrivals_needed(agent, due)
        if join.kind in ("any", "progressive"):
            text = f"waits for the first of {needed}"
        elif join.within is None and goal == due:
            text = f"waits for {needed}"
        else:
            text = f"{len(there)} of {due} arrived"
            text += f", {goal} are enough" if goal < due else ""
            text += self._clock(agent, len(there), goal)
            text += f"; waits for {needed}"
        return Explanation("waiting", "needs", text)

    def _clock(self, agent: Agent, there: int, goal: int) -> str:
        within = agent.join.within
        begun = [at for need in agent.needs if (at := self.steps.ready_at(need)) is not None]
        if within is None:
            return ""
        floor = floor_of(agent.join, goal)
        then = "starts with what has arrived" if there >= floor else f"fails if fewer than {floor} arrive"
        if not begun:
            return f"; its time limit of {format_span(within)} has not begun"
        return f"; {then} in {format_span(min(begun) + within - self.now)}"

    def _brief(self, need: str) -> str:
        """The state of a need in a few words."""
        step, agent = self.steps.step(need), self.steps.agents.get(need)
        if step is not None and step.state == "running":
            lasted = format_span(self.now - (step.started or step.since))
            if step.asks:
                return f"waiting for an answer for {format_span(self.now - step.since)}"
            return f"waiting for an approval for {lasted}" if step.agent.asks else f"running for {lasted}"
        if step is not None and (left := self.steps.retries_in(step)) > 0:
            return f"{'cooldown' if step.reason == 'cooldown' else 'retry'} in {format_span(left)}"
        since = self.steps.since(need, step, agent)
        if since is not None:
            return f"ready for {format_span(self.now - since)}"
        pending = [n for n in agent.needs if self.steps.state(n) not in ENDED] if agent else []
        return f"waits for {', '.join(pending[:3])}" if pending else "waiting"

    def _needs_of(self, key: str) -> tuple[str, ...]:
        agent = self.steps.agents.get(key.partition("[")[0])
        return agent.needs if agent else ()


def _about(fault: Fault) -> str:
    """A fault in one line, with its kind where the message does not name it."""
    line = _line(fault.message)
    known = fault.kind in ("exception", "timeout", "exit", "needs") or fault.kind in line
    return line if known else f"{fault.kind}: {line}"


def _line(text: str) -> str:
    """The first line of a text, cut."""
    line = text.partition("\n")[0]
    return line if len(line) <= 200 else line[:199] + "…"


def _more(text: str, known: str) -> str:
    """What a text says beyond a word that is known."""
    if text.startswith(known + ", "):
        return f" {text.removeprefix(known + ', ')}"
    return f": {text}" if text and text != known else ""
