"""Reserving calls to providers: which model answers, whether there is room for it, and what it came to.

What the core asks for (`Reserve`) is answered with `Reserved` or `Refused`. Where a provider has limits, the
store decides, in one transaction for all that ask at once; where it has none, the answer is given at once.
"""

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
from agentdeck.engine.grant import Reservation
from agentdeck.engine.prompt_estimate import PromptEstimates
from agentdeck.engine.provider_health import ProviderHealth
from agentdeck.engine.reservation_batcher import ReservationBatcher
from agentdeck.engine.run_storage import RunStorage
from agentdeck.errors import Fault, UsageError
from agentdeck.limits.provider_limits import NO_LIMITS, caps_of, told, turned
from agentdeck.limits.rate_window import Amounts
from agentdeck.providers.provider import RateHeaders
from agentdeck.providers.registry import complete, models_for
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import AUTO
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import Step
from agentdeck.store import reservations as store
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import ProviderLimits
from agentdeck.workflow.units import show_duration


class Reservations:
    """All reservations of one run."""

    def __init__(
        self,
        machine: Scheduler,
        storage: RunStorage,
        deck: Deck,
        clock: Clock,
        feed: Callable[[ev.Event | ev.Signal], None],
    ) -> None:
        self._machine = machine
        self._deck = complete(deck)
        self._clock = clock
        self._feed = feed
        self._standing = ProviderHealth(self._tell, self._mend)
        self._estimates = PromptEstimates()
        self._holds = BudgetHolds(machine, self._deck, clock, feed)
        self._without: dict[tuple[str, str], set[str]] = {}
        self._grants: dict[int, Reservation] = {}
        self._limits: dict[str, ProviderLimits] = {}
        self._shown: dict[str, int] = {}
        self._turn = machine.limit_changes
        self._book = store.Book(machine.run, storage.owner.name)
        self._exchange = ReservationBatcher(storage.log, clock, self._book, self.limits, self._cooled)
        self._calls = CallProgress(self._estimates, self._exchange, clock, self.limits)
        self.pump = self._exchange.pump
        self.reset = self._exchange.reset
        definition = machine.program.definition
        reserve = bool(deck.models) or definition.budget is not None
        machine.configure_providers(caps_of(deck, definition), reserve=reserve)

    # For the engine

    def ask(self, action: act.Reserve) -> None:
        """Answer at once where that is possible, else as soon as the store has."""
        machine = self._machine
        self._look()
        step = machine.step(action.task, action.step)
        rule = step.acting
        most = self._estimates.longest(rule, action.reduced, step.cut_at)
        estimate = self._estimates.of(rule, scope_of(step, machine.run), most)
        where = action.task, action.step, action.attempt
        grant = Reservation(
            rule, where, action.shift, "", "", most if action.reduced else None, estimate, estimate.want
        )
        grant.reduced, grant.longest = action.reduced, most
        self._place(action, grant, step)

    def _look(self) -> None:
        """Where an operator turned something, what was is to be tried again."""
        if self._turn != self._machine.limit_changes:
            self._turn = self._machine.limit_changes
            self._limits.clear()
            self._standing.start()

    def _place(self, action: act.Reserve, grant: Reservation, step: Step) -> None:
        """With the first model whose provider may be called now."""
        at = self._clock.now()
        models = self._models(grant)
        pairs = [(m, self._deck.models[m].provider) for m in models]
        grant.model = self._standing.choose(pairs, at)
        if not models:
            self._granted(action.ask, grant)  # nobody answers; the attempt will say so
        elif not grant.model:
            pool, until, why = self._standing.soonest(pairs, at)
            self._feed(ev.Refused(at, action.ask, *grant.where[:2], pool, "cooldown", until, why))
        else:
            grant.provider = self._deck.models[grant.model].provider
            grant.want = self._fitted(grant.want, self.limits(grant.provider))
            grant.epoch = self._standing.began(grant.provider)
            self._calls.plan(grant)
            if self.limits(grant.provider) == NO_LIMITS or self._exchange.pass_on(grant):
                self._granted(action.ask, grant)
            else:
                self._exchange.ask(grant, partial(self._heard, action, grant, step))

    def _models(self, grant: Reservation) -> Sequence[str]:
        """Who may answer, first the preferred one, without those that this step cannot use."""
        agent = grant.rule.agent
        try:
            models = models_for(self._deck, agent, grant.shift)
        except UsageError:
            try:
                models = models_for(self._deck, agent)
            except UsageError:
                return ()
        without = self._without.get(grant.where[:2], set())
        return [model for model in models if model not in without] or models

    def _heard(self, action: act.Reserve, grant: Reservation, step: Step, answer: store.Answer) -> None:
        if isinstance(answer, store.Granted):
            grant.placed(answer.id)
            self._granted(action.ask, grant)
            return
        at, provider = self._clock.now(), grant.provider
        self._standing.unused(provider, grant.epoch)
        if answer.reason == "cooldown":
            self._cooled(provider, answer.until)
            self._place(action, grant, step)
            return
        limits = told(self.limits(provider))
        full = ", ".join(f"{name} {value}" for name, value in limits.items() if answer.reason in name)
        why = f"{provider}: {full or answer.reason} used up"
        self._feed(ev.Refused(at, action.ask, *grant.where[:2], provider, answer.reason, answer.until, why))

    def _granted(self, ask: int, grant: Reservation) -> None:
        self._grants[ask] = grant
        task, key = grant.where[:2]
        hold = self._holds.reserve(grant, self._machine.step(task, key))
        self._feed(ev.Reserved(self._clock.now(), ask, task, key, grant.provider, grant.model, *hold))

    def give_back(self, ask: int) -> None:
        """It was never sent."""
        grant = self._grants.pop(ask, None)
        if grant is not None and grant.provider:
            self._standing.unused(grant.provider, grant.epoch)
            self._exchange.settle(grant, Amounts(0, 0, 0))

    def begun(self, ask: int) -> Reservation:
        """The attempt begins now."""
        grant = self._grants.pop(ask)
        grant.began = self._clock.now()
        if grant.provider:
            grant.number = self._estimates.began(grant.rule)
        return grant

    def connect(self, work: AttemptContext, grant: Reservation) -> None:
        """Have an attempt's work report how far its calls are."""
        work.model, work.max_output = grant.model, grant.max_output
        work.afford, work.again = partial(self.afford, grant), partial(self.again, grant)
        work.sent = partial(self._calls.sent, grant)
        work.answered = partial(self._calls.answered, grant)
        work.grew = partial(self._calls.grew, grant)

    async def again(self, grant: Reservation, tokens_in: int | None, tokens_out: int | None) -> None:
        """Reserve one more request of the same attempt; the one before it used so much."""
        if not grant.ids:
            return
        known = tokens_in is not None and tokens_out is not None
        self._calls.next_request(grant, Amounts(1, tokens_in or 0, tokens_out or 0) if known else None)
        while True:
            answer: asyncio.Future[store.Answer] = asyncio.get_running_loop().create_future()
            self._calls.plan(grant)
            self._exchange.ask(grant, partial(self._answer, grant, answer))
            got = await answer
            if isinstance(got, store.Granted):
                grant.closed = False
                return
            await anyio.sleep(max(0.0, got.until - self._clock.now()))

    async def afford(self, grant: Reservation, spending: CallUsage, size: int) -> int | None:
        """The longest answer that one more request of the same attempt may ask for, once the budget admits it."""

        def leave() -> None:
            self._calls.next_request(grant, self._calls.last(grant, spending.usage()))

        return await self._holds.afford(grant, spending, size, leave)

    async def second(self, grant: Reservation, step: Step) -> Reservation | None:
        """One more call of the same attempt, to another model of its tier, if there is room for it at once."""
        at = self._clock.now()
        others = [model for model in self._models(grant) if model != grant.model]
        model = self._standing.choose([(one, self._deck.models[one].provider) for one in others], at)
        if not model:
            return None
        provider = self._deck.models[model].provider
        want = self._fitted(grant.want, self.limits(provider))
        spare = Reservation(
            grant.rule,
            grant.where,
            grant.shift,
            model,
            provider,
            grant.max_output,
            grant.estimate,
            want,
            began=at,
        )
        if not self._holds.admits(spare, step, grant):
            return None
        spare.epoch, spare.longest = self._standing.began(provider), grant.longest
        self._calls.plan(spare)
        if self.limits(provider) != NO_LIMITS:
            answer: asyncio.Future[store.Answer] = asyncio.get_running_loop().create_future()
            self._exchange.ask(spare, partial(self._answer, spare, answer))
            try:
                got = await answer
            except asyncio.CancelledError:
                self._standing.unused(provider, spare.epoch)
                raise
            if not isinstance(got, store.Granted):
                self._standing.unused(provider, spare.epoch)
                return None
        spare.began = self._clock.now()
        return spare

    def ended(
        self, grant: Reservation, usage: ev.Usage | None, fault: Fault | None, unused: bool = False
    ) -> Fault | None:
        """An attempt ended; `unused`: without a call. Said before the core hears of it, so that what it asks for
        next sees it. Gives the fault as the core is to take it."""
        if not grant.provider:
            return fault
        at = self._clock.now()
        if unused:
            self._standing.unused(grant.provider, grant.epoch)
        else:
            if self._standing.paced(grant.provider, at, at - grant.began, fault):
                self._show_pace(grant.provider, at)
            fault, asked = self._capped(grant.provider, fault)
            until = self._standing.ended(grant.provider, grant.epoch, at, fault, asked)
            if until is not None:
                self._exchange.tell(lambda db, _: self._book.cool_down(db, grant.provider, until))
            self._holds.ended(grant, usage, fault)
        if usage is not None and usage.estimated:
            usage = None  # what the provider counts is not known
        if unused:
            self._calls.unused(grant)
            if grant.number is not None:
                self._estimates.ended(grant.rule, grant.number, usage, grant.estimate.length)
        else:
            self._calls.ended(grant, usage, fault)
        return self._elsewhere(grant, fault, at, unused=unused)

    def _elsewhere(self, grant: Reservation, fault: Fault | None, at: float, *, unused: bool) -> Fault | None:
        """Whether the step is to ask another model: what this one, or its provider, refused it for good."""
        step = grant.where[:2]
        if fault is None:
            self._without.pop(step, None)
            if not unused:
                self._standing.answered(grant.model, grant.provider)
            return None
        if fault.kind not in ("context", "forbidden", "model"):
            return fault
        if fault.kind != "model":
            self._without.setdefault(step, set()).add(grant.model)
        others = any(model not in self._without.get(step, ()) for model in self._models(grant))
        if fault.kind == "context":
            return fault._replace(retry_after=0.0) if others else fault
        return self._standing.refused(grant.model, grant.provider, step, at, fault, others=others)

    def _capped(self, provider: str, fault: Fault | None) -> tuple[Fault | None, float | None]:
        """The fault with no longer a wait than the deck allows, and what the server asked for where that was
        longer."""
        most = self._deck.providers[provider].max_retry_after
        if fault is None or fault.retry_after is None or fault.retry_after <= most:
            return fault, None
        asked = f"{show_duration(round(fault.retry_after))}, capped at {show_duration(most)}"
        said = f"{fault.message} (it asked to wait {asked})"
        return fault._replace(message=said, retry_after=most), fault.retry_after

    def _show_pace(self, provider: str, at: float) -> None:
        """What `auto` has come to, each time that it has changed by a fifth."""
        now, before = self._standing.places(provider, max(1, self._machine.workers)), self._shown.get(provider)
        if before is None or abs(now - before) >= max(1.0, before / 5):
            self._shown[provider] = now
            self._feed(ev.LimitChanged(at, f"{provider}.concurrent.now", before, now, AUTO))

    def told(self, provider: str, said: RateHeaders) -> None:
        """What a provider's headers say. Where the deck lets it, limits become as tight as they; never wider."""
        found = self._deck.providers.get(provider)
        if found is None or not found.learn:
            return
        allows = {name: float(window.limit) for name, window in said.items() if window.limit}
        if allows and self._standing.learnt.get(provider) != allows:
            self._standing.learnt[provider] = allows
            self._exchange.tell(lambda db, _: self._book.learn(db, provider, allows))

    def limits(self, provider: str) -> ProviderLimits:
        """As they are now: the deck's, tightened by the workflow, or as an operator turned them."""
        self._look()
        limits = self._limits.get(provider)
        if limits is None:
            turns = self._machine.changed_limits
            mine = {n.partition(".")[2]: v for n, v in turns.items() if n.partition(".")[0] == provider}
            limits = turned(self._machine.provider_limits.get(provider, NO_LIMITS), mine)
            self._limits[provider] = limits
        if limits.concurrent == "auto":
            return replace(limits, concurrent=self._standing.places(provider, max(1, self._machine.workers)))
        return limits

    def close(self) -> None:
        """The run is over here: nothing of it is under way any more."""
        if all(self.limits(provider) == NO_LIMITS for provider in self._machine.provider_limits):
            return
        self._exchange.close()

    # Inside

    def _answer(self, grant: Reservation, future: asyncio.Future[store.Answer], answer: store.Answer) -> None:
        """To whoever waits for one more call. If nobody does any more, it is given back."""
        if isinstance(answer, store.Granted):
            grant.placed(answer.id)
        if not future.done():
            future.set_result(answer)
        elif isinstance(answer, store.Granted):
            self._exchange.settle(grant, Amounts(0, 0, 0))

    def _cooled(self, provider: str, until: float) -> None:
        self._standing.cool(provider, until, "another run was asked to wait", self._clock.now())

    def _tell(self, at: float, text: str) -> None:
        self._feed(ev.Noted(at, text))

    def _mend(self, provider: str, kind: str) -> str:
        """What to do about a provider that is stopped, so that what waits for it goes on."""
        run, key = self._machine.run, self._deck.providers[provider].key
        then = f"agentdeck pause {run}, then agentdeck resume {run}"
        if kind == "model":
            return f"the tier's next model answers, else its steps wait; once the key may use it: {then}"
        if kind == "auth" and (key is None or isinstance(key, str)):  # this process has it for good
            then = f"agentdeck drain {run}, then agentdeck resume {run} with the right key"
        return f"its steps wait, and none is lost; once that is mended: {then}"

    @staticmethod
    def _fitted(want: Amounts, limits: ProviderLimits) -> Amounts:
        """No more than each whole limit, else it would never fit."""
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
