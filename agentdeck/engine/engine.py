"""Carries out what the core decides, in the loop of whoever calls it.

There is no central loop in the hot path. A worker that has finished an attempt hands its outcome to the core
itself, and takes the next attempt from what the core said; other workers are woken only when there is more. A
worker is an anyio task that lives as long as the run, so an attempt costs no task of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from typing import Any

import anyio

from agentdeck.agents.verb import NOW, WorkflowContext
from agentdeck.engine.attempts import Attempts
from agentdeck.engine.clock import Clock
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.reservations import Reservations
from agentdeck.engine.result_reuse import ResultReuse
from agentdeck.engine.run_control import Make, RunControl
from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.task_feed import LATER
from agentdeck.errors import AgentdeckError, StoreError
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.store.log import Also
from agentdeck.store.sqlite_errors import StoreBroken
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Data

#: How long a worker may go on from one attempt to the next before it lets the loop look elsewhere.
SLICE = 0.002
#: Attempts that ignore their cancellation are left behind after this long.
PATIENCE = 1.0
BACKLOG = 50_000
#: Of these nobody need know that they are on disk, unless a step waits for it: they go there with the next record
#: that is not among them, or after HOLD.
HOLD = 0.01
UNHURRIED = frozenset({ev.StepStarted, ev.StepSucceeded, ev.TaskOpened, ev.TaskEnded})


class Engine:
    """One run from its first event to its last."""

    def __init__(
        self,
        machine: Scheduler,
        storage: RunStorage,
        clock: Clock,
        settings: Callable[[Program], WorkflowContext],
        source: Iterator[Mapping[str, Data]],
        *,
        view: RunView,
        deck: Deck,
        watch: Callable[[int, ev.Event], None] | None = None,
        on_line: Callable[[LogLine], None] | None = None,
        on_kept: Callable[[int], None] | None = None,
        yes: bool = False,
        author: ev.Author | None = None,
    ) -> None:
        self.machine = machine
        self.storage = storage
        self.log = storage.log
        self.clock = clock
        self.view = view
        self.abandoned = 0
        self.reservations = Reservations(machine, storage, deck, clock, self.feed)
        self.turned = 0.0  # when the loop was last seen turning, by time.monotonic
        self._source = source
        self._watch = watch
        self._on_line = on_line
        self._on_kept = on_kept
        self._starts: deque[act.StartAttempt] = deque()
        self._idle: list[anyio.Event] = []
        self._woken = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._held: list[ev.Event] = []
        self._holding: asyncio.TimerHandle | None = None
        self._also: list[Also] = []
        self._pulled = machine.opened
        self._unmet = 0  # tasks asked for that are to come later
        self.spoilt: AgentdeckError | None = None
        self._inbox: deque[ev.Event | ev.Signal] = deque()
        self._feeding = False
        self._lines: deque[LogLine] = deque()
        reuse = ResultReuse(storage, machine.run, clock)
        self.attempts = Attempts(
            machine, clock, settings, self.feed, self._lines, reuse, self.reservations, yes=yes, author=author
        )
        self._timer = anyio.Event()
        self._timer_at = 0.0
        self._finished = anyio.Event()
        self._failure: BaseException | None = None
        self._state = ""
        self._ill = False

    async def run(
        self,
        first: ev.Event | ev.Signal,
        control: RunControl | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> str:
        """Run until the core says that it is over, and return the state it ended in. `beside` runs as long.

        Everything recorded is with the log when this returns; the caller flushes it.
        """
        self._loop = asyncio.get_running_loop()
        try:
            async with anyio.create_task_group() as group:
                self.attempts.group = group
                group.start_soon(self._tick_timer)
                group.start_soon(self._tick_lines)
                group.start_soon(self.reservations.pump)
                if control is not None:
                    control.attach(self.post)
                if beside is not None:
                    group.start_soon(beside)
                self.feed(first)
                await self._finished.wait()
                group.cancel_scope.cancel()
        finally:
            self.release()
            for worker in self._workers:
                if not worker.cancelling():  # a second one would take the grace from what it is ending
                    worker.cancel()
            if self._workers:
                await asyncio.wait(self._workers, timeout=PATIENCE)
            self.abandoned = len(self._workers)
        self._release()
        self._flush_lines()
        self.reservations.close()
        if self._failure is not None:
            raise self._failure
        return self._state

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way and nothing will change by itself: no attempt, no start, no commit that a
        step depends on, no task that is still to arrive, no timer. A store that cannot be written is not quiet,
        as it is tried again."""
        machine = self.machine
        arriving = self._unmet and not machine.exhausted
        busy = machine.running or machine.reserving or machine.uncommitted or self.attempts.busy
        return not (busy or arriving or self._starts or self._woken or self._ill or machine.awaits_time)

    def post(self, make: Make) -> None:
        """From any thread: have the core handle what `make` gives for the moment it is handled."""
        self._loop.call_soon_threadsafe(lambda: self.feed(make(self.clock.now())))

    def committed(self, run: str, seq: int) -> None:
        """From the log's thread."""
        self._loop.call_soon_threadsafe(self._is_kept, seq)

    def _is_kept(self, seq: int) -> None:
        if self._on_kept is not None:
            self._on_kept(seq)
        self.feed(ev.Committed(self.clock.now(), seq))

    def fault(self, error: StoreError | None) -> None:
        """From the log's thread: the store cannot be written (None: it can again). The run pauses with the
        reason and goes on by itself; a damaged store ends it."""
        if isinstance(error, StoreBroken):
            self._loop.call_soon_threadsafe(self.stop, error)
            return
        if error is not None:
            self.reservations.reset()
        self._loop.call_soon_threadsafe(self._on_store, error)

    def _on_store(self, error: StoreError | None) -> None:
        """What a person paused stays paused when the store is well again, and what drains goes on draining."""
        state = self.machine.state
        if self._finished.is_set():
            return
        if error is not None and (state == "running" or (self._ill and state == "paused")):
            self._ill = True
            self.feed(ev.RunPaused(self.clock.now(), f"store: {error}"))
        elif error is None and self._ill:
            self._ill = False
            if state == "paused":
                self.feed(ev.RunUnpaused(self.clock.now()))

    def stop(self, error: BaseException) -> None:
        """End the run's execution here and now with an error that is not the workflow's."""
        self._failure = error
        self._finished.set()

    # The core and its actions

    def feed(self, event: ev.Event | ev.Signal, own: int = 0) -> None:
        """Let the core handle one event, and carry out everything that follows from it. A worker that is free
        afterwards says `own=1`."""
        self._inbox.append(event)
        if self._feeding:
            return
        self._handle_inbox()
        self._hand_out(own)
        if self.machine.deadline < self._timer_at:
            self._timer.set()

    def _handle_inbox(self) -> None:
        """Have the scheduler handle all that is in the inbox, and hand what it recorded to the log.

        Events that no step depends on are committed together with later ones: a commit of their own would delay
        the next result. Starts wait until something else is recorded."""
        self._feeding = True
        inbox, machine, view, watch, held = self._inbox, self.machine, self.view, self._watch, self._held
        news = pressing = False
        try:
            while inbox:
                seq = machine.seq
                for action in machine.handle(inbox.popleft()):
                    kind = type(action)
                    if kind is act.Record:
                        recorded = action.event  # type: ignore[union-attr]
                        seq += 1
                        held.append(recorded)
                        if type(recorded) is not ev.StepStarted:
                            news = True
                            pressing |= type(recorded) not in UNHURRIED
                            if type(recorded) is ev.StepAnswered:
                                self.attempts.log_answer(recorded)
                        view.apply(seq, recorded)
                        if watch is not None:
                            watch(seq, recorded)
                    elif kind is act.StartAttempt:
                        self._starts.append(action)  # type: ignore[arg-type]
                    else:
                        self._carry_out(action)
        finally:
            self._feeding = False
            if news and (pressing or self._also or machine.uncommitted or held[-1].at > held[0].at + HOLD):
                self._release()
            elif news and self._holding is None:
                self._holding = self._loop.call_later(HOLD, self.release)

    def _carry_out(self, action: act.Action) -> None:
        match action:
            case act.PullTask():
                self._pull()
            case act.CancelAttempt():
                self._cancel_attempt(action)
            case act.Reserve():
                self.reservations.reserve(action)
            case act.ReleaseReservation():
                self.reservations.release(action.ask)
            case act.SaveLetter() | act.UpdateLetters():
                self._also.append(self.storage.letter(self.machine.run, self.view.identity, action))
            case act.Finish():
                self._state = action.state
                self._finished.set()

    def _release(self) -> None:
        if not self._held:
            return
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        events, self._held = self._held, []
        also, self._also = self._also, []
        run, first = self.machine.run, self.machine.seq - len(events) + 1
        self.log.append(run, first, events, also)

    def release(self) -> None:
        """Hand to the log what is still held, for whoever wants to find it on disk."""
        with suppress(StoreError):  # the log says so itself, and the run stops
            self._release()

    def arrived(self) -> None:
        """From any thread: tasks that were to come are there."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits for them any more
            self._loop.call_soon_threadsafe(self._pull_again)

    def _pull_again(self) -> None:
        want, self._unmet = self._unmet, 0
        for _ in range(want):
            if not self.machine.exhausted and self.machine.state != "drained":
                self._pull()
        if self._inbox:
            self.feed(self._inbox.pop())  # with those before it

    def _pull(self) -> None:
        if self.spoilt is not None:
            return
        at = self.clock.now()
        try:
            inputs = next(self._source, None)
        except AgentdeckError as error:
            # What runs comes to its end; then this is told.
            self.spoilt = error
            self._inbox.append(ev.RunDrained(at))
            return
        if inputs is LATER:
            self._unmet += 1
            return
        if inputs is None:
            self._inbox.append(ev.TasksExhausted(at, self._pulled))
        else:
            self._pulled += 1
            self._inbox.append(ev.TaskOpened(at, str(self._pulled), dict(inputs)))

    def _cancel_attempt(self, action: act.CancelAttempt) -> None:
        self.attempts.cancel((action.task, action.step, action.attempt), NOW if action.now else None)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self.stop(error)

    def _hand_out(self, own: int) -> None:
        """Wake or make a worker for each attempt to start, but for the one that the calling worker takes itself
        (`own`). `woken` are on their way and have not taken theirs yet."""
        want = len(self._starts) - own - self._woken
        while want > 0:
            want -= 1
            self._woken += 1
            if self._idle:
                self._idle.pop().set()
            else:
                worker = self._loop.create_task(self._work())
                self._workers.add(worker)
                worker.add_done_callback(self._worker_ended)

    # Workers

    async def _work(self) -> None:
        starts, attempt, worker = self._starts, self.attempts.run, asyncio.current_task()
        assert worker is not None
        while True:
            self._woken -= 1
            since = time.monotonic()
            while starts:
                await attempt(starts.popleft(), worker)
                if time.monotonic() - since > SLICE:
                    await asyncio.sleep(0)
                    while self.log.backlog > BACKLOG:  # noqa: ASYNC110 - it shrinks in another thread
                        await anyio.sleep(0.005)
                    since = time.monotonic()
            if self._finished.is_set():
                return
            wake = anyio.Event()
            self._idle.append(wake)
            await wake.wait()

    # Clocks

    async def _tick_timer(self) -> None:
        while True:
            self._timer_at = due = self.machine.deadline
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
            await anyio.sleep(0.05)
            self.turned = time.monotonic()
            self._release()
            self._flush_lines()

    def _flush_lines(self) -> None:
        if not self._lines:
            return
        rows = [self._lines.popleft() for _ in range(len(self._lines))]
        self.log.log(self.machine.run, rows)
        if self._on_line is not None:
            for row in rows:
                self._on_line(row)
