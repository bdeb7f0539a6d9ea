"""Holds of a run's calls on its budgets, and the `max_output` that is sent with each request.

Under a budget every request is sent with a `max_output`: what the agent declares, else what the deck says of the
model, else `DEFAULT_OUTPUT`, and no more than the budget still allows. See `agentdeck.limits.budget` for what is
held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import anyio

from agentdeck.agents.attempt_usage import CallUsage
from agentdeck.engine.clock import Clock
from agentdeck.engine.prompt_estimate import PromptSize, size_of
from agentdeck.engine.reservation import Reservation
from agentdeck.errors import AgentdeckError, Fault, StepError
from agentdeck.limits.budget import AgentCosts, HeldRequest, Hold, Spent
from agentdeck.providers.model_facts import MILLION, Prices, output_limit
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Rule
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import Step
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Prompt

#: The longest answer of an agent that declares none, in tokens: every model in use can give as much.
DEFAULT_OUTPUT = 4096
#: Tokens that a prompt has beside its text: roles and separators, each tool's description, each image.
BESIDE, TOOL, IMAGE = 50, 300, 2000
#: Seconds after which a call that waits for the budget tries again.
LOOK = 0.25


class BudgetHolds:
    """All holds of one run."""

    def __init__(
        self, scheduler: Scheduler, deck: Deck, clock: Clock, feed: Callable[[ev.Event | ev.Signal], None]
    ) -> None:
        self._scheduler = scheduler
        self._deck = deck
        self._prices = Prices(deck)
        self._clock = clock
        self._feed = feed
        self._price: dict[str, tuple[float, float]] = {}
        self._costs: dict[Rule, AgentCosts] = defaultdict(AgentCosts)
        self._sizes: dict[Rule, PromptSize] = {}
        self._waiting: set[tuple[str, str]] = set()

    def reserve(self, call: Reservation, step: Step) -> Hold:
        """What to hold for an attempt before it begins. Sets the longest answer that is asked for."""
        call.hold = Hold(call.want.tokens_in + call.want.tokens_out)
        if not call.model:
            return call.hold
        if self._scheduler.state.accounts.of(call.task):
            call.cut_at = step.cut_at
            call.prompt_bytes = self._size(call.rule, step)
            call.hold = self._hold(call, call.prompt_bytes)
        else:
            likely_in, likely_out = self._costs[call.rule].likely(call.estimate.length, call.want.tokens_out)
            price = self._price_of(call.model)
            likely_usd = (likely_in * price[0] + likely_out * price[1]) / MILLION
            call.hold = call.hold._replace(likely_in=likely_in, likely_out=likely_out, likely_usd=likely_usd)
        return call.hold

    async def afford(
        self, call: Reservation, usage: CallUsage, size: int, leave: Callable[[], None]
    ) -> int | None:
        """Wait until the budget admits one more request of the same attempt, of `size` bytes. Returns the
        longest answer that it may ask for. Calls `leave` before it waits. Raises StepError of kind `budget`
        where no other call can make room."""
        call.requests += 1
        accounts = self._scheduler.state.accounts
        if not accounts.of(call.task):
            return call.max_output
        try:
            while True:
                hold = self._hold(call, size, _spent(usage.usage()))
                refused = accounts.refuses(call.task, hold, call.hold)
                if refused is None:
                    self._grow(call, hold)
                    return call.max_output
                name, ledger = refused
                self._waiting.add(call.step)
                if not self._others(name):
                    of = f"task {name}" if name else "the run"
                    what = f"the budget of {of} does not cover another request: {ledger.as_text()}"
                    raise StepError("budget", what)
                leave()
                await anyio.sleep(LOOK)
        finally:
            self._waiting.discard(call.step)

    def admits(self, call: Reservation, step: Step, beside: Reservation) -> bool:
        """Whether a second call of an attempt may begin beside the first one. If so, holds both from now on."""
        hold = self.reserve(call, step)
        both = hold.plus(beside.hold)
        if self._scheduler.state.accounts.refuses(call.task, both, beside.hold) is not None:
            return False
        self._grow(call, both)
        beside.hold = both
        return True

    def ended(self, call: Reservation, usage: ev.Usage | None, fault: Fault | None) -> None:
        """Record what an attempt used, to predict the next one."""
        if usage is None or usage.estimated or usage.tokens_in is None or usage.tokens_out is None:
            return
        if fault is None or fault.kind in ("invalid", "budget"):
            self._costs[call.rule].add(usage.tokens_in, usage.tokens_out, call.requests, call.prompt_bytes)

    def _grow(self, call: Reservation, hold: Hold) -> None:
        call.hold = hold
        tokens, usd, likely_in, likely_out, likely_usd = hold
        task, step, attempt = call.attempt
        at = self._clock.now()
        self._feed(ev.ReservationGrew(at, task, step, attempt, tokens, usd, likely_in, likely_out, likely_usd))

    def _hold(self, call: Reservation, size: int, spent: Spent = Spent()) -> Hold:  # noqa: B008 - it is immutable
        """For what was spent and one more request of `size` bytes. Sets the longest answer of that request."""
        does = call.rule.agent.does
        assert isinstance(does, Prompt)
        model = self._deck.models[call.model]
        most = max(call.asked or 0, 2 * call.cut_at) or model.max_output or DEFAULT_OUTPUT
        if call.reduced:
            most = max(1, most // 2)
        most = min(most, output_limit(model) or most)
        other = BESIDE + TOOL * len(does.tools) + IMAGE * len(does.images)
        request = HeldRequest(size, other, most, call.cut_at, self._price_of(call.model))
        left = self._scheduler.state.accounts.left(call.task, Hold(spent.tokens_in + spent.tokens_out, spent.usd))
        hold, call.max_output = self._costs[call.rule].hold(request, left, spent)
        return hold

    def _others(self, name: str) -> bool:
        """Whether another call is under way that this budget holds money for, and that does not wait itself."""
        return any(
            step.held is not None
            and (step.task.id, step.key) not in self._waiting
            and (not name or step.task.id.partition("/")[0] == name)
            for step in self._scheduler.state.running
        )

    def _size(self, rule: Rule, step: Step) -> int:
        """Bytes of the prompt's text. A prompt that cannot be rendered counts 0: its attempt fails with the
        reason."""
        does = rule.agent.does
        assert isinstance(does, Prompt)
        if rule not in self._sizes:
            self._sizes[rule] = size_of(does)
        scope = scope_of(step, self._scheduler.state.run)
        try:
            size = self._sizes[rule].bytes(scope)
        except AgentdeckError:
            return 0
        fault = len(step.fault.message) if step.fault is not None and step.fault.kind == "invalid" else 0
        return size + fault + len(str(dict(rule.agent.output) if rule.agent.output else "")) * 4

    def _price_of(self, model: str) -> tuple[float, float]:
        """Dollars per million tokens of prompt and answer; 0 where the price is not known."""
        if model not in self._price:
            price = self._prices.price(model)
            self._price[model] = (0.0, 0.0) if price is None else (price.input, price.output)
            if price is None and self._scheduler.state.accounts.bounds_usd:
                what = f"the price of {model} is unknown: its use does not count towards a budget in dollars"
                self._feed(ev.Noted(self._clock.now(), what))
        return self._price[model]


def _spent(usage: ev.Usage | None) -> Spent:
    if usage is None:
        return Spent()
    return Spent(True, usage.tokens_in or 0, usage.tokens_out or 0, usage.usd or 0.0)
