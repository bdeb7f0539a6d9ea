"""Executes what the scheduler decides, on the event loop of the caller.

There is no central loop in the hot path. A worker that has finished an attempt passes its outcome to the
scheduler itself, and takes its next attempt from what the scheduler answers; other workers are woken only when
there are more. A worker is a task that lives as long as the run, so an attempt costs no task of its own.

Attempts that end in the same turn of the event loop, as those whose timers end at the same moment do, are handled
together: what starts next is chosen among all that they release."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from agentdeck.agents.verb import NOW
from agentdeck.engine.adaptive_mode import AdaptiveMode
from agentdeck.engine.attempts import AttemptRunner, Runners
from agentdeck.engine.clock import Clock
from agentdeck.engine.commands import order
from agentdeck.engine.event_buffer import EventBuffer
from agentdeck.engine.gateway_calls import CALL_ENDS, GatewayCalls
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.observer_feed import ObserverFeed
from agentdeck.engine.observers import Warn, warn_in_log
from agentdeck.engine.reservations import CallReservations
from agentdeck.engine.result_reuse import ResultReuse
from agentdeck.engine.run_control import Make, RunControl
from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.task_feed import LATER
from agentdeck.errors import AgentdeckError, Fault, StoreError
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.commands import Request
from agentdeck.store.sqlite_errors import StoreBroken
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Data

#: Seconds for which a worker goes from one attempt to the next before it yields to the event loop, unless an
#: attempt has done that.
SLICE = 0.002
#: Records not yet on disk above which workers wait: with large results, 25 MB of them.
BACKLOG = 50_000
#: The same, above which no more tasks are opened than there are workers: the disk is far behind.
CROWDED = 8_000
#: Seconds between two times that log lines are handed to the log.
LINES = 0.05


class Engine:
    """One run from its first event to its last.

    `runners` give what executes the attempts of each agent, `source` yields the tasks. `adaptive` chooses the
    mode from the events, `observers` gets them when they are committed, `on_line` is called with every log line,
    `warn` with what the operator has to know at once. With `yes`, `author` approves everything.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        storage: RunStorage,
        clock: Clock,
        runners: Runners,
        source: Iterator[Mapping[str, Data]],
        *,
        view: RunView,
        deck: Deck,
        observers: ObserverFeed,
        adaptive: AdaptiveMode | None = None,
        on_line: Callable[[LogLine], None] | None = None,
        warn: Warn = warn_in_log,
        yes: bool = False,
        author: ev.Author | None = None,
        calls: GatewayCalls | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.storage = storage
        self.log = storage.log
        self.clock = clock
        self.abandoned = 0
        #: The error that ended the iteration over the tasks: what runs is finished, then the caller raises it.
        self.source_error: AgentdeckError | None = None
        #: When the event loop last ran the engine's timer, by time.monotonic.
        self.last_turn = 0.0
        self.reservations = CallReservations(scheduler, storage, deck, clock, self.feed)
        self.events = EventBuffer(scheduler, self.log, observers, view, snapshots=storage.durable)
        self._source = source
        self._observers = observers
        self._adaptive = adaptive
        self._on_line = on_line
        self._warn = warn
        self._calls = calls
        self._starts: deque[act.StartAttempt] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._woken = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._active: asyncio.Task[None] | None = None  # the worker that began an attempt last
        self._pulled = scheduler.state.opened
        self._unmet = 0  # tasks that were asked for and arrive later
        self._postponed = 0  # the same, until the disk has caught up
        self._inbox: deque[ev.Event | ev.Signal] = deque()
        self._feeding = False
        self._ends: list[ev.AttemptEnd] = []  # of this turn of the event loop
        self._lines: deque[LogLine] = deque()
        reuse = ResultReuse(storage, scheduler.state.run, clock)
        self.attempts = AttemptRunner(
            scheduler,
            clock,
            runners,
            self.feed,
            self._end_attempt,
            self._lines,
            reuse,
            self.reservations,
            yes=yes,
            author=author,
        )
        self._timer = anyio.Event()
        self._timer_at = 0.0
        self._finished = anyio.Event()
        self._written = anyio.Event()  # for those who wait until fewer records wait for the disk
        self._failure: BaseException | None = None
        self._state = ""
        self._store_fault = False

    # From its first event to its last, as `execution.run_engine` calls it

    def begin(
        self,
        group: TaskGroup,
        first: ev.Event | ev.Signal,
        control: RunControl | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Start with the first event. The clocks, the reservations and `beside` run in the task group."""
        self._loop = asyncio.get_running_loop()
        self.attempts.group = group
        group.start_soon(self._tick_timer)
        group.start_soon(self._tick_lines)
        group.start_soon(self.reservations.pump)
        if control is not None:
            control.attach(self)
        if beside is not None:
            group.start_soon(beside)
        self.feed(first)

    async def wait(self) -> None:
        """Return when the scheduler has finished, or the engine was stopped."""
        await self._finished.wait()

    def cancel_workers(self) -> set[asyncio.Task[None]]:
        """Cancel the workers; returns those that have not ended yet, a set from which each is removed when it
        has."""
        self._handle_ends()
        self.events.flush()
        for worker in self._workers:
            if not worker.cancelling():  # a second cancellation would take away the grace of the first
                worker.cancel()
        return self._workers

    def end(self) -> str:
        """Hand over what is left, and return the run's final state. Raises what stopped the engine."""
        self.abandoned = len(self._workers)
        self.events.hand_over()
        self._flush_lines()
        self.reservations.close()
        if self._failure is not None:
            raise self._failure
        return self._state

    @property
    def view(self) -> RunView:
        """The run's view after every event so far."""
        return self.events.view

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way and nothing will change by itself: no attempt, no start, no commit that a
        step depends on, no task that is still to arrive, no timer. A store that cannot be written is not quiet,
        as writing is tried again."""
        scheduler = self.scheduler
        if scheduler.busy or scheduler.uncommitted or self.attempts.busy:
            return False  # without a look at every open step
        arriving = (self._unmet or self._postponed) and not scheduler.state.exhausted
        waiting = arriving or self._starts or self._woken or self._store_fault or scheduler.awaits_time
        return not waiting

    @property
    def finished(self) -> bool:
        """Whether the run has ended, drained or was stopped: nothing is carried out any more."""
        return self._finished.is_set()

    def post(self, make: Make) -> None:
        """From any thread: have the scheduler handle the event that `make` returns for the current time."""
        self._loop.call_soon_threadsafe(lambda: self.feed(make(self.clock.now())))

    def carry_out(self, request: Request) -> Data:
        """Carry out a command, on the loop; returns the answer to its sender. Raises UsageError where that is not
        possible in the state that the run is in."""
        events, answer = order(request, self.scheduler, self.clock.now())
        for event in events:
            self.feed(event)
        return answer

    def committed(self, run: str, seq: int) -> None:
        """From the log's thread: all events up to this one are on disk."""
        self._observers.committed(seq)
        self._loop.call_soon_threadsafe(self._on_committed, seq)

    def _on_committed(self, seq: int) -> None:
        self.feed(ev.Committed(self.clock.now(), seq))
        self._pull_postponed()

    def fault(self, error: StoreError | None) -> None:
        """From the log's thread: the store cannot be written (None: it can again). The run pauses with the reason
        and continues by itself; a damaged store ends it."""
        if isinstance(error, StoreBroken):
            self._loop.call_soon_threadsafe(self.stop, error)
            return
        if error is not None:
            self.reservations.reset()
        self._loop.call_soon_threadsafe(self._on_store_fault, error)

    def _on_store_fault(self, error: StoreError | None) -> None:
        """A run that the operator paused stays paused when the store works again, and a draining one drains. The
        pause is reported at once: observers receive its event only when it can be committed."""
        state = self.scheduler.state.status
        if self._finished.is_set():
            return
        if error is not None and (state == "running" or (self._store_fault and state == "paused")):
            self._store_fault = True
            why = f"store: {error}"
            self._warn(f"paused: {why}")
            self.feed(ev.RunPaused(self.clock.now(), why))
        elif error is None and self._store_fault:
            self._store_fault = False
            if state == "paused":
                self.feed(ev.RunUnpaused(self.clock.now()))

    def stop(self, error: BaseException) -> None:
        """End the execution of the run now, with an error that is not the workflow's."""
        self._failure = error
        self._finished.set()

    # The scheduler and its actions

    def feed(self, event: ev.Event | ev.Signal, own: int = 0) -> None:
        """Have the scheduler handle one event, and carry out everything that follows from it. A worker that is
        free afterwards passes `own=1`."""
        if self._ends:  # they come first, as they happened before
            self._inbox.append(self._take_ends())
        self._inbox.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._inbox:
                self._handle(self._inbox.popleft())
        finally:
            self._feeding = False
            self.events.flush_if_due()
        self._hand_out(own)
        if self.scheduler.deadline < self._timer_at:
            self._timer.set()

    def _end_attempt(self, event: ev.AttemptEnd) -> None:
        """An attempt has ended in its worker. Where others run, it is handled after this turn of the loop."""
        if len(self.scheduler.state.running) < 2:
            self.feed(event, 1)
            return
        if not self._ends:
            self._loop.call_soon(self._handle_ends)
        self._ends.append(event)

    def _handle_ends(self) -> None:
        """Have the scheduler handle the attempts that have ended, unless that was done with another event."""
        try:
            if self._ends:
                self.feed(self._take_ends())
        except Exception as error:  # as one that a worker raises
            self.stop(error)

    def _take_ends(self) -> ev.Event | ev.Signal:
        ends, self._ends = self._ends, []
        return ends[0] if len(ends) == 1 else ev.Batch(ends[-1].at, tuple(ends))

    def _handle(self, event: ev.Event | ev.Signal) -> None:
        adaptive = self._adaptive
        for action in self.scheduler.handle(event):
            kind = type(action)
            if kind is act.Record:
                recorded = action.event  # type: ignore[union-attr]
                self.events.add(recorded)
                if adaptive is not None and (chosen := adaptive.see(recorded)) is not None:
                    self.feed(chosen)
                if self._calls is not None and type(recorded) in CALL_ENDS:
                    self._calls.ended(recorded)
                elif type(recorded) is ev.StepAnswered:
                    self.attempts.log_answer(recorded)
            elif kind is act.StartAttempt:
                self._starts.append(action)  # type: ignore[arg-type]
            else:
                self._carry_out(action)

    def _carry_out(self, action: act.Action) -> None:
        match action:
            case act.PullTask():
                self._pull()
            case act.CancelAttempt():
                how = NOW if action.now else None
                self.attempts.cancel((action.task, action.step, action.attempt), how)
            case act.ExpireAttempt():
                key = (action.task, action.step, action.attempt)
                self.attempts.expire(key, action.fault, action.usage)
            case act.Reserve():
                self.reservations.reserve(action)
            case act.RenderOutput():
                self.attempts.group.start_soon(self._render, action)
            case act.ReleaseReservation():
                self.reservations.release(action.ask)
            case act.SaveLetter() | act.UpdateLetters():
                write = self.storage.letter(self.scheduler.state.run, self.view.identity, action)
                self.events.add_write(write)
            case act.Finish():
                self._state = action.state
                self._finished.set()

    async def _render(self, action: act.RenderOutput) -> None:
        output, fault = None, None
        try:
            output = await anyio.to_thread.run_sync(action.template.render, action.scope, abandon_on_cancel=True)
        except AgentdeckError as error:
            fault = Fault("expression", f"output: {error}")
        self.feed(ev.OutputRendered(self.clock.now(), action.ask, action.task, output, fault))

    # Tasks

    def tasks_arrived(self) -> None:
        """From any thread: tasks that were not there when they were asked for have arrived."""
        with suppress(RuntimeError):  # the loop is closed: the run is over
            self._loop.call_soon_threadsafe(self._pull_again)

    def _pull_postponed(self) -> None:
        if self._postponed and not self._crowded:
            self._unmet += self._postponed
            self._postponed = 0
            self._pull_again()

    @property
    def _crowded(self) -> bool:
        state = self.scheduler.state
        coming = self._pulled - state.opened
        return self.log.backlog > CROWDED and state.open_tasks + coming >= state.workers

    def _pull_again(self) -> None:
        want, self._unmet = self._unmet, 0
        for _ in range(want):
            if not self.scheduler.state.exhausted and self.scheduler.state.status != "drained":
                self._pull()
        if self._inbox:
            self.feed(self._inbox.pop())  # with those before it

    def _pull(self) -> None:
        if self.source_error is not None:
            return
        if self._crowded:
            self._postponed += 1
            return
        at = self.clock.now()
        try:
            inputs = next(self._source, None)
        except AgentdeckError as error:
            self.source_error = error
            self._inbox.append(ev.RunDrained(at))
            return
        if inputs is LATER:
            self._unmet += 1
        elif inputs is None:
            self._inbox.append(ev.TasksExhausted(at, self._pulled))
        else:
            self._pulled += 1
            self._inbox.append(ev.TaskOpened(at, str(self._pulled), dict(inputs)))

    # Workers

    def _hand_out(self, own: int) -> None:
        """Wake or create a worker for each attempt to start, except for the one that the calling worker takes
        itself (`own`). `_woken` workers have not taken theirs yet."""
        want = len(self._starts) - own - self._woken
        while want > 0:
            want -= 1
            self._woken += 1
            if self._idle:
                wake = self._idle.pop()
                if not wake.done():  # a worker that is cancelled at the end of the run
                    wake.set_result(None)
            else:
                worker = self._loop.create_task(self._work())
                self._workers.add(worker)
                worker.add_done_callback(self._worker_ended)

    async def _work(self) -> None:
        starts, begin, worker = self._starts, self.attempts.begin, asyncio.current_task()
        assert worker is not None
        while True:
            self._woken -= 1
            since = time.monotonic()
            while starts:
                self._active = worker
                attempt = begin(starts.popleft(), worker)
                if attempt is not None:
                    await attempt
                if self._ends:
                    self._woken += 1
                    await asyncio.sleep(0)  # they are handled meanwhile
                    self._woken -= 1
                if self._active is not worker:  # another one has worked meanwhile, so the event loop had its turn
                    since = time.monotonic()
                elif time.monotonic() - since > SLICE:
                    await asyncio.sleep(0)
                    since = time.monotonic()
                while self.log.backlog > BACKLOG:
                    await self._written.wait()
            if self._finished.is_set():
                return
            wake = self._loop.create_future()  # costs a quarter of an event
            self._idle.append(wake)
            await wake

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self.stop(error)

    # Clocks

    async def _tick_timer(self) -> None:
        while True:
            self._timer_at = due = self.scheduler.deadline
            now = self.clock.now()
            if due <= now:
                self.feed(ev.TimerFired(now))
                continue
            with anyio.move_on_after(due - now if due < float("inf") else None):
                await self._timer.wait()
            if self._timer.is_set():
                self._timer = anyio.Event()

    async def _tick_lines(self) -> None:
        while True:
            await anyio.sleep(LINES)
            self.last_turn = time.monotonic()
            self.events.hand_over()
            self._flush_lines()
            self._pull_postponed()
            if self.log.backlog <= BACKLOG:
                self._written.set()
                self._written = anyio.Event()

    def _flush_lines(self) -> None:
        if not self._lines:
            return
        rows = [self._lines.popleft() for _ in range(len(self._lines))]
        self.log.log(self.scheduler.state.run, rows)
        if self._on_line is not None:
            for row in rows:
                self._on_line(row)
