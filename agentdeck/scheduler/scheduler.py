"""The scheduler of a run: events in, actions out.

`Scheduler.handle(event)` checks an event against the state, records it with all that follows from it, and returns
what is to be done. It never waits and never acts. The shape is that of dask.distributed's worker state machine:
one entry, instructions as values, and a state that changes nowhere else.

The parts, and which of them use which, from the bottom up:

    RunState, Timers, ReadyQueue, ProviderQueues, SequentialLanes, Pending, Joins      the state and its queues
    Fold (StepFold, Reopener)                                                          applies recorded events
    Recorder                                                                           records, collects actions
    ResourceQueue                                                                      steps that lack a resource
    Cancellation, Failures, BudgetLadder, Attempts, Reservations, Expansion, Timeouts,
    Commands, Starter                                                                  decide
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.attempts import Attempts
from agentdeck.scheduler.budget_ladder import BudgetLadder
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.commands import Commands
from agentdeck.scheduler.expansion import Expansion
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.horizon import Horizon
from agentdeck.scheduler.joins import evaluate
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.recorder import Recorder, UsageSource
from agentdeck.scheduler.reopen import chain
from agentdeck.scheduler.reservations import Reservations
from agentdeck.scheduler.resource_queue import ResourceQueue
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.starter import Starter
from agentdeck.scheduler.state import BETWEEN, CANCELLED, DONE, FAILED, OPEN, READY, RUNNING, WAITING, Step, Task
from agentdeck.scheduler.timeouts import Timeouts
from agentdeck.scheduler.waits import RunWait
from agentdeck.workflow.model import ProviderLimits


class Scheduler:
    """One run: handles what comes in, decides what follows, and starts what fits next."""

    def __init__(
        self, program: Program, *, run: str = "", workers: int = 8, gated: bool = False, keep: Container[str] = ()
    ) -> None:
        self._fold = fold = Fold(program, run=run, workers=workers, gated=gated, keep=keep)
        self._state = state = fold.state
        self._clock = fold.clock
        self._queue = queue = fold.queue
        self._providers = providers = fold.providers
        self._pending = pending = fold.pending
        self._recorder = recorder = Recorder(fold)
        self._cancellation = cancellation = Cancellation(state, recorder)
        self._failures = failures = Failures(state, pending, recorder, cancellation)
        ladder = BudgetLadder(state, recorder, cancellation)
        self._attempts = attempts = Attempts(state, queue, fold.clock, recorder, cancellation, failures, ladder)
        self._reservations = reservations = Reservations(
            state, queue, providers, fold.lanes, recorder, attempts, ladder
        )
        self._expansion = expansion = Expansion(state, queue, recorder, attempts, failures)
        self._timeouts = Timeouts(state, queue, fold.timers, providers, recorder, failures)
        self._commands = Commands(
            state, queue, providers, pending, recorder, cancellation, reservations, expansion
        )
        self._resources = resources = ResourceQueue(state, queue, recorder)
        self._horizon = horizon = Horizon(state, queue)
        self._starter = Starter(
            state, queue, providers, recorder, cancellation, attempts, reservations, resources, horizon
        )
        self._provider_limits: Mapping[str, ProviderLimits] = {}
        self._finished = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.ReservationGrew: attempts.reservation_grew,
            ev.StepSucceeded: attempts.succeeded,
            ev.AttemptFailed: attempts.failed,
            ev.AttemptLost: attempts.lost,
            ev.AttemptDeferred: attempts.deferred,
            ev.AttemptAsked: attempts.asked,
            ev.AttemptPlaced: attempts.within,
            ev.InnerStarted: attempts.within,
            ev.InnerEnded: attempts.within,
            ev.DeferralEnded: attempts.deferral_ended,
            ev.TaskOpened: self._on_task_opened,
            ev.TasksExhausted: self._on_exhausted,
            ev.TimerFired: self._timeouts.fire,
            ev.Committed: lambda event: queue.commit(event.seq, event.at),
            ev.CancelAsked: self._cancellation.requested,
            ev.SkipAsked: self._commands.skip,
            ev.RunStarted: recorder.record,
            ev.RunResumed: self._on_resumed,
            ev.RunPaused: recorder.record,
            ev.RunUnpaused: self._commands.unpause,
            ev.RunDrained: recorder.record,
            ev.LimitChanged: self._commands.limit_changed,
            ev.PlaceClosed: self._on_place_closed,
            ev.PlaceOpened: self._on_place_opened,
            ev.Reserved: self._reservations.reserved,
            ev.Refused: self._reservations.refused,
            ev.OutputRendered: self._expansion.output_rendered,
            ev.TaskHurried: self._commands.hurry,
            ev.StepReleased: self._commands.release,
            ev.StepAnswered: self._commands.answer,
            ev.StepReopened: self._on_reopened,
            ev.Batch: self._on_batch,
            ev.Noted: recorder.record,
            ev.WorkerHeld: recorder.record,
            ev.WorkerFreed: recorder.record,
        }

    def handle(self, event: ev.Event | ev.Signal) -> list[act.Action]:
        """Returns the actions that an event leads to. An event that no longer makes sense (an attempt that was
        cancelled, a step that has ended) changes nothing and records nothing."""
        recorder, clock = self._recorder, self._clock
        recorder.start()
        if event.at > clock.at:
            clock.advance(event.at)
        kind = type(event)
        self._handlers[kind](event)
        if kind is ev.InnerStarted or kind is ev.InnerEnded or kind is ev.AttemptPlaced:
            return recorder.actions  # nothing can start by it, and there are thousands
        self._settle(event.at)
        full = self._starter.free <= 0
        clock.phase = RunWait.PAUSED if self._state.paused else RunWait.FULL if full else RunWait.FREE
        return recorder.actions

    def apply(self, event: ev.Event) -> None:
        """Apply an event that is recorded already, to restore the state of a run from its log."""
        self._fold.apply(event)

    # What comes in

    def _on_task_opened(self, event: ev.TaskOpened) -> None:
        if event.parent is None:
            self._starter.task_came()
        elif event.called:
            holder = self._state.find(*event.parent)
            if holder is None or holder.state != RUNNING:
                return  # the attempt that makes the call has ended
        self._recorder.record(event)

    def _on_exhausted(self, event: ev.TasksExhausted) -> None:
        """Each worker that asked for a task gets this answer; the first one is recorded."""
        self._starter.forget_pulls()
        if not self._state.exhausted:
            self._recorder.record(event)

    def _on_resumed(self, event: ev.RunResumed) -> None:
        self._attempts.resume(event)
        self._starter.forget_pulls()
        self._finished = False

    def _on_place_closed(self, event: ev.PlaceClosed) -> None:
        if event.place not in self._state.closed_places:
            self._recorder.record(event)
            self._queue.update_parked_reasons()

    def _on_place_opened(self, event: ev.PlaceOpened) -> None:
        if event.place in self._state.closed_places:
            self._recorder.record(event)
            self._queue.update_parked_reasons()

    def _on_reopened(self, event: ev.StepReopened) -> None:
        if self._commands.reopen(event):
            self._finished = False

    def _on_batch(self, event: ev.Batch) -> None:
        for one in event.events:
            self._handlers[type(one)](one)

    # What follows

    def _settle(self, at: float) -> None:
        """Decide all that can be decided now, then start what fits; again where that dropped a step."""
        pending, queue = self._pending, self._queue
        if self._expansion.rendering:
            self._expansion.end_abandoned(at)
        while (
            pending.unsatisfiable or pending.unneeded or queue.composite or pending.undecided or pending.finished
        ):
            self._decide(at)
        while pending.recovered:
            step = pending.recovered.popleft()
            self._recorder.request(act.UpdateLetters(step.task.id, step.key, "closed"))
        starting = not self._state.paused or (self._starter.has_calls and self._state.status == "drained")
        if starting and self._starter.start(at):
            self._settle(at)
        else:
            self._finish(at)

    def _decide(self, at: float) -> None:
        """Take one decision that the events so far have left open."""
        pending, queue = self._pending, self._queue
        if pending.unsatisfiable:
            step, verdict = pending.unsatisfiable.popleft()
            if step.state == WAITING and evaluate(step) == verdict:
                self._failures.join_failed(step, verdict, at)
        elif pending.unneeded:
            step = pending.unneeded.popleft()
            if self._state.holds(step.task):
                self._cancellation.cancel_unneeded(step, at)
        elif queue.composite:
            step = queue.composite.popleft()
            if step.state == READY and not queue.hold_until_committed(step):
                self._expansion.begin(step, at)
        elif pending.undecided:
            step = pending.undecided.popleft()
            if step.state == BETWEEN or (step.state == OPEN and step.items is not None):
                self._expansion.proceed(step, at)
        else:
            self._expansion.end_task(pending.finished.popleft(), at)

    def _finish(self, at: float) -> None:
        state = self._state
        if self._finished:
            return
        if state.exhausted and not state.tasks:
            self._finished = True
            cancelled = self._cancellation.of_run or state.cancelled_tasks
            final = FAILED if state.failed_tasks else CANCELLED if cancelled else DONE
            self._recorder.record(ev.RunEnded(at, final))
            self._recorder.request(act.Finish(final))
        elif state.status == "drained" and not self.busy:
            self._finished = True
            self._recorder.request(act.Finish("drained"))

    # Set by the engine

    def configure_providers(self, limits: Mapping[str, ProviderLimits], *, reserve: bool) -> None:
        """Set the deck's provider limits, and whether prompts are reserved before they start."""
        self._provider_limits = limits
        self._state.program.reserve_prompts(reserve)

    def set_usage_source(self, source: UsageSource) -> None:
        """Set the function that returns what an attempt under way has used so far."""
        self._recorder.set_usage_source(source)

    def restore_tasks(self, tasks: Mapping[str, Task]) -> None:
        """Add ended tasks, rebuilt from the store, so that their steps can be reopened."""
        self._state.restore(tasks)

    def forget(self, but: Container[str] = ()) -> None:
        """Drop ended tasks from now on, except those under `but` and under open tasks."""
        self._state.forget(but)

    # Read by the engine

    @property
    def state(self) -> RunState:
        """The state of the run, for reading only."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether the engine carries out something that it will answer: an attempt, a reservation, an output."""
        return bool(self._state.running or self._reservations.open or self._expansion.rendering)

    @property
    def has_calls(self) -> bool:
        """Whether attempts of this run may call models through the gateway."""
        return self._starter.has_calls

    @property
    def uncommitted(self) -> int:
        """How many steps wait until the results that they read are on disk."""
        return len(self._queue.uncommitted)

    @property
    def provider_limits(self) -> Mapping[str, ProviderLimits]:
        """The limits of the deck's providers, before an operator changed any."""
        return self._provider_limits

    @property
    def limit_changes(self) -> int:
        """How often an operator changed a limit or resumed the run."""
        return self._providers.limit_changes

    @property
    def deadline(self) -> float:
        """When the next `TimerFired` is wanted, infinite where no time is awaited."""
        return self._timeouts.deadline

    @property
    def awaits_time(self) -> bool:
        """Whether something will change without an operator and without an attempt that runs."""
        return self._timeouts.expects_change() or self._queue.awaits_place

    def can_reopen(self, task: str, key: str) -> bool:
        """Whether a step can run again: it has ended, and its task is open or was restored."""
        return bool(chain(self._state, task, key))

    def queued_steps(self) -> list[Step]:
        """All ready steps that wait for a worker, a provider or a budget, each queue in its order."""
        return self._reservations.queued_steps()

    def never_fitting(self) -> dict[str, list[Step]]:
        """The steps that use more of a resource than its limit is now, by the name of the resource."""
        return self._resources.never_fitting()

    def stopped_queues(self) -> list[tuple[str, str, list[Step]]]:
        """The provider (or BUDGET), the reason, and the steps of each queue that opens only when an operator
        acts."""
        return self._reservations.stopped_queues()
