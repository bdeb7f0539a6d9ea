"""Reserves calls to providers: chooses the model, reserves its limits and budget, and settles what was used.

The scheduler's `Reserve` is answered with `Reserved` or `Refused`. Where a provider has limits, the store
decides, in one transaction for all that ask at the same time; where it has none, the answer is immediate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import anyio

from agentdeck.agents.attempt_usage import CallUsage
from agentdeck.agents.verb import AttemptContext
from agentdeck.engine.budget_holds import BudgetHolds
from agentdeck.engine.call_progress import CallProgress
from agentdeck.engine.clock import Clock
from agentdeck.engine.prompt_estimate import PromptEstimates, longest_asked
from agentdeck.engine.reservation import Reservation
from agentdeck.engine.reservation_batcher import ReservationBatcher
from agentdeck.engine.run_storage import RunStorage
from agentdeck.errors import Fault, UsageError
from agentdeck.limits.provider_health import ProviderHealth
from agentdeck.limits.provider_limits import NO_LIMITS, caps_of, why_full, with_changes
from agentdeck.limits.reservations import Amounts
from agentdeck.providers.provider import RateHeaders
from agentdeck.providers.registry import complete, models_for
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import AUTO
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import Step
from agentdeck.store import provider_reservations as store
from agentdeck.store.reservations import SharedReservations
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import ProviderLimits
from agentdeck.workflow.units import show_duration


class CallReservations:
    """All reservations of one run."""

    def __init__(
        self,
        scheduler: Scheduler,
        storage: RunStorage,
        deck: Deck,
        clock: Clock,
        feed: Callable[[ev.Event | ev.Signal], None],
    ) -> None:
        self._scheduler = scheduler
        self._deck = complete(deck)
        self._clock = clock
        self._feed = feed
        self._health = ProviderHealth(self._note, self._remedy)
        self._estimates = PromptEstimates()
        self._holds = BudgetHolds(scheduler, self._deck, clock, feed)
        #: Models that refused a step for good, by step.
        self._excluded: dict[tuple[str, str], set[str]] = {}
        self._waiting: dict[int, Reservation] = {}
        self._limits: dict[str, ProviderLimits] = {}
        self._shown: dict[str, int] = {}
        self._seen_changes = scheduler.limit_changes
        self._shared = SharedReservations(scheduler.state.run, storage.owner.name)
        self._batcher = ReservationBatcher(storage.log, clock, self._shared, self.limits, self._cooled)
        self._calls = CallProgress(
            self._estimates, self._batcher, clock, self.limits, self._health, self._note_concurrency
        )
        self.pump = self._batcher.pump
        self.reset = self._batcher.reset
        definition = scheduler.state.program.definition
        reserve = bool(deck.models) or definition.budget is not None
        scheduler.configure_providers(caps_of(deck, definition), reserve=reserve)

    # Before an attempt

    def reserve(self, action: act.Reserve) -> None:
        """Answer the scheduler at once where that is possible, else when the store has decided."""
        scheduler = self._scheduler
        self._notice_changes()
        step = scheduler.state.step(action.task, action.step)
        rule = step.acting
        asked = longest_asked(step)
        longest = self._estimates.longest(asked, action.reduced, step.cut_at)
        estimate = self._estimates.of(rule, scope_of(step, scheduler.state.run), longest)
        attempt = action.task, action.step, action.attempt
        max_output = longest if action.reduced else None
        call = Reservation(rule, attempt, action.shift, "", "", max_output, estimate, estimate.want)
        call.reduced, call.asked, call.longest = action.reduced, asked, longest
        self._place(action, call, step)

    def release(self, ask: int) -> None:
        """The attempt does not begin: nothing was sent."""
        call = self._waiting.pop(ask, None)
        if call is not None and call.provider:
            self._health.unused(call.provider, call.epoch)
            self._batcher.settle(call, Amounts(0, 0, 0))

    def begin(self, ask: int) -> Reservation:
        """The attempt begins now."""
        call = self._waiting.pop(ask)
        call.began = self._clock.now()
        if call.provider:
            call.number = self._estimates.began(call.rule)
        return call

    def connect(self, work: AttemptContext, call: Reservation) -> None:
        """Have an attempt report the progress of its calls here."""
        work.model, work.max_output = call.model, call.max_output
        work.afford, work.next_request = partial(self.afford, call), partial(self.next_request, call)
        work.sent = partial(self._calls.sent, call)
        work.answered = partial(self._calls.answered, call)
        work.grew, work.refused = partial(self._calls.grew, call), partial(self._calls.refused, call)

    def late_at(self, call: Reservation, share: float) -> float | None:
        """When a call is late, if nothing more of its answer comes until then; None: never."""
        return self._calls.late_at(call, share)

    def _place(self, action: act.Reserve, call: Reservation, step: Step) -> None:
        """Reserve with the first model whose provider may be called now."""
        at = self._clock.now()
        models = self._models(call)
        pairs = [(name, self._deck.models[name].provider) for name in models]
        call.model = self._health.choose(pairs, at)
        if not models:
            self._reserved(action.ask, call)  # no model serves this tier; the attempt fails with the reason
        elif not call.model:
            pool, until, why = self._health.soonest(pairs, at)
            self._feed(ev.Refused(at, action.ask, *call.step, pool, "cooldown", until, why))
        else:
            call.provider = self._deck.models[call.model].provider
            call.want = _fitted(call.want, self.limits(call.provider))
            call.epoch = self._health.began(call.provider)
            self._calls.plan(call)
            if self.limits(call.provider) == NO_LIMITS or self._batcher.pass_on(call):
                self._reserved(action.ask, call)
            else:
                self._batcher.reserve(call, partial(self._answered, action, call, step))

    def _models(self, call: Reservation) -> Sequence[str]:
        """The models that may answer, the preferred one first, without those that refused this step."""
        agent = call.rule.agent
        try:
            models = models_for(self._deck, agent, call.tier_shift)
        except UsageError:
            try:
                models = models_for(self._deck, agent)
            except UsageError:
                return ()
        excluded = self._excluded.get(call.step, set())
        return [model for model in models if model not in excluded] or models

    def _answered(
        self, action: act.Reserve, call: Reservation, step: Step, answer: store.ReservationAnswer
    ) -> None:
        """The store has decided."""
        if isinstance(answer, store.Granted):
            call.add_row(answer.id)
            self._reserved(action.ask, call)
            return
        at, provider = self._clock.now(), call.provider
        self._health.unused(provider, call.epoch)
        if answer.reason == "cooldown":
            self._cooled(provider, answer.until)
            self._place(action, call, step)
            return
        why = why_full(provider, self.limits(provider), answer.reason)
        self._feed(ev.Refused(at, action.ask, *call.step, provider, answer.reason, answer.until, why))

    def _reserved(self, ask: int, call: Reservation) -> None:
        self._waiting[ask] = call
        hold = self._holds.reserve(call, self._scheduler.state.step(*call.step))
        task, step = call.step
        self._feed(ev.Reserved(self._clock.now(), ask, task, step, call.provider, call.model, *hold))

    # During an attempt

    async def next_request(self, call: Reservation, tokens_in: int | None, tokens_out: int | None) -> None:
        """Reserve one more request of the same attempt; the one before it used these tokens."""
        if not call.rows:
            return
        known = tokens_in is not None and tokens_out is not None
        self._calls.next_request(call, Amounts(1, tokens_in or 0, tokens_out or 0) if known else None)
        while True:
            self._calls.plan(call)
            answer = await self._reserve_now(call)
            if isinstance(answer, store.Granted):
                call.settled = False
                return
            await anyio.sleep(max(0.0, answer.until - self._clock.now()))

    async def afford(self, call: Reservation, usage: CallUsage, size: int) -> int | None:
        """Wait until the budget admits one more request of the same attempt; the longest answer it may ask
        for."""

        def leave() -> None:
            self._calls.next_request(call, self._calls.last(call, usage.usage()))

        return await self._holds.afford(call, usage, size, leave)

    async def reserve_second(self, call: Reservation, step: Step) -> Reservation | None:
        """Reserve a second call of the same attempt, to another model of its tier; None where there is no room
        for it now."""
        at = self._clock.now()
        others = [model for model in self._models(call) if model != call.model]
        model = self._health.choose([(one, self._deck.models[one].provider) for one in others], at)
        if not model:
            return None
        provider = self._deck.models[model].provider
        want = _fitted(call.want, self.limits(provider))
        second = Reservation(
            call.rule, call.attempt, call.tier_shift, model, provider, call.max_output, call.estimate, want
        )
        if not self._holds.admits(second, step, call):
            return None
        second.epoch, second.asked, second.longest = self._health.began(provider), call.asked, call.longest
        self._calls.plan(second)
        if self.limits(provider) != NO_LIMITS:
            try:
                answer = await self._reserve_now(second)
            except asyncio.CancelledError:
                self._health.unused(provider, second.epoch)
                raise
            if not isinstance(answer, store.Granted):
                self._health.unused(provider, second.epoch)
                return None
        second.began = self._clock.now()
        return second

    async def _reserve_now(self, call: Reservation) -> store.ReservationAnswer:
        """Reserve one more request. A place that is given after this was cancelled is released."""
        future: asyncio.Future[store.ReservationAnswer] = asyncio.get_running_loop().create_future()

        def done(answer: store.ReservationAnswer) -> None:
            if isinstance(answer, store.Granted):
                call.add_row(answer.id)
            if not future.done():
                future.set_result(answer)
            elif isinstance(answer, store.Granted):
                self._batcher.settle(call, Amounts(0, 0, 0))

        self._batcher.reserve(call, done)
        return await future

    # After an attempt

    def ended(
        self, call: Reservation, usage: ev.Usage | None, fault: Fault | None, unused: bool = False
    ) -> Fault | None:
        """An attempt ended; `unused`: without a call. Called before the scheduler learns of it, so that its next
        reservations see it. Returns the fault for the scheduler."""
        if not call.provider:
            return fault
        at = self._clock.now()
        counted = (
            None if usage is not None and usage.estimated else usage
        )  # else the provider's count is not known
        if unused:
            self._health.unused(call.provider, call.epoch)
            self._calls.unused(call)
            if call.number is not None:
                self._estimates.ended(call.rule, call.number, counted, call.estimate.length)
        else:
            self._calls.ended(call, counted, fault)
            fault, asked = self._capped(call.provider, fault)
            until = self._health.ended(call.provider, call.epoch, at, fault, asked)
            if until is not None:
                self._batcher.write(lambda db, _: self._shared.cool_down(db, call.provider, until))
            self._holds.ended(call, usage, fault)
        return self._exclude_model(call, fault, at, unused=unused)

    def _exclude_model(self, call: Reservation, fault: Fault | None, at: float, *, unused: bool) -> Fault | None:
        """Whether the step has to ask another model, because this one or its provider refused it for good."""
        if fault is None:
            self._excluded.pop(call.step, None)
            if not unused:
                self._health.answered(call.model, call.provider)
            return None
        if fault.kind not in ("context", "forbidden", "model"):
            return fault
        if fault.kind != "model":
            self._excluded.setdefault(call.step, set()).add(call.model)
        others = any(model not in self._excluded.get(call.step, ()) for model in self._models(call))
        if fault.kind == "context":
            return fault._replace(retry_after=0.0) if others else fault
        return self._health.refused(call.model, call.provider, call.step, at, fault, others=others)

    def _capped(self, provider: str, fault: Fault | None) -> tuple[Fault | None, float | None]:
        """The fault with at most the wait that the deck allows, and the server's wait where that was longer."""
        most = self._deck.providers[provider].max_retry_after
        if fault is None or fault.retry_after is None or fault.retry_after <= most:
            return fault, None
        asked = f"{show_duration(round(fault.retry_after))}, capped at {show_duration(most)}"
        message = f"{fault.message} (the server asked to wait {asked})"
        return fault._replace(message=message, retry_after=most), fault.retry_after

    def _places(self, provider: str) -> int:
        return self._health.places(provider, max(1, self._scheduler.state.workers), self._clock.now())

    def _note_concurrency(self, provider: str, at: float) -> None:
        """Record the number found for `auto`, each time that it has changed by a fifth."""
        now, before = self._places(provider), self._shown.get(provider)
        if before is None or abs(now - before) >= max(1.0, before / 5):
            self._shown[provider] = now
            self._feed(ev.LimitChanged(at, f"{provider}.concurrent.now", before, now, AUTO))

    # Limits and health

    def record_headers(self, provider: str, headers: RateHeaders) -> None:
        """Take over what a provider's headers say is left, for `concurrent: auto`, and its limits, where the deck
        allows it: only lower ones have an effect."""
        found = self._deck.providers.get(provider)
        if found is None:
            return
        for name, header in headers.items():
            if header.limit is not None and header.left is not None and header.reset is not None:
                at = self._clock.now()
                self._health.record_left(provider, at, name, header.limit, header.left, header.reset)
        if not found.learn:
            return
        allows = {name: float(header.limit) for name, header in headers.items() if header.limit}
        if allows and self._health.learnt.get(provider) != allows:
            self._health.learnt[provider] = allows
            self._batcher.write(lambda db, _: self._shared.learn(db, provider, allows))

    def limits(self, provider: str) -> ProviderLimits:
        """The current limits: the deck's, lowered by the workflow, or as the operator changed them."""
        self._notice_changes()
        limits = self._limits.get(provider)
        if limits is None:
            changes = {
                limit: value
                for name, value in self._scheduler.state.changed_limits.items()
                for of, _, limit in [name.partition(".")]
                if of == provider
            }
            limits = with_changes(self._scheduler.provider_limits.get(provider, NO_LIMITS), changes)
            self._limits[provider] = limits
        if limits.concurrent == "auto":
            return replace(limits, concurrent=self._places(provider))
        return limits

    def close(self) -> None:
        """The run is over in this process: nothing of it is under way any more."""
        if any(self.limits(provider) != NO_LIMITS for provider in self._scheduler.provider_limits):
            self._batcher.close()

    def _notice_changes(self) -> None:
        """After the operator changed a limit or resumed the run, stopped providers are tried again."""
        if self._seen_changes != self._scheduler.limit_changes:
            self._seen_changes = self._scheduler.limit_changes
            self._limits.clear()
            self._health.reopen()

    def _cooled(self, provider: str, until: float) -> None:
        self._health.cool_down(provider, until, "a server asked another run to wait", self._clock.now())

    def _note(self, at: float, text: str) -> None:
        self._feed(ev.Noted(at, text))

    def _remedy(self, provider: str, kind: str) -> str:
        """What the operator can do about a provider that is stopped."""
        run, key = self._scheduler.state.run, self._deck.providers[provider].key
        then = f"agentdeck pause {run}, then agentdeck resume {run}"
        if kind == "model":
            return (
                "the next model of the tier answers; without one, its steps wait; once the key may use the "
                f"model: {then}"
            )
        if kind == "auth" and (key is None or isinstance(key, str)):  # this process cannot read another one
            then = f"agentdeck drain {run}, then agentdeck resume {run} with the right key"
        return f"its steps wait, and none fails; once this is fixed: {then}"


def _fitted(want: Amounts, limits: ProviderLimits) -> Amounts:
    """At most each whole limit, or the request would never fit."""
    tokens_in, tokens_out = want.tokens_in, want.tokens_out
    if limits.input_tokens is not None:
        tokens_in = min(tokens_in, int(limits.input_tokens.count))
    if limits.output_tokens is not None:
        tokens_out = min(tokens_out, int(limits.output_tokens.count))
    if limits.tokens is not None:
        most = int(limits.tokens.count)
        tokens_in = min(tokens_in, most)
        tokens_out = min(tokens_out, most - tokens_in)
    return Amounts(1, tokens_in, tokens_out)
