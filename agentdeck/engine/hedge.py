"""`hedge: p95`: a prompt that is late on the critical path gets a second call, to the tier's next model.

Late: see `agentdeck.limits.hedging`. The first valid answer wins; the other call is cancelled, and billed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from agentdeck.agents.attempt_usage import together
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult
from agentdeck.engine.clock import Clock
from agentdeck.engine.reservation import Reservation
from agentdeck.engine.reservations import CallReservations
from agentdeck.errors import Fault, StepError
from agentdeck.limits.hedging import HedgeAllowance
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import Step
from agentdeck.workflow.model import Data

#: Seconds between two looks at an answer that is under way, at least.
LOOK = 0.05

CallTask: TypeAlias = "asyncio.Task[Data | VerbResult]"


class HedgeResult(NamedTuple):
    """The valid answer, whose usage includes both calls; the call that gave it, and what that call used."""

    answer: Data | VerbResult
    call: Reservation
    usage: ev.Usage | None


@dataclass(slots=True, eq=False)
class Hedges:
    """All second calls of a run."""

    _reservations: CallReservations
    _clock: Clock
    _feed: Callable[[ev.Event | ev.Signal], None]
    _allowance: HedgeAllowance = field(default_factory=HedgeAllowance, init=False)

    async def run(
        self,
        verb: Verb,
        work: AttemptContext,
        call: Reservation,
        step: Step,
        valid: Callable[[Data], object] | None,
    ) -> HedgeResult:
        """Run the attempt with a second call where it is late. Raises the error of the first call where none
        gave a valid answer. Settles the call that lost; the caller settles the other one."""
        self._allowance.add_call()
        first: CallTask = asyncio.create_task(_call(verb, work, valid))
        second: CallTask | None = None
        second_call: Reservation | None = None
        try:
            if await self._late(first, call, step):
                second_call = await self._reservations.reserve_second(call, step)
            if second_call is None:
                return _won(await first, call)
            self._allowance.take()
            late = self._clock.now() - call.began
            what = "no answer" if call.request.first_text_at is None else "a slow answer"
            self._note(
                step,
                f"{what} after {late:.1f} s: a second call to {second_call.model} was started",
                second_call.model,
            )
            own = replace(work)
            self._reservations.connect(own, second_call)
            second = asyncio.create_task(_call(verb, own, valid))
            won = await _winner(first, second)
        except asyncio.CancelledError:
            await _stop(first, second)
            if second_call is not None:
                self._reservations.ended(second_call, None, Fault("cancelled", "cancelled"))
            raise
        await _stop(first, second)
        winner, loser, lost = (call, second_call, second) if won is first else (second_call, call, first)
        error = None if lost.cancelled() else lost.exception()
        fault = (
            error.fault if isinstance(error, StepError) else Fault("cancelled", "the other call answered first")
        )
        self._reservations.ended(loser, None, fault)
        found = _won(won.result(), winner)
        if winner is second_call:
            self._note(step, f"{second_call.model} answered first", second_call.model)
        return self._paid(found, work, winner)

    async def _late(self, first: CallTask, call: Reservation, step: Step) -> bool:
        """Wait until the first call is late, and may have a second one. Returns False once it has ended."""
        share = int((step.acting.agent.hedge or "p95")[1:]) / 100
        while not first.done():
            at, now = self._reservations.late_at(call, share), self._clock.now()
            if at is None:
                await asyncio.wait({first})
            elif at > now:
                await asyncio.wait({first}, timeout=max(LOOK, at - now))
            else:
                if self._allowance.left and critical(step):
                    return True
                await asyncio.wait({first})
        return False

    def _paid(self, won: HedgeResult, work: AttemptContext, winner: Reservation) -> HedgeResult:
        """The result with the usage of both calls; that of a cancelled one is estimated."""
        if won.usage is None or not isinstance(won.answer, VerbResult):
            return won
        return won._replace(answer=won.answer._replace(usage=together(work.usages, winner.model)))

    def _note(self, step: Step, text: str, model: str) -> None:
        self._feed(ev.Noted(self._clock.now(), text, step.task.id, step.key, {"hedge": model}))


def critical(step: Step) -> bool:
    """Whether no other step of its task has a longer remaining path."""
    return all(
        step.rule.remaining <= other.rule.remaining
        for other in step.task.steps
        if other is not None and not other.ended
    )


async def _call(verb: Verb, work: AttemptContext, valid: Callable[[Data], object] | None) -> Data | VerbResult:
    answer = await verb.run(work)
    if valid is not None:
        valid(answer.output if isinstance(answer, VerbResult) else answer)
    return answer


async def _winner(first: CallTask, second: CallTask) -> CallTask:
    """The first call with a valid answer; the first call where none has one."""
    await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    for one in (first, second):
        if one.done() and one.exception() is None:
            return one
    await asyncio.wait({first, second})
    return second if second.exception() is None else first


async def _stop(*calls: CallTask | None) -> None:
    left = [call for call in calls if call is not None and not call.done()]
    for call in left:
        call.cancel()
    if left:
        await asyncio.wait(left)


def _won(answer: Data | VerbResult, call: Reservation) -> HedgeResult:
    return HedgeResult(answer, call, answer.usage if isinstance(answer, VerbResult) else None)
