"""Executes attempts: the verb with its inputs, its clocks, its log, and the event that reports its end."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from anyio.abc import TaskGroup

from agentdeck.agents.answer_check import OutputCheck
from agentdeck.agents.attempt_usage import together
from agentdeck.agents.template_rendering import render
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult
from agentdeck.engine.clock import Clock
from agentdeck.engine.hedge import Hedges
from agentdeck.engine.key_waiters import KeyWaiters
from agentdeck.engine.log_lines import AttemptLog, LogLine
from agentdeck.engine.open_steps import OpenSteps, fault_of
from agentdeck.engine.reservation import Reservation
from agentdeck.engine.reservations import CallReservations
from agentdeck.engine.result_reuse import Deferred, ResultReuse
from agentdeck.engine.retry_rule import AttemptId, RetryRule
from agentdeck.errors import AgentdeckError, Fault, StepAsks, StepError, StepLost
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import OPEN, RUNNING, Step
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.json_text import estimated_size
from agentdeck.workflow.model import Agent, Data

#: An attempt: task, step, number.
AttemptKey: TypeAlias = tuple[str, str, int]


class Runners(Protocol):
    """What executes the attempts of an agent, and its retry rule, where it has one. Both raise StepError of kind
    `setup`."""

    def runner(self, program: Program, agent: Agent) -> Verb: ...

    def retry_rule(self, program: Program, agent: Agent) -> RetryRule | None: ...


class PreparedAgent:
    """An agent as it is executed: its verb, its compiled `with`, the check of its output, its retry rule."""

    __slots__ = ("check", "retry_rule", "seeded", "verb", "with_")

    def __init__(self, rule: Rule, program: Program, runners: Runners) -> None:
        agent = rule.agent
        self.verb: Verb | None = runners.runner(program, agent) if rule.slot else None
        self.retry_rule = runners.retry_rule(program, agent) if rule.slot else None
        self.with_: Template | None = Template(dict(agent.with_)) if agent.with_ else None
        self.check = OutputCheck(agent) if agent.output or agent.expect else None
        self.seeded = kind_of(agent).seeded


@dataclass(slots=True)
class _Outcome:
    """How an attempt ended. `usage` includes all calls of the attempt; `own_usage` is that of the call that won,
    where there were two. `reused`: the result was recorded before, and no verb ran. `deferred`: another step
    holds the key. `asks`: it has questions. `lost`: its place has lost it."""

    call: Reservation | None
    output: Data = None
    usage: ev.Usage | None = None
    own_usage: ev.Usage | None = None
    reused: bool = False
    deferred: Deferred | None = None
    asks: StepAsks | None = None
    lost: StepLost | None = None
    fault: Fault | None = None

    def fail(self, error: Exception, fault: Fault) -> None:
        self.fault = fault
        if isinstance(error, StepError) and error.usage is not None:
            self.usage = error.usage


class EventSink(Protocol):
    """Has the scheduler handle an event. A worker that is free afterwards passes `own=1`."""

    def __call__(self, event: ev.Event | ev.Signal, own: int = 0) -> None: ...


class AttemptRunner:
    """All attempts of a run, each in the worker that calls `begin`. `end` takes the event that ends an attempt,
    `feed` any other, `lines` its log. `group`, which runs the waits for keys, is set before the first attempt."""

    group: TaskGroup

    def __init__(
        self,
        scheduler: Scheduler,
        clock: Clock,
        runners: Runners,
        feed: EventSink,
        end: Callable[[ev.AttemptEnd], None],
        lines: deque[LogLine],
        reuse: ResultReuse,
        reservations: CallReservations,
        *,
        yes: bool = False,
        author: ev.Author | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._runners = runners
        self._feed = feed
        self._end = end
        self._lines = lines
        self._reuse = reuse
        self._key_waiters = KeyWaiters(scheduler, clock, feed, reuse)
        self._reservations = reservations
        self._hedges = Hedges(reservations, clock, feed)
        self._open_steps = OpenSteps(scheduler, clock, feed, lines, yes, author)
        self.log_answer = self._open_steps.log_answer
        self._prepared: dict[Rule, PreparedAgent] = {}
        self._live: dict[AttemptKey, asyncio.Task[None]] = {}
        self._cancelled: set[AttemptKey] = set()
        #: Attempts that exceeded a timeout and whose retry rule has not answered yet.
        self._expired: set[AttemptKey] = set()
        #: Attempts under way that may use tokens.
        self._metered: dict[AttemptKey, AttemptContext] = {}
        self._last_group: tuple[str, str, float] | None = None  # whose inputs have `_last_group_size`
        self._last_group_size = 0
        scheduler.set_usage_source(self._usage_so_far)

    def begin(self, start: act.StartAttempt, worker: asyncio.Task[None]) -> Coroutine[Any, Any, None] | None:
        """What the `worker` has to await to execute an attempt, and to report its end to the scheduler; None
        where the attempt is no longer current, or has failed already."""
        started = start.started
        step = self._scheduler.state.find(started.task, started.step)
        key: AttemptKey = started.task, started.step, started.attempt
        current = step is not None and step.attempt == started.attempt and key not in self._expired
        if step is None or not current or step.state not in (RUNNING, OPEN):
            self._reservations.release(start.ask)
            return None
        agent = self._prepared.get(step.acting) or self._prepare(step)
        if agent is None:
            self._reservations.release(start.ask)
            return None
        if agent.verb is None:
            return self._open_steps.open(step, started, agent.with_)
        return self._execute(start, step, agent, agent.verb, worker)

    async def _execute(
        self, start: act.StartAttempt, step: Step, agent: PreparedAgent, verb: Verb, worker: asyncio.Task[None]
    ) -> None:
        started, rule = start.started, step.acting
        key: AttemptKey = started.task, started.step, started.attempt
        scope = scope_of(step, self._scheduler.state.run)
        size = self._input_size(step, scope["needs"] if rule.needs else scope["inputs"])
        idle = self._idle_clock(key, start.timeout_idle)
        log = AttemptLog(self._lines, self._clock.now, idle or _nothing, key)
        outcome = _Outcome(self._reservations.begin(start.ask) if start.ask else None)
        self._live[key] = worker
        try:
            with_ = await render(agent.with_, scope) if agent.with_ is not None else {}
            context = self._context(start, step, agent, scope, with_, log, idle or _nothing)
            self._metered[key] = context
            if outcome.call is not None:
                self._reservations.connect(context, outcome.call)
                context.tier_up = outcome.call.tier_shift
                context.expected_out = outcome.call.hold.likely_out
            if step.answers:
                context.answers = step.answers
            run = self._run_verb if agent.retry_rule is None else self._run_and_judge
            await run(verb, context, step, agent, outcome)
        except asyncio.CancelledError:
            if key not in self._cancelled:
                raise
        except Deferred as deferred:
            outcome.deferred = deferred
        except StepAsks as asks:
            outcome.asks = asks
        except StepLost as lost:
            outcome.lost = lost
        except Exception as error:
            outcome.fail(error, fault_of(error, "expression"))
        finally:
            self._live.pop(key, None)
            metered = self._metered.pop(key, None)
            if idle is not None:
                idle.close()
            log.close()
        if outcome.usage is None and metered is not None and metered.usages and not outcome.reused:
            outcome.usage = together(metered.usages)
        if outcome.call is not None:
            self._settle(key, step, outcome, outcome.call)
        if key in self._cancelled:
            self._cancelled.discard(key)
            worker.uncancel()
        else:
            self._report(key, outcome, size)

    def _input_size(self, step: Step, inputs: Data) -> int:
        """The size of what a step reads. All items of an `each` read the same: it is estimated for the first."""
        group = step.group
        if group is None:
            return estimated_size(inputs)
        reader = step.task.id, group.key, group.ready_at
        if reader != self._last_group:
            self._last_group, self._last_group_size = reader, estimated_size(inputs)
        return self._last_group_size

    def _context(
        self,
        start: act.StartAttempt,
        step: Step,
        agent: PreparedAgent,
        scope: dict[str, Data],
        with_: Data,
        log: AttemptLog,
        alive: Callable[[], None],
    ) -> AttemptContext:
        started, timeout = start.started, step.acting.attempt_timeout
        task, name, number = started.task, started.step, started.attempt
        return AttemptContext(
            self._scheduler.state.run,
            task,
            name,
            number,
            step.acting.agent,
            scope,
            with_,
            log,
            alive,
            None if timeout is None else started.at + timeout,
            zlib.crc32(f"{task}/{name}/{number}".encode()) if agent.seeded else 0,
            started.tier_up,
            cut_at=step.cut_at,
            round=step.round,
            record=partial(self._record, (task, name, number)),
            hold_worker=partial(self._hold_worker, f"{task}/{name}#{number}", step.acting.name),
            fault=step.fault.message if step.fault is not None and step.fault.kind == "invalid" else "",
        )

    async def _run_and_judge(
        self, verb: Verb, context: AttemptContext, step: Step, agent: PreparedAgent, outcome: _Outcome
    ) -> None:
        """Run the verb. Where it fails, the agent's own rule decides whether the step is retried."""
        assert agent.retry_rule is not None
        error: Exception
        try:
            await self._run_verb(verb, context, step, agent, outcome)
            return
        except (Deferred, StepAsks, StepLost):
            raise
        except Exception as caught:
            error = caught
        raised = error.exception if isinstance(error, StepError) else error
        fault = fault_of(error, "expression")
        outcome.fail(error, await agent.retry_rule.judge(fault, _id_of(context), context.log, raised))

    async def _run_verb(
        self, verb: Verb, context: AttemptContext, step: Step, agent: PreparedAgent, outcome: _Outcome
    ) -> None:
        """Run the verb, by way of a recorded result or with a second call where the agent says so."""
        reach_fault_point("attempt.started")
        does = context.agent
        check = None if agent.check is None else partial(agent.check, scope=context.scope)
        if does.once or does.cache:
            result, outcome.reused = await self._reuse.run(verb, context, check)
        elif outcome.call is not None and does.hedge:
            hedged = await self._hedges.run(verb, context, outcome.call, step, check)
            result, outcome.call, outcome.own_usage = hedged
        else:
            result = await verb.run(context)
        reach_fault_point("attempt.effected")
        if type(result) is VerbResult:
            output, outcome.usage = result
        else:
            output = result
        outcome.output = output if check is None else check(output)

    def _settle(self, key: AttemptKey, step: Step, outcome: _Outcome, call: Reservation) -> None:
        """Settle what was reserved for the attempt."""
        fault = outcome.fault
        if key in self._cancelled:
            late = step.fault is not None and step.fault.kind == "timeout" and step.attempt == key[2]
            fault = Fault("timeout" if late or key in self._expired else "cancelled", "")
        unused = outcome.reused or outcome.deferred is not None
        outcome.fault = self._reservations.ended(call, outcome.own_usage or outcome.usage, fault, unused)

    def _report(self, key: AttemptKey, outcome: _Outcome, size: int) -> None:
        at = self._clock.now()
        if outcome.deferred is not None:
            self._feed(ev.AttemptDeferred(at, *key, "held", outcome.deferred.why), 1)
            self._key_waiters.add(outcome.deferred.key, key, self.group)
        elif outcome.asks is not None:
            questions = outcome.asks.questions
            self._feed(ev.AttemptAsked(at, *key, questions, outcome.usage), 1)
            self._open_steps.asked(key, questions)
        elif outcome.lost is not None:
            self._feed(ev.AttemptLost(at, *key, outcome.usage, str(outcome.lost)), 1)
        elif outcome.fault is None:
            self._end(ev.StepSucceeded(at, *key, outcome.output, outcome.usage, size, outcome.reused))
        else:
            self._end(ev.AttemptFailed(at, *key, outcome.fault, outcome.usage, size))

    @property
    def busy(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._live or self._expired)

    def cancel(self, key: AttemptKey, how: str | None = None) -> None:
        """Cancel an attempt once. An agent that ignores it keeps its worker, and nothing waits for it."""
        worker = self._live.get(key)
        if worker is not None and key not in self._cancelled:
            self._cancelled.add(key)
            worker.cancel(how)

    def expire(self, key: AttemptKey, fault: Fault, usage: ev.Usage | None) -> None:
        """End an attempt that exceeded a timeout, and report it with the answer of its agent's retry rule.
        Nothing waits for an agent that ignores it."""
        if key not in self._expired:
            self._expired.add(key)
            self.cancel(key)
            self.group.start_soon(self._report_expired, key, fault, usage)

    async def _report_expired(self, key: AttemptKey, fault: Fault, usage: ev.Usage | None) -> None:
        step = self._scheduler.state.find(key[0], key[1])
        agent = None if step is None else self._prepared.get(step.acting)
        if step is not None and agent is not None and agent.retry_rule is not None:
            attempt = AttemptId(self._scheduler.state.run, key[0], key[1], step.acting.name, key[2])
            log = AttemptLog(self._lines, self._clock.now, _nothing, key)
            fault = await agent.retry_rule.judge(fault, attempt, log, None)
        self._expired.discard(key)
        self._feed(ev.AttemptFailed(self._clock.now(), *key, fault, usage))

    def running_in(self, worker: asyncio.Task[Any]) -> tuple[AttemptKey, float | None] | None:
        """The attempt that a worker executes, and when its attempt clock runs out. From any thread."""
        for key, live in self._live.copy().items():  # a copy in one step, as the loop may change it meanwhile
            if live is worker:
                step = self._scheduler.state.find(key[0], key[1])
                timeout = step.acting.attempt_timeout if step is not None else None
                return key, None if step is None or timeout is None else step.started_at + timeout
        return None

    def _prepare(self, step: Step) -> PreparedAgent | None:
        """Prepare an agent for its first attempt; None where that failed, which fails the attempt."""
        rule = step.acting
        try:
            agent = self._prepared[rule] = PreparedAgent(rule, step.task.program, self._runners)
        except AgentdeckError as error:
            fault = fault_of(error, "setup")
            self._feed(ev.AttemptFailed(self._clock.now(), step.task.id, step.key, step.attempt, fault))
            return None
        return agent

    def _usage_so_far(self, task: str, step: str, attempt: int) -> ev.Usage | None:
        """What an attempt under way has used: zeros for a prompt of which no request was sent yet, None for one
        that is no prompt and has used nothing."""
        context = self._metered.get((task, step, attempt))
        if context is None:
            return None
        found = together(context.usages) if context.usages else None
        return ev.Usage(0, 0, 0, 0.0, 0.0, context.model) if found is None and context.model else found

    def _record(self, key: AttemptKey, event: Callable[..., ev.Event], *values: Any) -> None:
        """Record what happens inside an attempt."""
        self._feed(event(self._clock.now(), *key, *values))

    def _hold_worker(self, attempt: str, agent: str, holds: bool) -> None:
        """A thread goes on after the cancellation of its attempt, or has ended."""
        if not self.group.cancel_scope.cancel_called:  # the run goes on
            at = self._clock.now()
            self._feed(ev.WorkerHeld(at, attempt, agent) if holds else ev.WorkerFreed(at, attempt))

    def _idle_clock(self, key: AttemptKey, limit: float | None) -> _IdleClock | None:
        if limit is None:
            return None
        return _IdleClock(self._clock.now, limit, partial(self._idle_too_long, key, limit))

    def _idle_too_long(self, key: AttemptKey, limit: float) -> None:
        if key not in self._live or self.group.cancel_scope.cancel_called:  # the attempt, or the run, is over
            return
        what = f"no output or progress for {limit:g} s (idle timeout)"
        used = self._usage_so_far(*key)
        fault = Fault("timeout", what, clock="idle")
        step = self._scheduler.state.find(key[0], key[1])
        if step is not None and step.acting.agent.retry.on is not None:
            self.expire(key, fault, used)
        else:
            self._feed(ev.AttemptFailed(self._clock.now(), *key, fault, used))
            self.cancel(key)


class _IdleClock:
    """Calls `expired` once an attempt has shown no sign of life for `limit` seconds. Calling the clock is one,
    from any thread. A timer that is set again only when it ends costs an attempt less than a task that sleeps."""

    __slots__ = ("_expired", "_last", "_limit", "_loop", "_now", "_timer")

    def __init__(self, now: Callable[[], float], limit: float, expired: Callable[[], None]) -> None:
        self._now = now
        self._limit = limit
        self._expired = expired
        self._last = now()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(limit, self._check)

    def __call__(self) -> None:
        self._last = self._now()

    def close(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        left = self._last + self._limit - self._now()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self._expired()


def _id_of(context: AttemptContext) -> AttemptId:
    return AttemptId(context.run, context.task, context.step, context.agent.name, context.attempt)


def _nothing() -> None:
    pass
