"""The state of a run: who waits, is ready, runs, and what is due when.

Nothing here knows of events. What an event changes is in the classes above (`Joining`, `Steps`, `Fold`), by
the moves that keep the counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from heapq import heapify, heappush
from typing import TypeAlias

from agentdeck.scheduler.budget_accounts import BudgetAccounts
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.state import BETWEEN, DEFERRED, HELD, READY, RUNNING, WAITING, Step, Task, root_of
from agentdeck.scheduler.waits import HELD as HELD_BACK
from agentdeck.scheduler.waits import MAX_PARALLEL, Wait, WaitClock
from agentdeck.workflow.model import Data

BUSY = frozenset({READY, RUNNING, HELD, BETWEEN, DEFERRED})
#: A ready step in the order of all: priority, age of its task, how long it is still to go, index, item, ticket.
Place: TypeAlias = tuple[int, int, float, int, int, int, Step]


class Board:
    """Open tasks, who is ready and who runs. Tasks that end are forgotten, but for those named in `keep`: they
    stay in `closed`, so that their steps can be reopened.

    Invariants, after every event: `busy_tasks` counts the tasks with a busy step; `running` holds exactly the
    steps with a live attempt that holds a worker; a step in `ready` whose state is no longer READY, or that went
    again since, is stale and is dropped when met. With `gated`, a step whose needs are not yet on disk waits in
    `uncommitted`. `parked` holds, by rule, those that its `max_parallel` kept from starting. `rows` holds, where
    steps go one after another, the one that goes and those behind it.
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
        self.run = run
        self.workers = workers
        self.gated = gated
        self.seq = 0
        self.durable = 0
        self.state = "running"
        self.paused, self.pause_reason = False, ""
        self.pulling = 0
        self.exhausted = False
        self.cancelling = False
        self.tasks: dict[str, Task] = {}
        self.opened = 0
        self.hurried = 0
        self.top = 0
        self.failed_tasks = 0
        self.cancelled_tasks = 0
        self.busy_tasks = 0
        self.running: set[Step] = set()
        self.ready: list[Place] = []
        self.parked: dict[Rule, deque[Place]] = {}
        self.uncommitted: deque[tuple[int, Step]] = deque()
        self.special: deque[Step] = deque()
        self.doomed: deque[tuple[Step, str]] = deque()
        self.pruning: deque[Step] = deque()
        self.between: deque[Step] = deque()
        self.emptied: deque[Task] = deque()
        self.mended: deque[Step] = deque()
        self.timers: list[tuple[float, int, str, Step, object]] = []
        self.next_due = float("inf")
        self.accounts = BudgetAccounts(program.definition.budget)
        self.waiting = WaitClock()
        self.changed_limits: dict[str, Data] = {}
        self.sequential = False
        self.rows: dict[str, tuple[Step, list[Place]]] = {}
        self._ticket = 0
        self._most = 4096
        if program.serial:
            self._mode(True)

    def found(self, task: str, key: str) -> Step:
        """The step that a recorded event is about; it exists, else the log is not ours."""
        step = self.tasks[task].step(key)
        assert step is not None
        return step

    @staticmethod
    def _steps_of(task: Task) -> list[Step]:
        return [*(s for s in task.steps if s is not None), *task.extra.values()]

    # Readiness

    def _make_ready(self, step: Step, at: float, *, gate: bool) -> None:
        """The join is satisfied. What read results waits until they are on disk."""
        self._busy(step, READY)
        self._ready_from(step, at)
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

    def _ready_from(self, step: Step, at: float) -> None:
        """It may start from now on, and waits."""
        step.ready_at = at
        step.wait = Wait(self.waiting)

    def _early(self, step: Step) -> bool:
        """Whether it would read a result that is not on disk: one that came after its join was satisfied."""
        if not self.gated:
            return False
        steps, durable = step.task.steps, self.durable
        for index in step.rule.upstream:
            above = steps[index]
            if above is not None and above.end_seq > durable:
                return True
        return False

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

    def _park(self, place: Place, rule: Rule) -> None:
        """As many of its agent run as may: it waits for one of them to end, or for its agent to be let go on."""
        self.parked.setdefault(rule, deque()).append(place)
        self._set_aside(place[6], MAX_PARALLEL if rule.limit else HELD_BACK)

    def _reason_parked(self) -> None:
        """A `max_parallel` was changed: at 0 its agent is held."""
        for rule, parked in self.parked.items():
            for place in parked:
                self._set_aside(place[6], HELD_BACK if rule.limit == 0 else MAX_PARALLEL)

    def _set_aside(self, step: Step, reason: str) -> None:
        if step.wait is not None:
            step.wait.set_aside(self.waiting, reason)

    def _take_up(self, step: Step) -> None:
        if step.wait is not None:
            step.wait.take_up(self.waiting)

    def _unpark(self) -> None:
        """Of each rule, let as many parked steps go as there is room for now. Those that find none are parked
        again, so it does no harm to let too many go; one too few would wait for ever."""
        for rule, parked in list(self.parked.items()):
            room = len(parked) if rule.limit is None else rule.limit - rule.live - rule.asking
            while room > 0 and parked:
                place = parked.popleft()
                self._take_up(place[6])
                if place[6].state == READY:
                    heappush(self.ready, place)
                    room -= 1
            if not parked:
                del self.parked[rule]

    # One after another

    def row(self, step: Step) -> str:
        """The steps of one row go one after another; empty where a step stands in none."""
        task = step.task
        return root_of(task.id) if self.sequential else task.id if task.program.serial else ""

    def _leave(self, step: Step) -> None:
        """If it was the one of its row that goes, the next may."""
        name = self.row(step)
        if name in self.rows and self.rows[name][0] is step:
            for place in self.rows.pop(name)[1]:
                self._take_up(place[6])
                heappush(self.ready, place)

    def _mode(self, single: bool) -> None:
        """The steps of each task go one after another from now on, or side by side."""
        waiting = [place for _, places in self.rows.values() for place in places]
        self.sequential = single
        self.rows = {root_of(step.task.id): (step, []) for step in self.running} if single else {}
        todo = [self.program]
        while todo:
            program = todo.pop()
            todo += program.nested.values()
            for rule in program.rules:
                rule.careful |= single
        for place in waiting:
            self._take_up(place[6])
            heappush(self.ready, place)

    # Memory

    def unended(self) -> Iterator[Step]:
        """The steps of open tasks that have not ended."""
        for task in self.tasks.values():
            for step in self._steps_of(task):
                if not step.ended:
                    yield step

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

    def forget(self, but: Container[str] = ()) -> None:
        """Of tasks that have ended, remember from now on only those under `but` and under open ones."""
        self.keep = ()
        self.closed = {
            name: task
            for name, task in self.closed.items()
            if (root := root_of(name)) in self.tasks or root in but
        }

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
            "changed_limits": dict(self.changed_limits),
            "timeouts": [rule.attempt_timeout for rule in self.program.rules],
            "tasks": {
                task.id: {
                    s.key: [s.state, s.attempt, s.tries, s.round, s.arrived, s.absent, s.broken, s.acting.name]
                    for s in self._steps_of(task)
                }
                for task in self.tasks.values()
            },
        }
