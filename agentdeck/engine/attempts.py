"""Carries out one attempt: the verb with its inputs, its clocks, what it says, and what came of it."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

import anyio
from anyio.abc import TaskGroup

from agentdeck.agents.answer_check import OutputCheck
from agentdeck.agents.attempt_usage import together
from agentdeck.agents.factory import build
from agentdeck.agents.template_rendering import render, render_text
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult, WorkflowContext
from agentdeck.engine.clock import Clock
from agentdeck.engine.hedge import Hedges
from agentdeck.engine.key_waiters import KeyWaiters
from agentdeck.engine.log_lines import AttemptLog, LogLine
from agentdeck.engine.reservations import Reservations
from agentdeck.engine.result_reuse import Deferred, ResultReuse
from agentdeck.errors import AgentdeckError, Fault, StepError
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import YES, complete, describe
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import OPEN, RUNNING, Step
from agentdeck.store.fault_point import passing
from agentdeck.workflow.expressions import Template, compile_template
from agentdeck.workflow.json_text import estimated_size
from agentdeck.workflow.model import Approve, Data, SubWorkflow

#: An attempt: task, step, number.
AttemptKey: TypeAlias = tuple[str, str, int]


class PreparedAgent:
    """What an agent's rule needs to be carried out: its verb, its compiled `with`, the check of its output."""

    __slots__ = ("fit", "seeded", "verb", "with_")

    def __init__(self, rule: Rule, setting: WorkflowContext) -> None:
        agent = rule.agent
        self.verb: Verb | None = build(agent, setting) if rule.slot else None
        self.with_: Template | None = compile_template(dict(agent.with_)) if agent.with_ else None
        self.fit = OutputCheck(agent) if agent.output or agent.expect else None
        self.seeded = rule.verb in ("simulate", "prompt")


class EventSink(Protocol):
    """Has the core handle an event. A worker that is free afterwards says `own=1`."""

    def __call__(self, event: ev.Event | ev.Signal, own: int = 0) -> None: ...


class Attempts:
    """All attempts of a run, each in the worker that calls `run`. `feed` takes what came of it; `lines` what it
    said. `group` is where clocks beside an attempt run; it is there before the first attempt."""

    group: TaskGroup

    def __init__(
        self,
        machine: Scheduler,
        clock: Clock,
        settings: Callable[[Program], WorkflowContext],
        feed: EventSink,
        lines: deque[LogLine],
        reuse: ResultReuse,
        rates: Reservations,
        *,
        yes: bool = False,
        author: ev.Author | None = None,
    ) -> None:
        self._author = author
        self._machine = machine
        self._clock = clock
        self._settings = settings
        self._feed = feed
        self._lines = lines
        self._reuse = reuse
        self._key_waiters = KeyWaiters(machine, clock, feed, reuse)
        self._rates = rates
        self._hedges = Hedges(rates, clock, feed)
        self._yes = yes
        self._hands: dict[Rule, PreparedAgent] = {}
        self._live: dict[AttemptKey, asyncio.Task[None]] = {}
        self._cancelled: set[AttemptKey] = set()
        self._works: dict[AttemptKey, AttemptContext] = {}
        machine.set_usage_source(self._usage_so_far)

    async def run(self, start: act.StartAttempt, worker: asyncio.Task[None]) -> None:
        """Make the attempt in the `worker` that awaits this, and tell the core what came of it; nothing, where it
        makes no sense any more."""
        started = start.started
        key: AttemptKey = started.task, started.step, started.attempt
        task_id, name, number = key
        task = self._machine.tasks.get(task_id)
        step = task.step(name) if task is not None else None
        if step is None or step.attempt != number or step.state not in (RUNNING, OPEN):
            self._rates.give_back(start.ask)
            return
        rule = step.acting
        hands = self._hands.get(rule) or self._make_hands(step)
        if hands is None:
            self._rates.give_back(start.ask)
            return
        if hands.verb is None:
            await self._open(step, started, hands)
            return
        scope = scope_of(step, self._machine.run)
        size = estimated_size(scope["needs"] if rule.needs else scope["inputs"])
        pulse = None if start.timeout_idle is None else _IdleClock(self._clock.now)
        alive = pulse or _nothing
        said = AttemptLog(self._lines, self._clock.now, alive, key)
        fault: Fault | None = None
        output: Data = None
        usage: ev.Usage | None = None
        own: ev.Usage | None = None  # of the call that won, where two were made
        reused = False
        deferred: Deferred | None = None
        grant = self._rates.begun(start.ask) if start.ask else None
        self._live[key] = worker
        if pulse is not None:
            self.group.start_soon(self._watch_idle, start, pulse)
        try:
            with_ = await render(hands.with_, scope) if hands.with_ is not None else {}
            timeout, agent = rule.attempt_timeout, rule.agent
            work = AttemptContext(
                self._machine.run,
                task_id,
                name,
                number,
                agent,
                scope,
                with_,
                said,
                alive,
                None if timeout is None else started.at + timeout,
                zlib.crc32(f"{task_id}/{name}/{number}".encode()) if hands.seeded else 0,
                started.tier_up,
                cut_at=step.cut_at,
                fault=step.fault.message if step.fault is not None and step.fault.kind == "invalid" else "",
            )
            if grant is not None:
                work.tier_up = grant.shift
                self._rates.connect(work, grant)
                work.expected_out = grant.hold.likely_out
                self._works[key] = work
            passing("attempt.started")
            valid = None if hands.fit is None else partial(hands.fit, scope=scope)
            if grant is not None and agent.hedge and not agent.once and not agent.cache:
                answer, grant, own = await self._hedges.run(hands.verb, work, grant, step, valid)
            elif agent.once or agent.cache:
                answer, reused = await self._reuse.run(hands.verb, work, valid)
            else:
                answer = await hands.verb.run(work)
            passing("attempt.effected")
            if type(answer) is VerbResult:
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
        except Deferred as found:
            deferred = found
        except Exception as error:
            fault = Fault("exception", f"{type(error).__name__}: {error}")
        finally:
            self._live.pop(key, None)
            spent = self._works.pop(key, None)
            said.close()
        if usage is None and spent is not None and not reused:
            usage = together(spent.spendings)
        if grant is not None:
            late = step.fault is not None and step.fault.kind == "timeout" and step.attempt == number
            gone = Fault("timeout" if late else "cancelled", "") if key in self._cancelled else fault
            fault = self._rates.ended(grant, own or usage, gone, reused or deferred is not None)
        if key in self._cancelled:
            self._cancelled.discard(key)
            worker.uncancel()
            return
        at = self._clock.now()
        if deferred is not None:
            self._feed(ev.AttemptDeferred(at, *key, "held", deferred.why), 1)
            self._key_waiters.add(deferred.key, key, self.group)
        elif fault is None:
            self._feed(ev.StepSucceeded(at, *key, output, usage, size, reused), 1)
        else:
            self._feed(ev.AttemptFailed(at, *key, fault, usage, size), 1)

    @property
    def busy(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._live)

    def cancel(self, key: AttemptKey, how: str | None = None) -> None:
        """Once, not again and again: an agent that ignores it keeps its worker, and nobody waits for it."""
        worker = self._live.get(key)
        if worker is not None and key not in self._cancelled:
            self._cancelled.add(key)
            worker.cancel(how)

    def running_in(self, worker: asyncio.Task[Any]) -> tuple[AttemptKey, float | None] | None:
        """The attempt that a worker is at, and when its clock runs out. From any thread."""
        for key, live in self._live.copy().items():  # in one go, as the loop may change it meanwhile
            if live is worker:
                task = self._machine.tasks.get(key[0])
                step = task.step(key[1]) if task is not None else None
                timeout = step.acting.attempt_timeout if step is not None else None
                return key, None if step is None or timeout is None else step.started_at + timeout
        return None

    def _make_hands(self, step: Step) -> PreparedAgent | None:
        """The verb is built when first used; what cannot be built fails the step and says why."""
        rule = step.acting
        try:
            hands = self._hands[rule] = PreparedAgent(rule, self._settings(step.task.program))
        except AgentdeckError as error:
            fault = error.fault if isinstance(error, StepError) else Fault("setup", str(error))
            self._feed(ev.AttemptFailed(self._clock.now(), step.task.id, step.key, step.attempt, fault))
            return None
        return hands

    async def _open(self, step: Step, started: ev.StepStarted, hands: PreparedAgent) -> None:
        """A step that others end: a nested task, or a person's answer. A step that ended while its values were
        filled in is left as it is."""
        at, task, does = self._clock.now(), started.task, step.acting.agent.does

        def over() -> bool:
            return step.attempt != started.attempt or step.state not in (RUNNING, OPEN)

        try:
            scope = scope_of(step, self._machine.run)
            if isinstance(does, SubWorkflow):
                given = await render(hands.with_, scope) if hands.with_ is not None else {}
                if over():
                    return
                nested = step.task.program.nested[step.acting.name].definition
                inputs = {name: given.get(name, spec.default) for name, spec in nested.inputs.items()}
                missing = [n for n, spec in nested.inputs.items() if spec.required and n not in given]
                if missing:
                    raise StepError(
                        "setup", f"{does.file} needs the input {', '.join(missing)}; give it in `with`"
                    )
                self._feed(ev.TaskOpened(at, f"{task}/{started.step}", inputs, (task, started.step)))
            elif isinstance(does, Approve):
                if self._yes:
                    fields, defaults = complete(does, {})
                    who = self._author.text if self._author is not None else ""
                    self._feed(
                        ev.StepAnswered(at, task, started.step, True, fields, who, YES, self._author, defaults)
                    )
                    return
                ask = await render_text(compile_template(does.ask), scope)
                shown = await render(compile_template(does.show), scope) if does.show else None
                if over():
                    return
                said = AttemptLog(self._lines, self._clock.now, _nothing, (task, started.step, started.attempt))
                said(f"asks: {ask}")
                self._feed(ev.Noted(at, ask, task, started.step, {"asks": ask, "shows": shown}))
        except AgentdeckError as error:
            fault = error.fault if isinstance(error, StepError) else Fault("expression", str(error))
            if not over():
                self._feed(ev.AttemptFailed(at, task, started.step, started.attempt, fault))

    def answered(self, event: ev.StepAnswered) -> None:
        """Writes a decision into the log of its step."""
        task = self._machine.tasks.get(event.task)
        step = task.step(event.step) if task is not None else None
        number = step.attempt if step is not None else 1
        AttemptLog(self._lines, lambda: event.at, _nothing, (event.task, event.step, number))(describe(event))

    def _usage_so_far(self, task: str, step: str, attempt: int) -> ev.Usage:
        """What a prompt under way has used; nothing where no request of it was sent yet."""
        work = self._works.get((task, step, attempt))
        found = None if work is None else together(work.spendings)
        return found or ev.Usage(0, 0, 0, 0.0, 0.0, "" if work is None else work.model)

    async def _watch_idle(self, start: act.StartAttempt, pulse: _IdleClock) -> None:
        started, limit = start.started, start.timeout_idle
        assert limit is not None
        key = (started.task, started.step, started.attempt)
        while key in self._live:
            left = pulse.last + limit - self._clock.now()
            if left <= 0:
                what = f"no sign of life for {limit:g} s (idle clock)"
                fault, used = Fault("timeout", what, clock="idle"), None
                if key in self._works:
                    used = self._usage_so_far(*key)
                self._feed(ev.AttemptFailed(self._clock.now(), *key, fault, used))
                self.cancel(key)
                return
            await anyio.sleep(left)


class _IdleClock:
    """When an attempt last showed a sign of life."""

    __slots__ = ("_now", "last")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.last = now()

    def __call__(self) -> None:
        self.last = self._now()


def _nothing() -> None:
    pass
