"""What starts next: ready steps in order while workers are free, then further tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop
from typing import Final

from agentdeck.scheduler import actions as act
from agentdeck.scheduler.attempts import Attempts
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.horizon import Horizon
from agentdeck.scheduler.provider_queues import ProviderQueues
from agentdeck.scheduler.ready_queue import Entry, ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.reservations import Reservations
from agentdeck.scheduler.resource_queue import ResourceQueue
from agentdeck.scheduler.run_state import RunState

#: So many tasks are open at most for each worker, where the tasks that are open already cannot go on.
OPEN_PER_WORKER: Final = 16


@dataclass(slots=True, eq=False)
class Starter:
    """Fills the free workers, and starts calls, which need none. `pulling` counts the tasks that were asked for
    and have not come yet. `has_calls`: attempts of this run may make calls."""

    _state: RunState
    _queue: ReadyQueue
    _providers: ProviderQueues
    _recorder: Recorder
    _cancellation: Cancellation
    _attempts: Attempts
    _reservations: Reservations
    _resources: ResourceQueue
    _horizon: Horizon
    pulling: int = field(default=0, init=False)
    has_calls: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.has_calls = any(rule.is_call for rule in self._state.program.all_rules())

    @property
    def free(self) -> int:
        """How many workers have nothing to do. Negative while more attempts run than the limit now allows."""
        return self._state.workers - self._state.busy_workers - self._reservations.kept_workers

    def start(self, at: float) -> bool:
        """Start what fits. Returns whether a step was dropped, so that there is something to decide again."""
        queue, reservations, resources = self._queue, self._reservations, self._resources
        free, requesting, dropped = self.free, reservations.requesting, False
        closed = self._state.closed_places
        if self._state.paused:
            free = 0  # only calls start
        if queue.parked and (free > 0 or self.has_calls):
            queue.unpark()
        if free > 0 and self._state.opened >= self._state.near and self._horizon.update(at):
            self._ask(min(self._state.unopened, self._most_further))
        if resources.groups:
            resources.take_turns(at)
        while free > 0 or self.has_calls:
            ready = self._next(free)
            if not ready:
                if queue.parked:
                    queue.unpark()
                if not queue.calls and (free <= 0 or not queue.heap):
                    break
                continue
            entry = heappop(ready)
            step = entry[6]
            if not queue.is_fresh(entry) or (requesting and step in requesting):
                continue
            if queue.gated and queue.hold_until_committed(step):
                continue
            rule = step.acting
            full = rule.limit is not None and rule.live + rule.reserving >= rule.limit
            if full or (closed and self._state.is_closed(rule)):
                queue.park(entry, rule)
            elif rule.uses and not resources.admit(entry):
                continue
            elif rule.checked:
                took = reservations.start(step, entry, at)
                free -= took and not rule.is_call
                dropped |= step.ended
            else:
                self._attempts.start(step, at)
                free -= not rule.is_call
        if free > 0:
            self._pull(free)
        return dropped

    def _next(self, free: int) -> list[Entry]:
        """The heap whose first entry is next: of all while a worker is free, else of calls. It may be empty."""
        providers, queue = self._providers, self._queue
        ready = list[Entry]()
        if free > 0:
            ready = providers.first(queue.heap) if providers.queues else queue.heap
            if self._resources.groups:
                ready = self._resources.next_of(ready)
        if self.has_calls:
            calls = providers.first_call(queue.calls) if providers.queues else queue.calls
            if calls and (not ready or calls[0] < ready[0]):
                return calls
        return ready

    def _pull(self, free: int) -> None:
        """Ask for a task for each free worker: all steps that may start have started. A step that waits for its
        needs to reach the disk starts next, so a worker is left to it, and one more task is opened than workers
        are left. Where a worker is free again sooner than the disk answers, as many steps wait without one as
        there are workers. Steps that wait for anything else (a backoff, a provider, an answer, `max_parallel`) do
        not hold up further tasks until OPEN_PER_WORKER are open. So tasks end early instead of all being open at
        once."""
        state, waiting = self._state, len(self._queue.uncommitted)
        if waiting and self._attempts.mean_seconds < state.workers * self._queue.commit_seconds:
            waiting = max(0, waiting - state.workers)
        self._ask(min(free, free + 1 - waiting, self._most_further))

    @property
    def _most_further(self) -> int:
        return OPEN_PER_WORKER * self._state.workers - self._state.open_tasks

    def _ask(self, tasks: int) -> None:
        """Have this many tasks on their way, unless no more are opened."""
        if self._state.exhausted or self._cancellation.of_run:
            return
        while self.pulling < tasks:
            self.pulling += 1
            self._recorder.request(act.PullTask())

    def task_came(self) -> None:
        """A task that was asked for was opened."""
        if self.pulling:
            self.pulling -= 1

    def forget_pulls(self) -> None:
        """No task that was asked for comes any more."""
        self.pulling = 0
