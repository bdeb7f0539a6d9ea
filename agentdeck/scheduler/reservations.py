"""Attempts that are reserved before they start: requesting, and waiting in order until there is room.

A step that is next takes a worker and requests a reservation. The answer starts the attempt, or closes the queue
of the provider that refused. Steps that go to a provider whose queue is closed wait in it, in the order of all
ready steps, and request again once it opens. Only the outcome is recorded, so a log folds to the same state
without any of this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from agentdeck.limits.budget import Ledger
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.attempts import Attempts
from agentdeck.scheduler.budget_ladder import BudgetLadder
from agentdeck.scheduler.provider_queues import BUDGET, FOREVER, RELEASABLE, ProviderQueue, ProviderQueues
from agentdeck.scheduler.ready_queue import Entry, ReadyQueue
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.sequential_lanes import SequentialLanes
from agentdeck.scheduler.state import Step
from agentdeck.scheduler.tiers import TIERS, tier_of
from agentdeck.scheduler.waits import STARTING
from agentdeck.workflow.model import Prompt


class Request(NamedTuple):
    """A reservation that was requested and not answered yet. `releases` is the count when it was requested."""

    step: Step
    entry: Entry
    releases: int


@dataclass(slots=True, eq=False)
class Reservations:
    """Starts the steps that are checked before they start.

    Invariant: each request in `open` keeps one worker until it is answered, unless it is for a call. A step that
    is READY has at most one that counts; those in `requesting` have one.
    """

    _state: RunState
    _queue: ReadyQueue
    _providers: ProviderQueues
    _lanes: SequentialLanes
    _recorder: Recorder
    _attempts: Attempts
    _ladder: BudgetLadder
    open: dict[int, Request] = field(default_factory=dict, init=False)
    requesting: set[Step] = field(default_factory=set, init=False)
    _calls: int = field(default=0, init=False)  # how many of `open` are calls, which keep no worker
    _last: int = field(default=0, init=False)
    _provider_of: dict[str, str] = field(default_factory=dict, init=False)

    @property
    def kept_workers(self) -> int:
        """How many workers are kept for requests."""
        return len(self.open) - self._calls

    # Requesting

    def start(self, step: Step, entry: Entry, at: float) -> bool:
        """Start a step, or request its reservation, or let it wait or be dropped. Returns whether it took a
        worker."""
        rule, task = step.acting, step.task.id
        self._ladder.update(task, at)
        if rule.priority > 0 and not step.attempt and self._state.accounts.in_force(task, "drop"):
            why = f"budget: steps of low priority are skipped ({self._ladder.shares(task)})"
            self._recorder.record(ev.StepSkipped(at, task, step.key, why))
            return False
        lane = self._lanes.lane_of(step)
        if lane and self._lanes.wait(lane, entry):
            return False
        if not rule.metered:
            self._lanes.occupy(lane, step)
            self._attempts.start(step, at)
            return True
        for name in (BUDGET, self._provider_of.get(self._route(step), "")):
            queue = self._providers.closed(name)
            if queue is not None:
                self._wait(step, entry, queue, at)
                return False
        self._lanes.occupy(lane, step)
        self._request(step, entry)
        return True

    def _request(self, step: Step, entry: Entry) -> None:
        self._last = number = self._last + 1
        self.open[number] = Request(step, entry, self._providers.releases)
        self.requesting.add(step)
        self._calls += step.acting.is_call
        self._queue.set_aside(step, STARTING)
        step.acting.reserving += 1
        if step.acting.uses:
            self._state.resources.request(step.acting.uses)
        task, attempt = step.task.id, step.attempt + 1
        reduced = self._state.accounts.in_force(task, "reduce")
        self._recorder.request(act.Reserve(number, task, step.key, attempt, self._shift(step), reduced))

    def withdraw(self, step: Step) -> None:
        """The step is reopened: an answer to its request no longer counts."""
        self.requesting.discard(step)

    def _shift(self, step: Step) -> int:
        """By how many tiers the prompt moves up, or down where negative."""
        if self._state.accounts.lowest:
            return -len(TIERS)
        return step.tier_up - self._state.accounts.in_force(step.task.id, "downgrade")

    def _route(self, step: Step) -> str:
        """The model or tier that answers the step. The provider that answered the last step of the same route is
        the one that this step is likely to use."""
        agent, shift = step.acting.agent, self._shift(step)
        model = agent.does.model if isinstance(agent.does, Prompt) and shift <= 0 else None
        return model or tier_of(agent, shift)

    def _wait(self, step: Step, entry: Entry, queue: ProviderQueue, at: float) -> None:
        queue.add(entry)
        self._queue.set_aside(step, queue.reason)
        self._lanes.leave(step)
        stopped = queue.until == FOREVER and queue.reason == "cooldown" and step not in queue.notified
        if stopped:
            queue.notified.add(step)
        if stopped or step.wait_reason is None or step.wait_reason[0] != queue.reason:
            self._recorder.record(ev.StepWaited(at, step.task.id, step.key, queue.reason, queue.why))

    # Answers

    def reserved(self, event: ev.Reserved) -> None:
        """The provider has room: start the attempt, unless a budget has none."""
        request = self._answered(event)
        if request is None:
            return
        step = request.step
        self._provider_of[self._route(step)] = event.provider
        refused = self._state.accounts.refuses(event.task, ev.hold_of(event))
        if refused is not None:
            self._recorder.request(act.ReleaseReservation(event.ask))
            self._over_budget(request, *refused, event)
            return
        savings = self._state.accounts.savings(event.task)
        why = f"{', '.join(savings)}: {self._ladder.shares(event.task)}" if savings else ""
        self._attempts.start(step, event.at, event, why)
        self._ladder.update(event.task, event.at)

    def refused(self, event: ev.Refused) -> None:
        """The provider has no room: close its queue, unless something has changed since it was asked."""
        request = self._answered(event)
        if request is None:
            return
        providers = self._providers
        self._provider_of[self._route(request.step)] = event.provider
        queue = providers.queues[event.provider]
        queue.close(event.until, event.reason, event.why)
        self._wait(request.step, request.entry, queue, event.at)
        released = request.releases != providers.releases and event.reason in RELEASABLE
        if request.releases < providers.forced or released:
            queue.open()

    def _answered(self, event: ev.Reserved | ev.Refused) -> Request | None:
        """The request that this answers, if its step can still start. A reservation that cannot be used is
        released."""
        request = self.open.pop(event.ask, None)
        if request is not None:
            step = request.step
            self.requesting.discard(step)
            step.acting.reserving -= 1
            self._calls -= step.acting.is_call
            if step.acting.uses:
                self._state.resources.withdraw(step.acting.uses)
            if self._queue.is_current(request.entry):
                may_start = self._state.may_start(step.acting) and self._has_room(step)
                if may_start and not self._queue.reads_uncommitted(step):
                    return request
                self._queue.resume_wait(step)
                self._queue.put_back(request.entry)
            self._lanes.leave(step)
        if isinstance(event, ev.Reserved):
            self._recorder.request(act.ReleaseReservation(event.ask))
        return None

    def _has_room(self, step: Step) -> bool:
        """Whether there are a worker and resources for the step: limits may have been lowered since it
        requested."""
        rule = step.acting
        if not rule.is_call and self._state.busy_workers + self.kept_workers >= self._state.workers:
            return False
        if rule.uses and self._state.resources.lacking(rule.uses):
            return False
        if self._state.is_closed(rule):
            return False
        return rule.limit is None or rule.live + rule.reserving < rule.limit

    def _over_budget(self, request: Request, name: str, ledger: Ledger, wanted: ev.Reserved) -> None:
        """The budget of this name has no room for one more attempt. While others may use less than is held for
        them, the step waits; once nothing more can come back, the budget ends the work."""
        queue = self._providers.queues[BUDGET]
        queue.close(FOREVER, "budget", f"budget: {ledger.as_text()}")
        self._wait(request.step, request.entry, queue, wanted.at)
        if request.releases == self._providers.releases:
            if self._state.status == "drained":  # the operator is not asked: the process ends
                self._ladder.refuse(request.step, name, ledger, wanted)
            elif not ledger.idle():
                return
            else:
                self._ladder.end(name, ledger, wanted)
        queue.open()

    def queued_steps(self) -> list[Step]:
        """All ready steps that wait for a worker, a provider or a budget, each queue in its order."""
        heaps = [self._queue.heap, self._queue.calls, *(q.entries() for q in self._providers.queues.values())]
        return [step for heap in heaps for step in self._current(heap)]

    def stopped_queues(self) -> list[tuple[str, str, list[Step]]]:
        """The provider (or BUDGET), the reason, and the steps of each queue that opens only when an operator
        acts."""
        found = [(name, queue.why, self._current(queue.entries())) for name, queue in self._providers.stopped()]
        return [one for one in found if one[2]]

    def _current(self, heap: list[Entry]) -> list[Step]:
        return [entry[6] for entry in sorted(heap) if self._queue.is_current(entry)]
