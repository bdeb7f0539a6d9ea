"""Carries out what the core decides, in the loop of whoever calls it.

There is no central loop in the hot path. A worker that has finished an attempt hands its outcome to the core
itself, and takes the next attempt from what the core said; other workers are woken only when there is more. A
worker is an anyio task that lives as long as the run, so an attempt costs no task of its own.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import anyio

from agentdeck.agents.build import build
from agentdeck.agents.fit import Fit
from agentdeck.agents.verb import NOW, Answer, Setting, Verb, Work
from agentdeck.core import events as ev
from agentdeck.core.machine import Machine
from agentdeck.core.program import Program, Rule
from agentdeck.core.scope import scope_of
from agentdeck.core.state import OPEN, RUNNING, Step
from agentdeck.core.view import View
from agentdeck.engine.arriving import LATER
from agentdeck.engine.clock import Clock
from agentdeck.engine.control import Control, Make
from agentdeck.engine.hedge import Hedges
from agentdeck.engine.lines import AttemptLog, LogLine
from agentdeck.engine.rates import Rates
from agentdeck.engine.reuse import Reuse
from agentdeck.engine.storage import Storage
from agentdeck.errors import AgentdeckError, Fault, StepError, StoreError
from agentdeck.store.faultpoint import passing
from agentdeck.store.faults import StoreBroken
from agentdeck.store.log import Also
from agentdeck.workflow.model import Approve, Data, SubWorkflow
from agentdeck.workflow.values import Template, compile_template

#: How long a worker may go on from one attempt to the next before it lets the loop look elsewhere.
SLICE = 0.002
#: Attempts that ignore their cancellation are left behind after this long.
PATIENCE = 1.0
BACKLOG = 50_000

#: An attempt: task, step, number.
Key: TypeAlias = tuple[str, str, int]


class Hands:
    """What an agent's rule needs to be carried out: its verb, its compiled `with`, the check of its output."""

    __slots__ = ("fit", "seeded", "verb", "with_")

    def __init__(self, rule: Rule, setting: Setting) -> None:
        agent = rule.agent
        self.verb: Verb | None = build(agent, setting) if rule.slot else None
        self.with_: Template | None = compile_template(dict(agent.with_)) if agent.with_ else None
        self.fit = Fit(agent) if agent.output or agent.expect else None
        self.seeded = rule.verb in ("simulate", "prompt")


class Engine:
    """One run from its first event to its last."""

    def __init__(
        self,
        machine: Machine,
        storage: Storage,
        clock: Clock,
        settings: Callable[[Program], Setting],
        source: Iterator[Mapping[str, Data]],
        *,
        view: View,
        reuse: Reuse,
        watch: Callable[[int, ev.Event], None] | None = None,
        on_line: Callable[[LogLine], None] | None = None,
        yes: bool = False,
    ) -> None:
        self.machine = machine
        self.storage = storage
        self.log = storage.log
        self.clock = clock
        self.view = view
        self.reuse = reuse
        self.abandoned = 0
        self.rates: Rates | None = None
        self.hedges: Hedges | None = None
        self.turned = 0.0  # when the loop was last seen turning, by time.monotonic
        self._settings = settings
        self._source = source
        self._watch = watch
        self._on_line = on_line
        self._yes = yes
        self._hands: dict[Rule, Hands] = {}
        self._starts: deque[ev.StartAttempt] = deque()
        self._idle: list[anyio.Event] = []
        self._woken = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._cancelled: set[Key] = set()
        self._held: list[ev.Event] = []
        self._also: list[Also] = []
        self._pulled = machine.ages
        self._unmet = 0  # tasks asked for that are to come later
        self.spoilt: AgentdeckError | None = None
        self._live: dict[Key, asyncio.Task[None]] = {}
        self._inbox: deque[ev.Event | ev.Signal] = deque()
        self._feeding = False
        self._lines: deque[LogLine] = deque()
        self._timer = anyio.Event()
        self._timer_at = 0.0
        self._finished = anyio.Event()
        self._failure: BaseException | None = None
        self._state = ""
        self._ill = False

    async def run(
        self,
        first: ev.Event | ev.Signal,
        control: Control | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> str:
        """Run until the core says that it is over, and return the state it ended in. `beside` runs as long.

        Everything recorded is with the log when this returns; the caller flushes it.
        """
        self._loop = asyncio.get_running_loop()
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._tick_timer)
                group.start_soon(self._tick_lines)
                if self.rates is not None:
                    group.start_soon(self.rates.pump)
                if control is not None:
                    control.attach(self.post)
                if beside is not None:
                    group.start_soon(beside)
                self.feed(first)
                await self._finished.wait()
                group.cancel_scope.cancel()
        finally:
            for worker in self._workers:
                if not worker.cancelling():  # a second one would take the grace from what it is ending
                    worker.cancel()
            if self._workers:
                await asyncio.wait(self._workers, timeout=PATIENCE)
            self.abandoned = len(self._workers)
        self._release()
        self._flush_lines()
        if self.rates is not None:
            self.rates.close()
        if self._failure is not None:
            raise self._failure
        return self._state

    def post(self, make: Make) -> None:
        """From any thread: have the core handle what `make` gives for the moment it is handled."""
        self._loop.call_soon_threadsafe(lambda: self.feed(make(self.clock.now())))

    def committed(self, run: str, seq: int) -> None:
        """From the log's thread."""
        self.post(lambda at: ev.Committed(at, seq))

    def fault(self, error: StoreError | None) -> None:
        """From the log's thread: the store cannot be written (None: it can again). The run pauses with the
        reason and goes on by itself; a damaged store ends it."""
        if isinstance(error, StoreBroken):
            self._loop.call_soon_threadsafe(self.stop, error)
            return
        if error is not None and self.rates is not None:
            self.rates.reset()
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
        self._feeding = True
        machine, view, watch = self.machine, self.view, self._watch
        batch: list[ev.Event] = []
        try:
            while self._inbox:
                seq = machine.seq
                for action in machine.handle(self._inbox.popleft()):
                    kind = type(action)
                    if kind is ev.Record:
                        recorded = action.event  # type: ignore[union-attr]
                        seq += 1
                        batch.append(recorded)
                        view.apply(seq, recorded)
                        if watch is not None:
                            watch(seq, recorded)
                    elif kind is ev.StartAttempt:
                        self._starts.append(action)  # type: ignore[arg-type]
                    elif kind is ev.PullTask:
                        self._pull()
                    elif kind is ev.CancelAttempt:
                        self._cancel_attempt(action)  # type: ignore[arg-type]
                    elif kind is ev.Reserve:
                        self.rates.ask(action)  # type: ignore[union-attr,arg-type]
                    elif kind is ev.GiveBack:
                        self.rates.give_back(action.ask)  # type: ignore[union-attr]
                    elif kind is ev.KeepLetter or kind is ev.SettleLetters:
                        self._also.append(self.storage.letter(machine.run, view.identity, action))  # type: ignore[arg-type]
                    else:
                        self._state = action.state  # type: ignore[union-attr]
                        self._finished.set()
        finally:
            self._feeding = False
            if batch:
                self._append(batch)
        self._hand_out(own)
        if machine.deadline < self._timer_at:
            self._timer.set()

    def _append(self, batch: list[ev.Event]) -> None:
        """Hand events to the log. Starts alone wait for company: nobody waits for them, and each commit of its
        own would be in the way of the next result."""
        held = self._held
        held.extend(batch)
        if type(batch[-1]) is not ev.StepStarted or any(type(event) is not ev.StepStarted for event in batch):
            self._release()

    def _release(self) -> None:
        if self._held:
            events, self._held = self._held, []
            also, self._also = self._also, []
            self.log.append(self.machine.run, self.machine.seq - len(events) + 1, events, also)

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

    def _cancel_attempt(self, action: ev.CancelAttempt) -> None:
        self._cancel((action.task, action.step, action.attempt), NOW if action.now else None)

    def _cancel(self, key: Key, how: str | None = None) -> None:
        """Once, not again and again: an agent that ignores it keeps its worker, and nobody waits for it."""
        worker = self._live.get(key)
        if worker is not None and key not in self._cancelled:
            self._cancelled.add(key)
            worker.cancel(how)

    def running_in(self, worker: asyncio.Task[Any]) -> tuple[Key, float | None] | None:
        """The attempt that a worker is at, and when its clock runs out. From any thread."""
        for key, live in self._live.items():
            if live is worker:
                task = self.machine.tasks.get(key[0])
                step = task.step(key[1]) if task is not None else None
                timeout = step.acting.attempt_timeout if step is not None else None
                return key, None if step is None or timeout is None else step.started_at + timeout
        return None

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
        starts = self._starts
        while True:
            self._woken -= 1
            since = time.monotonic()
            while starts:
                await self._attempt(starts.popleft())
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

    async def _attempt(self, start: ev.StartAttempt) -> None:
        started = start.started
        task = self.machine.tasks.get(started.task)
        step = task.step(started.step) if task is not None else None
        if step is None or step.attempt != started.attempt or step.state not in (RUNNING, OPEN):
            if start.ask and self.rates is not None:
                self.rates.give_back(start.ask)
            return
        rule = step.acting
        hands = self._hands.get(rule) or self._make_hands(step)
        if hands is None:
            if start.ask and self.rates is not None:
                self.rates.give_back(start.ask)
            return
        if hands.verb is None:
            self._open(step, started, hands)
            return
        scope = scope_of(step, self.machine.run)
        size = weigh(scope["needs"] if rule.needs else scope["inputs"])
        key = (started.task, started.step, started.attempt)
        pulse = None if start.timeout_idle is None else _Pulse(self.clock.now)
        alive = pulse or _nothing
        said = AttemptLog(self._lines, self.clock.now, alive, key)
        fault: Fault | None = None
        output: Data = None
        usage: ev.Usage | None = None
        own: ev.Usage | None = None  # of the call that won, where two were made
        reused = False
        grant = self.rates.begun(start.ask) if start.ask and self.rates is not None else None
        worker = asyncio.current_task()
        assert worker is not None
        self._live[key] = worker
        if pulse is not None:
            self._group.start_soon(self._watch_idle, start, pulse)
        try:
            with_ = hands.with_.render(scope) if hands.with_ is not None else {}
            timeout = rule.attempt_timeout
            work = Work(
                self.machine.run,
                started.task,
                started.step,
                started.attempt,
                rule.agent,
                scope,
                with_,
                said,
                alive,
                None if timeout is None else started.at + timeout,
                zlib.crc32(f"{started.task}/{started.step}/{started.attempt}".encode()) if hands.seeded else 0,
                started.tier_up,
                fault=step.fault.message if step.fault is not None and step.fault.kind == "invalid" else "",
            )
            if grant is not None and self.rates is not None:
                work.tier_up, work.model, work.max_output = grant.shift, grant.model, grant.max_output
                work.again = partial(self.rates.again, grant)
            passing("attempt.started")
            valid = None if hands.fit is None else partial(hands.fit, scope=scope)
            if grant is not None and rule.agent.hedge and not rule.agent.once and not rule.agent.cache:
                assert self.hedges is not None
                answer, grant, own = await self.hedges.run(hands.verb, work, grant, step, valid)
            elif rule.agent.once or rule.agent.cache:
                answer, reused = await self.reuse.run(hands.verb, work, valid)
            else:
                answer = await hands.verb.run(work)
            passing("attempt.effected")
            if type(answer) is Answer:
                output, usage = answer
            else:
                output = answer
            if valid is not None:
                output = valid(output)
        except asyncio.CancelledError:
            if key not in self._cancelled:
                raise
        except StepError as error:
            fault = error.fault
        except AgentdeckError as error:
            fault = Fault("expression", str(error))
        except Exception as error:
            fault = Fault("exception", f"{type(error).__name__}: {error}")
        finally:
            self._live.pop(key, None)
            said.close()
        if grant is not None and self.rates is not None:
            late = step.fault is not None and step.fault.kind == "timeout" and step.attempt == started.attempt
            gone = Fault("timeout" if late else "cancelled", "") if key in self._cancelled else fault
            fault = self.rates.ended(grant, own or usage, gone, reused)
        if key in self._cancelled:
            self._cancelled.discard(key)
            worker.uncancel()
            return
        at = self.clock.now()
        if fault is None:
            self.feed(ev.StepSucceeded(at, *key, output, usage, size, reused), 1)
        else:
            self.feed(ev.AttemptFailed(at, *key, fault, usage, size), 1)

    def _make_hands(self, step: Step) -> Hands | None:
        """The verb is built when first used; what cannot be built fails the step and says why."""
        rule = step.acting
        try:
            hands = self._hands[rule] = Hands(rule, self._settings(step.task.program))
        except AgentdeckError as error:
            fault = error.fault if isinstance(error, StepError) else Fault("setup", str(error))
            self.feed(ev.AttemptFailed(self.clock.now(), step.task.id, step.key, step.attempt, fault))
            return None
        return hands

    def _open(self, step: Step, started: ev.StepStarted, hands: Hands) -> None:
        """A step that others end: a nested task, or a person's answer."""
        at, task, does = self.clock.now(), started.task, step.acting.agent.does
        try:
            scope = scope_of(step, self.machine.run)
            if isinstance(does, SubWorkflow):
                given = hands.with_.render(scope) if hands.with_ is not None else {}
                nested = step.task.program.nested[step.acting.name].definition
                inputs = {name: given.get(name, spec.default) for name, spec in nested.inputs.items()}
                missing = [n for n, spec in nested.inputs.items() if spec.required and n not in given]
                if missing:
                    raise StepError(
                        "setup", f"{does.file} needs the input {', '.join(missing)}; give it in `with`"
                    )
                self.feed(ev.TaskOpened(at, f"{task}/{started.step}", inputs, (task, started.step)))
            elif isinstance(does, Approve):
                if self._yes:
                    self.feed(ev.StepAnswered(at, task, started.step, True, {}, "--yes"))
                    return
                ask = str(compile_template(does.ask).render(scope))
                show = compile_template(does.show).render(scope) if does.show else None
                said = AttemptLog(self._lines, self.clock.now, _nothing, (task, started.step, started.attempt))
                said(f"asks: {ask}")
                self.feed(ev.Noted(at, ask, task, started.step, {"asks": ask, "shows": show}))
        except AgentdeckError as error:
            fault = error.fault if isinstance(error, StepError) else Fault("expression", str(error))
            self.feed(ev.AttemptFailed(at, task, started.step, started.attempt, fault))

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

    async def _watch_idle(self, start: ev.StartAttempt, pulse: _Pulse) -> None:
        started, limit = start.started, start.timeout_idle
        assert limit is not None
        key = (started.task, started.step, started.attempt)
        while key in self._live:
            left = pulse.last + limit - self.clock.now()
            if left <= 0:
                what = f"no sign of life for {limit:g} s (idle clock)"
                self.feed(ev.AttemptFailed(self.clock.now(), *key, Fault("timeout", what, clock="idle")))
                self._cancel(key)
                return
            await anyio.sleep(left)

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


class _Pulse:
    """When an attempt last showed a sign of life."""

    __slots__ = ("_now", "last")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.last = now()

    def __call__(self) -> None:
        self.last = self._now()


def _nothing() -> None:
    pass


def weigh(value: Data) -> int:
    """About how many bytes a step was given, as JSON."""
    if value is None or value is True or value is False:
        return 4
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, int | float):
        return 8
    if isinstance(value, Mapping):
        return 2 + sum(len(key) + 4 + weigh(item) for key, item in value.items())
    return 2 + sum(weigh(item) + 2 for item in value)
