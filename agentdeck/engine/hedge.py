"""`hedge: p95`: a prompt that is late on the critical path gets a second call, to the tier's next model.

After Dean and Barroso, “The Tail at Scale”. The first valid answer wins; the other call is cancelled, and billed.
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
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import LEAST, Rule, quantile
from agentdeck.scheduler.state import Step
from agentdeck.workflow.model import Data

#: The largest share of an agent's attempts that get a second call.
MOST = 0.05

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
    _counts: dict[Rule, list[int]] = field(default_factory=dict, init=False)

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
        counts = self._counts.setdefault(call.rule, [0, 0])
        counts[0] += 1
        first: CallTask = asyncio.create_task(_call(verb, work, valid))
        second: CallTask | None = None
        second_call: Reservation | None = None
        try:
            await asyncio.wait({first}, timeout=self._late(step, counts))
            second_call = None if first.done() else await self._reservations.reserve_second(call, step)
            if second_call is None:
                return _won(await first, call)
            counts[1] += 1
            late = self._clock.now() - call.began
            self._note(
                step,
                f"no answer after {late:.1f} s: a second call to {second_call.model} was started",
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

    def _late(self, step: Step, counts: list[int]) -> float | None:
        """Seconds after which the second call begins; None: never."""
        rule, times = step.acting, step.acting.durations
        if times is None or len(times) < LEAST or counts[1] + 1 > MOST * counts[0] + 1 or not critical(step):
            return None
        return quantile(times, int((rule.agent.hedge or "p95")[1:]) / 100)

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
