"""The state of a run as a fold of its recorded events.

Every change of state is an `apply` of a recorded event, here and nowhere else; `Machine` decides which events to
record. So a log folded by this class is the state its machine had.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from heapq import heapify, heappush
from typing import Any, TypeAlias

from agentdeck.core import events as ev
from agentdeck.core.accounts import Accounts
from agentdeck.core.clocks import auto_timeout
from agentdeck.core.joins import GO, NEVER, SKIP, WAIT, judge
from agentdeck.core.program import Program, Rule
from agentdeck.core.reopen import reopen, root_of
from agentdeck.core.state import (
    BETWEEN,
    CANCELLED,
    DONE,
    ENDED,
    FAILED,
    HELD,
    OPEN,
    READY,
    RUNNING,
    SKIPPED,
    WAITING,
    Step,
    Task,
)
from agentdeck.workflow.model import Data

#: Who changed a limit, where the program did so by itself: that is shown and binds nobody.
AUTO = "auto"
BUSY = frozenset({READY, RUNNING, HELD, BETWEEN})
#: A ready step in the order of all: priority, age of its task, how long it is still to go, index, item, ticket.
Place: TypeAlias = tuple[int, int, float, int, int, int, Step]


class Fold:
    """Open tasks, who is ready and who runs. Tasks that end are forgotten, but for those named in `keep`: they
    stay in `closed`, so that their steps can be reopened.

    Invariants, after every event: `busy_tasks` counts the tasks with a busy step; `running` holds exactly the
    steps with a live attempt that holds a worker; a step in `ready` whose state is no longer READY is stale and
    is dropped when met. With `gated`, a step whose needs are not yet on disk waits in `uncommitted`. `rows`
    holds, where steps go one after another, the one that goes and those behind it.
    """

    def __init__(
        self,
        program: Program,
        *,
        run: str = "",
        workers: int = 8,
        gated: bool = False,
        keep: Container[str] = (),
    ) -> None:
        self.program = program
        self.keep = keep
        self.closed: dict[str, Task] = {}
        self.before: dict[str, int] = {}
        self.run = run
        self.workers = workers
        self.gated = gated
        self.seq = 0
        self.durable = 0
        self.state = "running"
        self.paused, self.why = False, ""
        self.pulling = 0
        self.exhausted = False
        self.cancelling = False
        self.tasks: dict[str, Task] = {}
        self.ages = 0
        self.hurried = 0
        self.top = 0
        self.failed_tasks = 0
        self.cancelled_tasks = 0
        self.busy_tasks = 0
        self.running: set[Step] = set()
        self.ready: list[Place] = []
        self.uncommitted: deque[tuple[int, Step]] = deque()
        self.special: deque[Step] = deque()
        self.doomed: deque[tuple[Step, str]] = deque()
        self.pruning: deque[Step] = deque()
        self.between: deque[Step] = deque()
        self.emptied: deque[Task] = deque()
        self.mended: deque[Step] = deque()
        self.timers: list[tuple[float, int, str, Step, object]] = []
        self.next_due = float("inf")
        self.accounts = Accounts(program.definition.budget)
        self.turned: dict[str, Data] = {}
        self.single = program.serial
        self.rows: dict[str, tuple[Step, list[Place]]] = {}
        self._ticket = 0
        self._most = 4096
        self._apply: dict[type, Callable[[Any], None]] = {
            ev.RunStarted: self._run_started,
            ev.RunResumed: self._run_resumed,
            ev.RunPaused: self._run_paused,
            ev.RunUnpaused: self._run_unpaused,
            ev.RunDrained: self._run_paused,
            ev.RunEnded: self._run_ended,
            ev.LimitChanged: self._limit_changed,
            ev.TaskOpened: self._task_opened,
            ev.TasksExhausted: self._tasks_exhausted,
            ev.TaskEnded: self._task_ended,
            ev.TaskHurried: self._task_hurried,
            ev.StepStarted: self._step_started,
            ev.StepSucceeded: self._step_succeeded,
            ev.AttemptFailed: self._attempt_failed,
            ev.AttemptLost: self._attempt_lost,
            ev.StepRetrying: self._step_retrying,
            ev.StepFellBack: self._step_fell_back,
            ev.StepRepeated: self._step_repeated,
            ev.StepExpanded: self._step_expanded,
            ev.StepDone: self._step_done,
            ev.StepFailed: self._step_failed,
            ev.StepSkipped: self._step_skipped,
            ev.StepCancelled: self._step_cancelled,
            ev.StepReleased: self._step_released,
            ev.StepAnswered: self._step_answered,
            ev.StepReopened: self._step_reopened,
            ev.StepWaited: self._step_waited,
            ev.Noted: self._noted,
        }

    def apply(self, event: ev.Event) -> None:
        """Fold one recorded event."""
        self.seq += 1
        self._apply[type(event)](event)

    # The run

    def _noted(self, event: ev.Noted) -> None:
        if event.data and "rung" in event.data:
            self.accounts.enter(str(event.data.get("budget", "")), str(event.data["rung"]))
        if event.data and "mode" in event.data:
            self._mode(event.data["mode"] == "sequential")

    def _mode(self, single: bool) -> None:
        """The steps of each task go one after another from now on, or side by side."""
        waiting = [place for _, places in self.rows.values() for place in places]
        self.single = single
        self.rows = {root_of(step.task.id): (step, []) for step in self.running} if single else {}
        todo = [self.program]
        while todo:
            program = todo.pop()
            todo += program.nested.values()
            for rule in program.rules:
                rule.careful |= single
        for place in waiting:
            heappush(self.ready, place)

    def row(self, step: Step) -> str:
        """The steps of one row go one after another; empty where a step stands in none."""
        task = step.task
        return root_of(task.id) if self.single else task.id if task.program.serial else ""

    def _leave(self, step: Step) -> None:
        """If it was the one of its row that goes, the next may."""
        name = self.row(step)
        if name in self.rows and self.rows[name][0] is step:
            for place in self.rows.pop(name)[1]:
                heappush(self.ready, place)

    def _run_started(self, event: ev.RunStarted) -> None:
        self.run = event.run

    def _run_resumed(self, event: ev.RunResumed) -> None:
        self.state, self.paused = "running", False
        if event.idle:
            clocks = {"join", "answer"}
            self.timers = [
                (due + event.idle if kind in clocks else due, n, kind, s, token)
                for due, n, kind, s, token in self.timers
            ]
            self.timers.sort(key=lambda timer: timer[:2])

    def _run_paused(self, event: ev.RunPaused | ev.RunDrained) -> None:
        self.paused, self.why = True, getattr(event, "why", "")
        self.state = "drained" if isinstance(event, ev.RunDrained) else "paused"

    def _run_unpaused(self, event: ev.RunUnpaused) -> None:
        self.paused, self.state = False, "running"

    def _run_ended(self, event: ev.RunEnded) -> None:
        self.state = event.state

    def _limit_changed(self, event: ev.LimitChanged) -> None:
        if event.name == "workers":
            self.workers = int(event.new)
            return
        head, _, name = event.name.partition(".")
        if head == "budget":
            self.accounts.grant(name, event.new)
            return
        if head != "agents":
            if event.who != AUTO:
                self.turned[event.name] = event.new
            return
        rule, setting = self.setting(event.name)
        setattr(rule, setting, event.new)
        if setting == "attempt_timeout":
            rule.auto = False
        self.next_due = event.at  # every live attempt is looked at anew
        if setting == "limit":
            self._unpark(rule)

    def setting(self, name: str) -> tuple[Rule, str]:
        """The rule and field behind a dotted limit name; KeyError where there is none."""
        head, agent, setting = name.split(".")
        fields = {"timeout": "attempt_timeout", "attempts": "attempts", "max_parallel": "limit"}
        if head != "agents":
            raise KeyError(name)
        return self.program.rules[self.program.index[agent]], fields[setting]

    # Tasks

    def _task_opened(self, event: ev.TaskOpened) -> None:
        program, age = self.program, 0
        if event.parent is not None:
            above = self.tasks[event.parent[0]]
            holder = above.step(event.parent[1])
            assert holder is not None
            program, age = above.program.nested[holder.acting.name], above.age
        else:
            self.pulling = max(0, self.pulling - 1)
            self.top += 1
            self.ages += 1
            age = self.ages
        task = self.tasks[event.task] = Task(event.task, age, program, event.inputs, event.parent)
        self.closed.pop(event.task, None)
        if self.before:
            for step in self._steps_of(task):
                step.attempt = self.before.get(f"{task.id}/{step.key}", 0)
        for rule in program.rules:
            if not rule.needs and not rule.spare:
                self._make_ready(task.at(rule.index), event.at, gate=False)
        if task.left == 0:
            self.emptied.append(task)

    def _tasks_exhausted(self, event: ev.TasksExhausted) -> None:
        self.exhausted = True
        self.pulling = 0

    def _task_ended(self, event: ev.TaskEnded) -> None:
        task = self.tasks.pop(event.task)
        if self.accounts.tasks:
            self.accounts.close(event.task)
        task.ended = event.state
        if root_of(task.id) in self.keep:
            self.closed[task.id] = task
        elif task.parent is None and (self.before or self.closed):
            self.before = {key: n for key, n in self.before.items() if root_of(key) != task.id}
            self.closed = {name: other for name, other in self.closed.items() if root_of(name) != task.id}
        if self.emptied and self.emptied[0] is task:
            self.emptied.popleft()
        if len(self.timers) + len(self.ready) + len(self.uncommitted) + len(self.special) > self._most:
            self._trim()
        if task.busy:
            self.busy_tasks -= 1
        if task.parent is None:
            self.top -= 1
            self.failed_tasks += event.state == FAILED
            self.cancelled_tasks += event.state == CANCELLED

    def _trim(self) -> None:
        """Let go of what waits for nothing any more. Done now and then: each time costs a look at everything."""
        tasks = self.tasks
        self.timers = [timer for timer in self.timers if tasks.get(timer[3].task.id) is timer[3].task]
        self.ready = [entry for entry in self.ready if entry[-1].state == READY]
        heapify(self.timers)
        heapify(self.ready)
        self.uncommitted = deque(entry for entry in self.uncommitted if entry[1].state == READY)
        self.special = deque(step for step in self.special if step.state == READY)
        self.pruning = deque(step for step in self.pruning if tasks.get(step.task.id) is step.task)
        self.doomed = deque(entry for entry in self.doomed if entry[0].state == WAITING)
        self.between = deque(step for step in self.between if not step.ended)
        left = len(self.timers) + len(self.ready) + len(self.uncommitted) + len(self.special)
        self._most = 4096 + 2 * left

    def _task_hurried(self, event: ev.TaskHurried) -> None:
        self.hurried += 1
        for name, task in self.tasks.items():
            if name == event.task or name.startswith(event.task + "/"):
                task.age = -self.hurried
                for step in self._steps_of(task):
                    if step.state == READY:
                        self._push(step)

    @staticmethod
    def _steps_of(task: Task) -> list[Step]:
        return [*(s for s in task.steps if s is not None), *task.extra.values()]

    # Readiness

    def _make_ready(self, step: Step, at: float, *, gate: bool) -> None:
        """The join is satisfied. What read results waits until they are on disk."""
        self._busy(step, READY)
        step.ready_at = at
        rule = step.rule
        timeout = rule.agent.timeout
        if timeout.total is not None and step.total_at is None:
            step.total_at = at + timeout.total
            self._timer(step.total_at, "total", step, step.total_at)
        if timeout.queue is not None:
            self._timer(at + timeout.queue, "queue", step, at)
        if rule.clocked and step.item < 0:
            for index in rule.clocked:
                below = step.task.steps[index]
                if below is not None and below.clock is None:
                    below.clock = at
                    within = below.rule.join.within
                    assert within is not None
                    self._timer(at + within, "join", below, at)
        if gate and self.gated and self.seq > self.durable:
            self.uncommitted.append((self.seq, step))
        elif rule.special and step.item < 0 and step.acting is rule:
            self.special.append(step)
        else:
            self._push(step)

    def _push(self, step: Step) -> None:
        task, rule = step.task, step.rule
        self._ticket = ticket = self._ticket + 1
        heappush(self.ready, (rule.priority, task.age, rule.remaining, rule.index, step.item, ticket, step))

    def _timer(self, due: float, kind: str, step: Step, token: object) -> None:
        self._ticket += 1
        heappush(self.timers, (due, self._ticket, kind, step, token))

    def _busy(self, step: Step, state: str) -> None:
        """Change a step's state and keep count of what keeps its task busy."""
        was, now = step.state in BUSY, state in BUSY
        step.state = state
        if was != now:
            task = step.task
            if now:
                task.busy += 1
                if task.busy == 1:
                    self.busy_tasks += 1
            else:
                task.busy -= 1
                if task.busy == 0:
                    self.busy_tasks -= 1

    def _unpark(self, rule: Rule) -> None:
        """Let as many steps go that were held back by `max_parallel` as there is room for now."""
        parked = rule.parked or deque()
        room = len(parked) if rule.limit is None else rule.limit - rule.live - rule.asking
        while room > 0 and parked:
            step = parked.popleft()
            if step.state == READY:
                self._push(step)
                room -= 1

    # Attempts

    def _step_started(self, event: ev.StepStarted) -> None:
        step = self.found(event.task, event.step)
        rule = step.acting
        step.attempt = event.attempt
        step.started_at = event.at
        step.waits = step.told = None
        if event.model or event.reserved_tokens:
            step.held = event.reserved_tokens, event.reserved_usd
            self.accounts.hold(event.task, step.held)
        if rule.slot:
            self._busy(step, RUNNING)
            self.running.add(step)
            rule.live += 1
            if rule.attempt_timeout is not None:
                due = event.at + rule.attempt_timeout
                if due < self.next_due:
                    self.next_due = due
        else:
            self._busy(step, OPEN)
            does = rule.agent.does
            within = getattr(does, "within", None)
            if within is not None:
                self._timer(event.at + within, "answer", step, event.attempt)

    def _paid(self, step: Step, usage: ev.Usage | None, lost: bool) -> None:
        held, step.held = step.held or (0, 0.0), None
        self.accounts.settle(step.task.id, held, usage, lost=lost)

    def _freed(self, step: Step, usage: ev.Usage | None = None, lost: bool = True) -> None:
        """Its attempt holds nothing any more. Without `usage`, what was held for it counts as used if `lost`."""
        if step.held is not None or usage is not None:
            self._paid(step, usage, lost)
        if step in self.running:
            self.running.discard(step)
            if self.rows:
                self._leave(step)
            rule = step.acting
            rule.live -= 1
            if rule.parked:
                self._unpark(rule)

    def _step_succeeded(self, event: ev.StepSucceeded) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage)
        if step.acting.times is not None and not event.reused:
            self._timed(step.acting, event.at - step.started_at, event.at)
        step.output = event.output
        if step.rule.rounds and step.item < 0:
            self._busy(step, BETWEEN)
            self.between.append(step)
        else:
            self._end(step, DONE, event.at)

    def _attempt_failed(self, event: ev.AttemptFailed) -> None:
        step = self.found(event.task, event.step)
        self._freed(step, event.usage, event.fault.kind == "timeout")
        step.fault = event.fault
        step.tries += 1
        self._busy(step, BETWEEN)

    def _attempt_lost(self, event: ev.AttemptLost) -> None:
        step = self.found(event.task, event.step)
        self._freed(step)
        self._busy(step, READY)
        step.ready_at = event.at
        self._push(step)

    def _step_retrying(self, event: ev.StepRetrying) -> None:
        step = self.found(event.task, event.step)
        self._busy(step, HELD)
        step.until = event.until
        step.tier_up = event.tier_up
        step.waits = {event.reason: event.until - event.at}
        self._timer(event.until, "backoff", step, event.until)

    def _step_waited(self, event: ev.StepWaited) -> None:
        step = self.found(event.task, event.step)
        self._waited(step, event.at)
        step.told = event.reason, event.at

    def _waited(self, step: Step, at: float) -> dict[str, float] | None:
        """How it waited until now, by reason, as far as the log says."""
        if step.told is not None:
            reason, since = step.told
            step.waits = {**(step.waits or {})}
            step.waits[reason] = step.waits.get(reason, 0.0) + at - since
            step.told = reason, at
        return step.waits

    def _timed(self, rule: Rule, seconds: float, at: float) -> None:
        """A clock that sets itself: by the last attempts that ended well."""
        assert rule.times is not None
        rule.times.append(seconds)
        found = auto_timeout(rule.times) if rule.auto else None
        if found is not None:
            if rule.attempt_timeout is None or found < rule.attempt_timeout:
                self.next_due = min(self.next_due, at)
            rule.attempt_timeout = found

    def _step_fell_back(self, event: ev.StepFellBack) -> None:
        step = self.found(event.task, event.step)
        step.acting = step.task.program.rules[step.task.program.index[event.agent]]
        step.tries = 0
        self._busy(step, READY)
        step.ready_at = event.at
        self._push(step)

    def _step_repeated(self, event: ev.StepRepeated) -> None:
        step = self.found(event.task, event.step)
        step.previous = step.output
        step.round = event.round
        step.tries = 0
        if step.arrivals:
            step.arrivals.pop(0)
        self._busy(step, READY)
        step.ready_at = event.at
        self._push(step)

    def _step_expanded(self, event: ev.StepExpanded) -> None:
        group = self.found(event.task, event.step)
        task = group.task
        self._busy(group, OPEN)
        items: list[Step] = []
        for i in range(event.size):
            step = Step(task, group.rule, f"{group.key}[{i}]")
            step.item, step.group = i, group
            if self.before:
                step.attempt = self.before.get(f"{task.id}/{step.key}", 0)
            task.extra[step.key] = step
            items.append(step)
        group.items, group.left = items, event.size
        for step in items:
            self._make_ready(step, event.at, gate=False)

    # Ends

    def _step_done(self, event: ev.StepDone) -> None:
        step = self.found(event.task, event.step)
        if step.items is not None:
            step.output = [item.output for item in step.items]
        self._end(step, DONE, event.at)

    def _step_failed(self, event: ev.StepFailed) -> None:
        step = self.found(event.task, event.step)
        self._freed(step)
        step.fault = event.fault
        step.letter |= event.letter
        self._end(step, FAILED, event.at, tolerated=event.tolerated)

    def _step_skipped(self, event: ev.StepSkipped) -> None:
        self._end(self.found(event.task, event.step), SKIPPED, event.at)

    def _step_cancelled(self, event: ev.StepCancelled) -> None:
        step = self.found(event.task, event.step)
        self._freed(step)
        self._end(step, CANCELLED, event.at)

    def _step_answered(self, event: ev.StepAnswered) -> None:
        step = self.found(event.task, event.step)
        step.output = {"approved": event.approved, **event.fields}
        self._end(step, DONE, event.at)

    def _step_released(self, event: ev.StepReleased) -> None:
        step = self.found(event.task, event.step)
        if step.rule.join.rest == "cancel":
            self.pruning.append(step)
        self._make_ready(step, event.at, gate=True)

    def _step_reopened(self, event: ev.StepReopened) -> None:
        reopen(self, event)

    def _end(self, step: Step, state: str, at: float, *, tolerated: bool = False) -> None:
        """The step will not run again unless it is reopened; tell everybody who needs it."""
        self._busy(step, state)
        if step.letter and state == DONE:
            step.letter = False
            self.mended.append(step)
        task = step.task
        group = step.group
        if group is not None:
            group.left -= 1
            if group.left == 0 and group.state == OPEN:
                self.between.append(group)
            return
        task.left -= 1
        if task.left == 0:
            self.emptied.append(task)
        for index in step.rule.dependents:
            below = task.steps[index]
            if below is None:
                continue
            if state == DONE:
                below.arrived += 1
                if below.rule.join.kind == "progressive":
                    self._arrival(below, step.rule.index)
            elif state == SKIPPED:
                below.absent += 1
            elif tolerated:
                below.tolerated += 1
            else:
                below.broken += 1
            if below.state == WAITING:
                self._join(below, at)
            elif below.state == BETWEEN and below not in self.between:
                self.between.append(below)

    def _arrival(self, below: Step, index: int) -> None:
        if below.arrivals is None:
            below.arrivals = []
        below.arrivals.append(index)

    def _join(self, step: Step, at: float) -> None:
        verdict = judge(step)
        if verdict == WAIT:
            return
        if verdict == GO:
            if step.rule.join.rest == "cancel":
                self.pruning.append(step)
            self._make_ready(step, at, gate=True)
        elif verdict in (NEVER, SKIP):
            self.doomed.append((step, verdict))

    def forget(self, but: Container[str] = ()) -> None:
        """Of tasks that have ended, remember from now on only those under `but` and under open ones."""
        self.keep = ()
        self.closed = {
            name: task
            for name, task in self.closed.items()
            if (root := root_of(name)) in self.tasks or root in but
        }

    def found(self, task: str, key: str) -> Step:
        """The step that a recorded event is about; it exists, else the log is not ours."""
        step = self.tasks[task].step(key)
        assert step is not None
        return step

    def snapshot(self) -> dict[str, Data]:
        """The state as plain data, for comparing two machines."""
        return {
            "seq": self.seq,
            "state": self.state,
            "workers": self.workers,
            "exhausted": self.exhausted,
            "running": sorted((s.task.id, s.key, s.attempt) for s in self.running),
            "busy": self.busy_tasks,
            "accounts": self.accounts.snapshot(),
            "turned": dict(self.turned),
            "timeouts": [rule.attempt_timeout for rule in self.program.rules],
            "tasks": {
                task.id: {
                    s.key: [s.state, s.attempt, s.tries, s.round, s.arrived, s.absent, s.broken, s.acting.name]
                    for s in self._steps_of(task)
                }
                for task in self.tasks.values()
            },
        }


__all__ = ["ENDED", "Fold"]
