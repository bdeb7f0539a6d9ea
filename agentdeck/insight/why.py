"""Why a step waits, was skipped, or failed: one sentence, with the numbers.

The log does not record when a step became ready. That follows from the ends of its needs, and the number of steps
that start before it from the scheduler's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from agentdeck.errors import Fault, UsageError
from agentdeck.insight.formatting import format_span, plural
from agentdeck.insight.limits import held_by
from agentdeck.insight.resources import claiming, resources
from agentdeck.scheduler.horizon import urgent_path
from agentdeck.scheduler.joins import floor_of, goal_of
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.ready_queue import start_order
from agentdeck.scheduler.state import ENDED
from agentdeck.scheduler.waits import PLACE, RESOURCES
from agentdeck.views.inner_place import inside
from agentdeck.views.run_view import RunView
from agentdeck.views.step_transitions import StepView
from agentdeck.views.task_view import TaskView
from agentdeck.workflow.model import PLACE_LIMIT, Agent, Approve, Data, Definition
from agentdeck.workflow.units import rate, show_amount, thousandths


class Explanation(NamedTuple):
    """The state of a step; the `reason` for which it waits (needs, pool, paused, …), empty where it does not; and
    both in a sentence."""

    state: str
    reason: str
    text: str


def explain(view: RunView, definition: Definition, task: str, step: str, now: float) -> Explanation:
    """Why a step is in its state, with the numbers. Raises UsageError where the view does not hold the task, or
    the task has no such step."""
    held = view.open.get(task) or view.failed.get(task)
    if held is None:
        raise UsageError(f"task {task} is not open in {view.run}")
    return _Explainer(view, definition, held, now).of(step)


def ready_counts(view: RunView, definition: Definition) -> dict[str, int]:
    """The number of steps of each agent that are ready and have not started."""
    found: dict[str, int] = {}
    for task in view.open.values():
        for key in _Explainer(view, definition, task, view.now).ready_steps():
            name = key.partition("[")[0]
            found[name] = found.get(name, 0) + 1
    return found


def resource_waits(view: RunView, ready: Mapping[str, int] | None = None) -> dict[str, dict[str, int]]:
    """The numbers of steps that wait for each shared resource, by agent: those of the `ready` ones for which less
    is free than they use, and those for which it is kept."""
    shared, definition = resources(view), view.definition
    if not shared or definition is None:
        return {}
    found: dict[str, dict[str, int]] = {name: {} for name in shared}
    for agent, count in (ready_counts(view, definition) if ready is None else ready).items():
        for name, amount in definition.agents[agent].uses.items() if agent in definition.agents else ():
            if thousandths(amount) > shared[name].free:
                found[name][agent] = count
    for _, step in claiming(view):
        by_agent = found.get(step.why.partition(":")[0], {})
        by_agent[step.agent.name] = by_agent.get(step.agent.name, 0) + 1
    return found


def _reason(resource: str) -> str:
    """Why a step waits that waits for this resource."""
    return PLACE if resource.startswith(f"{PLACE_LIMIT}.") else RESOURCES


class _Explainer:
    """Explains the steps of one task, as they are at `now`."""

    def __init__(self, view: RunView, definition: Definition, task: TaskView, now: float) -> None:
        self.view, self.task, self.now = view, task, now
        self.agents = {} if task.graph.prefix else dict(definition.agents)
        self.definition = definition
        self._ready: dict[str, float | None] = {}

    def of(self, key: str) -> Explanation:
        step, name = self.task.steps.get(key), key.partition("[")[0]
        agent = self.agents.get(name)
        if agent is None and step is None:
            known = ", ".join(self.agents or self.task.steps)
            raise UsageError(f"there is no step {key}; there are {known}")
        if agent is not None and agent.spare and step is None:
            used_by = ", ".join(n for n, a in self.agents.items() if a.on_error.fallback == name) or "no agent"
            return Explanation("waiting", "needs", f"spare: runs only as the fallback of {used_by}")
        if step is not None and step.state in ENDED:
            return self._ended(step, agent)
        if self.task.state != "running":
            return Explanation("cancelled", "", f"did not run: its task ended {self.task.state}")
        if step is not None and step.state == "running":
            return self._running(step, agent)
        if step is not None and self._retries_in(step) > 0:
            return self._retried(step, agent)
        since = self._since(key, step, agent)
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
            own = [need for need in self._needs_of(step.key) if (n := self._step(need)) and n.state == "failed"]
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
        attempts = self._limit(step.key, "attempts", agent.retry.attempts if agent else None)
        text = f"running for {lasted}, attempt {step.attempts}"
        text += f" of {attempts}" if attempts and step.attempts <= attempts else ""
        clock = self._limit(step.key, "timeout", agent.timeout.attempt if agent else None)
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
        return f"{', '.join(running[:3])} of task {task.id}" if running else f"task {task.id} waits"

    def _retried(self, step: StepView, agent: Agent | None) -> Explanation:
        attempts = self._limit(step.key, "attempts", agent.retry.attempts if agent else None)
        of = f" of {attempts}" if attempts else ""
        what = "the server asked to wait" if step.reason == "cooldown" else "backoff"
        left = format_span(self._retries_in(step))
        fault = f": {inside(step.inside, _about(step.fault))}" if step.fault else ""
        text = f"tries again in {left} ({what}); attempt {step.attempts}{of} failed{fault}"
        return Explanation("ready", step.reason or "backoff", text)

    def _ready_since(self, key: str, step: StepView | None, agent: Agent | None, since: float) -> Explanation:
        if step is not None and step.reason == RESOURCES:
            reason, text = self._lacks(agent) or (RESOURCES, step.why)
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
        if agent is None or not isinstance(limit, str):
            return ""
        order, ages = self._order(), self._ages()
        mine = order(ages[self.task.id], key)
        ahead = sum(
            other.state == "ready" and other.reason == "pace" and other.why == step.why
            and order(ages[task.id], name) < mine
            for task in self.view.open.values()
            if not task.graph.prefix
            for name, other in task.steps.items()
        )  # fmt: skip
        spacing = rate(limit).spacing
        latest = format_span((ahead + 1) * spacing)
        return f", one every {format_span(spacing)}; {ahead} before it, so it goes within {latest}"

    def _full(self, key: str, agent: Agent | None) -> tuple[str, str]:
        """The limit that a ready step waits for, and the numbers."""
        view, name = self.view, key.partition("[")[0]
        most = self._limit(name, "max_parallel", agent.max_parallel if agent else None)
        live = sum("/" not in task and step.partition("[")[0] == name for task, step in view.running)
        ahead = self._ahead(key, agent)
        if most == 0:
            return "held", f"{name} is held: its max_parallel is 0"
        if most is not None and live >= most:
            same = sum(1 for one in ahead if one.partition("[")[0] == name)
            return "max_parallel", f"max_parallel of {name} reached ({live}/{most}); {same} ahead in the queue"
        if (lacking := self._lacks(agent)) is not None:
            return lacking
        pool, busy = view.workers, sum(t.busy_workers for t in view.agents.values())
        left = min(len(view.held_workers), max(0, (pool or 0) - 1))  # as the scheduler counts them
        if pool is not None and busy + left >= pool:
            of = f", {left} of them by threads that go on after their cancellation" if left else ""
            return "pool", f"all workers busy ({busy + left}/{pool}{of}); {len(ahead)} ahead in the queue"
        return "starting", f"workers are free ({busy}/{pool}): it starts next"

    def _lacks(self, agent: Agent | None) -> tuple[str, str] | None:
        """The shared resource that a ready step waits for, and the numbers; None where it has all it uses."""
        if agent is None or not agent.uses:
            return None
        shared = resources(self.view)
        for name, amount in agent.uses.items():
            use, needed = shared[name], thousandths(amount)
            if needed > use.limit:
                text = f"it uses {amount} of {name}, and the limit is {show_amount(use.limit)}"
                return _reason(name), f"{text}: it starts when {name} is raised to {amount}"
            if needed > use.free:
                enough = show_amount(use.used + needed)
                text = f"waits for {name}: {use.text}; it uses {amount}"
                return _reason(name), f"{text}, and {name}={enough} would be enough now"
        for task, step in claiming(self.view):
            name = step.why.partition(":")[0]
            kept = self._kept_by(step)
            if name in agent.uses and thousandths(agent.uses[name]) > shared[name].free - kept.get(name, 0):
                return (
                    RESOURCES,
                    f"what becomes free of {name} is kept for {step.key} of task {task}, which is first",
                )
        return None

    def _kept_by(self, step: StepView) -> dict[str, int]:
        other = self.definition.agents.get(step.agent.name)
        return {name: thousandths(amount) for name, amount in other.uses.items()} if other is not None else {}

    # Joins

    def _needs(self, agent: Agent) -> Explanation:
        """What the join still waits for."""
        needs = [need for need in agent.needs if not self._spare(need)]
        pending = [need for need in needs if self._state(need) not in ENDED]
        there = [need for need in needs if self._state(need) == "done"]
        due = len([need for need in needs if self._state(need) != "skipped"])
        needed = " and ".join(f"{need} ({self._brief(need)})" for need in pending[:4])
        needed += f" and {len(pending) - 4} more" if len(pending) > 4 else ""
        join = agent.join
        goal = _goal(agent, due)
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
        begun = [at for need in agent.needs if (at := self._ready_at(need)) is not None]
        if within is None:
            return ""
        floor = floor_of(agent.join, goal)
        then = "starts with what has arrived" if there >= floor else f"fails if fewer than {floor} arrive"
        if not begun:
            return f"; its time limit of {format_span(within)} has not begun"
        return f"; {then} in {format_span(min(begun) + within - self.now)}"

    def _brief(self, need: str) -> str:
        """The state of a need in a few words."""
        step, agent = self._step(need), self.agents.get(need)
        if step is not None and step.state == "running":
            lasted = format_span(self.now - (step.started or step.since))
            if step.asks:
                return f"waiting for an answer for {format_span(self.now - step.since)}"
            return f"waiting for an approval for {lasted}" if step.agent.asks else f"running for {lasted}"
        if step is not None and (left := self._retries_in(step)) > 0:
            return f"{'cooldown' if step.reason == 'cooldown' else 'retry'} in {format_span(left)}"
        since = self._since(need, step, agent)
        if since is not None:
            return f"ready for {format_span(self.now - since)}"
        pending = [n for n in agent.needs if self._state(n) not in ENDED] if agent else []
        return f"waits for {', '.join(pending[:3])}" if pending else "waiting"

    def _since(self, key: str, step: StepView | None, agent: Agent | None) -> float | None:
        """When the step became ready; None while its join waits."""
        if step is not None and step.state == "ready":
            return min(self.now, max(step.until or 0.0, step.since))
        if agent is None or (step is not None and step.attempts and agent.join.kind == "progressive"):
            return None
        ready = self._ready_at(agent.name)
        return ready if ready is None or step is None else max(ready, step.since)

    def _ready_at(self, name: str) -> float | None:
        """When the join of an agent was satisfied; None while it is not."""
        if name not in self._ready:
            self._ready[name] = None
            self._ready[name] = self._joined(name)
        return self._ready[name]

    def _joined(self, name: str) -> float | None:
        agent = self.agents.get(name)
        if agent is None:
            return None
        for moment in reversed(self.view.timeline):
            if moment.kind == "released" and (moment.task, moment.step) == (self.task.id, name):
                return moment.at
        needs = [need for need in agent.needs if not self._spare(need)]
        if not needs:
            return self.task.opened
        there, settled = list[float](), list[float]()
        for need in needs:
            step = self._step(need)
            if step is not None and step.state in ENDED:
                settled.append(step.since)
                if step.state == "done":
                    there.append(step.since)
        skipped = sum(self._state(need) == "skipped" for need in needs)
        goal = _goal(agent, len(needs) - skipped)
        if len(there) >= goal > 0:
            return sorted(there)[goal - 1]
        return max(settled) if len(settled) == len(needs) and settled else None

    # The order of ready steps

    def _ahead(self, key: str, agent: Agent | None) -> list[str]:
        """The steps that are ready and start before this one, in the scheduler's order."""
        if agent is None:
            return []
        order, ages = self._order(), self._ages()
        mine = order(ages[self.task.id], key)
        return [
            other
            for task in self.view.open.values()
            if not task.graph.prefix
            for other in _Explainer(self.view, self.definition, task, self.now).ready_steps()
            if (task.id, other) != (self.task.id, key) and order(ages[task.id], other) < mine
        ]

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
                for key in _Explainer(view, self.definition, task, self.now).ready_steps()
            ]
            work += _work_left(program, task)
            for key, step in task.steps.items():
                if step.state == "running" and step.size < 0 and step.started is not None:
                    rule = _rule(program, key)
                    running.append((self.now - step.started, rule.work, -rule.remaining))
        return urgent_path(max(paths), running, work, view.workers)

    def ready_steps(self) -> Iterator[str]:
        """The task's steps that are ready and may start as soon as a worker is free."""
        for name, agent in self.agents.items():
            if agent.spare or not agent.does.holds_worker:
                continue
            step = self._step(name)
            if step is not None and step.size >= 0:
                for number in range(step.size):
                    item = self._step(f"{name}[{number}]")
                    if item is None or (item.state == "ready" and not self._held_back(item)):
                        yield f"{name}[{number}]"
            elif (
                (step is None or step.state in ("waiting", "ready"))
                and not (step and self._held_back(step))
                and self._since(name, step, agent) is not None
            ):
                yield name

    def _retries_in(self, step: StepView) -> float:
        """Seconds of its backoff that are left; 0 without one."""
        return max(0.0, step.until - self.now) if step.until is not None else 0.0

    def _held_back(self, step: StepView) -> bool:
        return self._retries_in(step) > 0 or bool(step.reason)

    def _ages(self) -> dict[str, int]:
        ages = {task: age for age, task in enumerate(self.view.open)}
        hurried = (m.task for m in self.view.timeline if m.kind == "hurried" and m.task in ages)
        return {**ages, **{task: -number for number, task in enumerate(hurried, 1)}}

    # Reading the view

    def _step(self, key: str) -> StepView | None:
        return self.task.steps.get(key)

    def _state(self, need: str) -> str:
        step = self._step(need)
        return step.state if step is not None else "waiting"

    def _spare(self, name: str) -> bool:
        agent = self.agents.get(name)
        return agent is not None and agent.spare

    def _needs_of(self, key: str) -> tuple[str, ...]:
        agent = self.agents.get(key.partition("[")[0])
        return agent.needs if agent else ()

    def _limit(self, key: str, setting: str, declared: Data) -> Data:
        """A limit as it is now."""
        return self.view.limits.get(f"agents.{key.partition('[')[0]}.{setting}", declared)


def _goal(agent: Agent, due: int) -> int:
    """How many arrivals make the join go at once, as far as there are any to come."""
    return min(due, goal_of(agent.join, due))


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
