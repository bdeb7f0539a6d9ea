"""Ready steps in the order in which they start, and those that are ready but may not start yet."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappush
from math import inf
from typing import Final, TypeAlias

from agentdeck.scheduler.program import Rule
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.state import READY, Step
from agentdeck.scheduler.timers import Timers
from agentdeck.scheduler.waits import HELD as HELD_BACK
from agentdeck.scheduler.waits import MAX_PARALLEL, PLACE, Wait, WaitClock

#: What the newest of many measured times counts in their mean.
NEWEST: Final = 0.05

#: A ready step with its sort key: priority, age of the task, rank, place of the agent, item, ticket.
Entry: TypeAlias = tuple[int, int, float, int, int, int, Step]


#: The age of urgent steps: they go before the oldest task, which has the age 1, and after hurried ones.
URGENT: Final = 0
#: More than the agents of any workflow.
PLACES: Final = 1 << 20


def start_order(
    rule: Rule, age: int, item: int, tail: float = 0.0, least: float = inf
) -> tuple[int, int, float, int, int]:
    """The sort key by which ready steps start: priority of the agent, age of the task, rank (longest remaining
    path first, or a searched order), agents that more others need, place in the workflow, item (-1 without).
    Equal ones start as they became ready. `tail` follows the nested task of the step. A step whose remaining path
    takes `least` seconds is urgent; of those the longest path goes first, then the oldest task."""
    if age > URGENT and tail - rule.remaining >= least:
        return rule.priority, URGENT, rule.rank - tail, age * PLACES + rule.place, item
    return rule.priority, age, rule.rank - tail, rule.place, item


class ReadyQueue:
    """Every step in READY is in one of these queues, or in one of `ProviderQueues`, `ResourceQueue` or
    `SequentialLanes`.

    `heap`: it may start as soon as a worker is free; `calls`: at once, as it needs none. An entry whose step is
    no longer ready, or was reopened since, is stale and is dropped when it is popped. `parked`, by rule:
    `max_parallel` of its agent is reached, or its place is out of reach. `uncommitted`, with the sequence number
    to wait for: it would read results that are not on disk yet (only where `gated`). `composite`: `Expansion`
    decides first (`when`, `each`, a verb that holds no worker).

    Steps whose remaining path takes `least` seconds are urgent. `longest` is the longest path of the others, or
    was so before some of them started.
    """

    def __init__(self, state: RunState, timers: Timers, clock: WaitClock, *, gated: bool) -> None:
        self._state = state
        self._timers = timers
        self._clock = clock
        self.gated = gated
        self.durable = 0
        #: How long a step waits for the disk, as the last commits were.
        self.commit_seconds = 0.0
        self.last_ticket = 0
        self.least = inf
        self.longest = 0.0
        self.heap: list[Entry] = []
        self.calls: list[Entry] = []
        self.parked: dict[Rule, deque[Entry]] = {}
        self.uncommitted: deque[tuple[int, Step]] = deque()
        self.composite: deque[Step] = deque()

    # Steps become ready

    def make_ready(self, step: Step, at: float, *, gate: bool) -> None:
        """The step's join is satisfied. With `gate` it waits until the results that it reads are on disk."""
        self._state.move(step, READY)
        self.start_wait(step, at)
        rule = step.rule
        timeout = rule.agent.timeout
        if timeout.total is not None and step.total_at is None:
            step.total_at = at + timeout.total
            self._timers.add(step.total_at, "total", step, step.total_at)
        if timeout.queue is not None:
            self._timers.add(at + timeout.queue, "queue", step, at)
        if rule.timed_joins and step.item < 0:
            self._start_join_timers(step, at)
        if gate and self.gated and self._state.seq > self.durable:
            self.uncommitted.append((self._state.seq, step))
        else:
            self._enqueue(step)

    def _start_join_timers(self, step: Step, at: float) -> None:
        """`within` of the joins that need this step counts from when the first of their needs is ready."""
        for index in step.rule.timed_joins:
            below = step.task.steps[index]
            if below is not None and below.join_since is None:
                below.join_since = at
                within = below.rule.join.within
                assert within is not None
                self._timers.add(at + within, "join", below, at)

    def requeue(self, step: Step, at: float) -> None:
        """The step is ready again, for another attempt or round. Its conditions were checked before."""
        self._state.move(step, READY)
        self.start_wait(step, at)
        self.push(step)

    def end_backoff(self, step: Step, at: float) -> None:
        """The time of a held step has come: it waits for a worker."""
        step.until = None
        self.requeue(step, at)

    def end_deferral(self, step: Step) -> None:
        """What a deferred step waited for outside the run has happened: it waits for a worker. Its wait goes on,
        since it has not done any work."""
        self._state.move(step, READY)
        self.resume_wait(step)
        self.push(step)

    def push(self, step: Step) -> None:
        """Add an entry for a step that may start as soon as a worker is free."""
        self.last_ticket = ticket = self.last_ticket + 1
        heappush(self.calls if step.rule.is_call else self.heap, self._entry(step, ticket))

    def put_back(self, entry: Entry) -> None:
        """Return an entry that was taken out, with the place that it has now."""
        step = entry[6]
        heappush(self.calls if step.rule.is_call else self.heap, self._entry(step, entry[5]))

    def _entry(self, step: Step, ticket: int) -> Entry:
        rule, task = step.rule, step.task
        path = task.tail - rule.remaining
        if path > self.longest:
            if path >= self.least:
                return (*start_order(rule, task.age, step.item, task.tail, self.least), ticket, step)
            self.longest = path
        # As `start_order` has it for a step that is not urgent. One is made for each step, so it is written out.
        return rule.priority, task.age, rule.rank - task.tail, rule.place, step.item, ticket, step

    def reorder(self) -> None:
        """The ranks of agents have changed."""
        self.prioritize(inf)

    @property
    def longest_path(self) -> float:
        """The longest remaining path of a step in the queue, or a longer one of a step that has started since."""
        first = self.heap[0] if self.heap else None
        return max(self.longest, first[6].path) if first is not None and first[1] == URGENT else self.longest

    def prioritize(self, least: float) -> None:
        """From now on steps whose remaining path takes that many seconds are urgent, also those in the queue."""
        self.least, self.longest = least, 0.0
        self.heap = [self._entry(entry[6], entry[5]) for entry in self.heap if entry[6].state == READY]
        self.calls = [self._entry(entry[6], entry[5]) for entry in self.calls if entry[6].state == READY]
        heapify(self.heap)
        heapify(self.calls)

    def _enqueue(self, step: Step) -> None:
        if step.rule.composite and step.item < 0 and step.acting is step.rule:
            self.composite.append(step)
        else:
            self.push(step)

    @staticmethod
    def is_fresh(entry: Entry) -> bool:
        """Whether the step of this entry is ready and was not reopened since."""
        step = entry[6]
        return step.state == READY and entry[5] >= step.valid_from

    def is_current(self, entry: Entry) -> bool:
        """Whether the entry is fresh and its task is open."""
        return self.is_fresh(entry) and self._state.holds(entry[6].task)

    # Results on disk

    def reads_uncommitted(self, step: Step) -> bool:
        """Whether the step would read a result that is not on disk, such as one that came after its join was
        satisfied."""
        if not self.gated:
            return False
        steps, durable = step.task.steps, self.durable
        for index in step.rule.upstream:
            above = steps[index]
            if above is not None and above.end_seq > durable:
                return True
        return False

    def hold_until_committed(self, step: Step) -> bool:
        """Whether the step has to wait for results to reach the disk; if so, it is queued for that."""
        if not self.reads_uncommitted(step):
            return False
        self.uncommitted.append((self._state.seq, step))
        return True

    def commit(self, seq: int, at: float | None = None) -> None:
        """All events up to `seq` are on disk, since `at` where that is known: queue the steps that waited for
        them."""
        self.durable = max(self.durable, seq)
        waiting = self.uncommitted
        if at is not None and waiting and waiting[0][0] <= self.durable:
            self.commit_seconds += NEWEST * (at - waiting[0][1].ready_at - self.commit_seconds)
        while waiting and waiting[0][0] <= self.durable:
            step = waiting.popleft()[1]
            if step.state == READY:
                self._enqueue(step)

    # Limits of agents

    def park(self, entry: Entry, rule: Rule) -> None:
        """Set the entry aside until fewer attempts of its agent run, its `max_parallel` is raised, or its place
        is there again."""
        self.parked.setdefault(rule, deque()).append(entry)
        self.set_aside(entry[6], self._parked_reason(rule))

    def _parked_reason(self, rule: Rule) -> str:
        """Why steps of an agent may not start; empty for one whose place is there again."""
        if rule.limit == 0:
            return HELD_BACK
        if self._state.is_closed(rule):
            return PLACE
        return MAX_PARALLEL if rule.limit is not None else ""

    @property
    def awaits_place(self) -> bool:
        """Whether steps will start once a place is there again."""
        if self._state.paused:
            return False
        return any(rule.limit != 0 and self._state.is_closed(rule) for rule in self.parked)

    def update_parked_reasons(self) -> None:
        """A `max_parallel` was changed (an agent whose limit is 0 is held by the operator), or a place is out of
        reach or there again."""
        for rule, parked in self.parked.items():
            reason = self._parked_reason(rule)
            for entry in parked:
                if reason:
                    self.set_aside(entry[6], reason)
                else:
                    self.resume_wait(entry[6])

    def unpark(self) -> None:
        """Return as many parked entries of each rule as may start now. An entry too many is parked again when it
        is popped; one too few would wait for ever."""
        for rule, parked in list(self.parked.items()):
            if self._state.is_closed(rule):
                continue
            free = len(parked) if rule.limit is None else rule.limit - rule.live - rule.reserving
            while free > 0 and parked:
                entry = parked.popleft()
                self.resume_wait(entry[6])
                if entry[6].state == READY:
                    self.put_back(entry)
                    free -= 1
            if not parked:
                del self.parked[rule]

    # Reasons for waiting

    def start_wait(self, step: Step, at: float) -> None:
        """The step may start from now on: measure how long it waits."""
        step.ready_at = at
        step.wait = Wait(self._clock)

    def set_aside(self, step: Step, reason: str) -> None:
        """From now on the step waits for `reason`, not for a worker."""
        if step.wait is not None:
            step.wait.set_aside(self._clock, reason)

    def resume_wait(self, step: Step) -> None:
        """From now on the step waits for a worker again."""
        if step.wait is not None:
            step.wait.resume(self._clock)

    # Memory

    def drop_stale(self) -> None:
        """Drop entries whose step is no longer ready."""
        self.heap = [entry for entry in self.heap if entry[6].state == READY]
        self.calls = [entry for entry in self.calls if entry[6].state == READY]
        heapify(self.heap)
        heapify(self.calls)
        self.uncommitted = deque(entry for entry in self.uncommitted if entry[1].state == READY)
        self.composite = deque(step for step in self.composite if step.state == READY)
        for rule, parked in list(self.parked.items()):
            self.parked[rule] = fresh = deque(entry for entry in parked if entry[6].state == READY)
            if not fresh:
                del self.parked[rule]

    def __len__(self) -> int:
        parked = sum([len(entries) for entries in self.parked.values()])
        return len(self.heap) + len(self.calls) + len(self.uncommitted) + len(self.composite) + parked
