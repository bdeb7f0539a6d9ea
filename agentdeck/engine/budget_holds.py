"""What is held of the budgets for each call, and the `max_output` that is sent with it.

Under a budget every request is sent with a `max_output`: what the agent declares, else what the deck says of the
model, else `DEFAULT_OUTPUT`, and no more than the budget still allows. What is held covers exactly that: the
prompt by a count that is too high rather than too low, and the whole answer, both at the model's price. So all
calls under way together cannot exceed the budget, and only the last one, which begins where it likely fits, may
exceed it by its own rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import anyio

from agentdeck.agents.attempt_usage import BYTES_PER_TOKEN, CallUsage
from agentdeck.engine.clock import Clock
from agentdeck.engine.grant import Reservation
from agentdeck.engine.prompt_size import PromptSize
from agentdeck.errors import AgentdeckError, Fault, StepError
from agentdeck.limits.budget import Hold
from agentdeck.providers.output_limit import output_limit
from agentdeck.providers.prices import MILLION, Prices
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Rule
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.scope import scope_of
from agentdeck.scheduler.state import Step
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Prompt

#: The longest answer of an agent that declares none, in tokens: every model in use can give as much.
DEFAULT_OUTPUT = 4096
#: How long an answer is taken to be until one was seen, and the share of `max_output` that it takes at most.
TYPICAL_OUTPUT, TYPICAL_SHARE = 256, 0.5
#: Tokens per byte of a prompt, at most: English has a quarter, digits and other scripts up to this. What was seen
#: of an agent counts with a margin.
DENSE, MARGIN = 0.5, 1.25
#: Tokens that a prompt has beside its text: roles and separators, each tool's description, each image.
BESIDE, TOOL, IMAGE = 50, 300, 2000
#: So many of an agent's last attempts tell what the next one likely uses.
SEEN = 50
#: Seconds after which a call that waits for the budget looks again.
LOOK = 0.25


class _Attempt(NamedTuple):
    """What an attempt came to, in how many requests. `per_byte` is tokens of its prompt; 0 is not known."""

    tokens_in: int
    tokens_out: int
    requests: int
    per_byte: float


class BudgetHolds:
    """All holds of one run."""

    def __init__(
        self, machine: Scheduler, deck: Deck, clock: Clock, feed: Callable[[ev.Event | ev.Signal], None]
    ) -> None:
        self._machine = machine
        self._deck = deck
        self._prices = Prices(deck)
        self._clock = clock
        self._feed = feed
        self._price: dict[str, tuple[float, float] | None] = {}
        self._seen: dict[Rule, deque[_Attempt]] = {}
        self._sizes: dict[Rule, PromptSize] = {}
        self._waiting: set[tuple[str, str]] = set()

    def reserve(self, grant: Reservation, step: Step) -> Hold:
        """What is to be held for an attempt that is about to ask. Sets the longest answer that is asked for."""
        grant.hold = Hold(grant.want.tokens_in + grant.want.tokens_out)
        if not grant.model:
            return grant.hold
        if self._machine.accounts.of(grant.where[0]):
            grant.cut_at = step.cut_at
            grant.size = self._size(grant.rule, step)
            grant.hold = self._hold(grant, grant.size)
        else:
            likely_in, likely_out = self._likely(grant, grant.estimate.length, grant.want.tokens_out)
            likely_usd = self._usd(grant.model, likely_in, likely_out)
            grant.hold = grant.hold._replace(likely_in=likely_in, likely_out=likely_out, likely_usd=likely_usd)
        return grant.hold

    async def afford(
        self, grant: Reservation, spending: CallUsage, size: int, leave: Callable[[], None]
    ) -> int | None:
        """One more request of the same attempt, of so many bytes: returns the longest answer that it may ask for,
        once the budget admits it. `leave` is called before it waits. Raises StepError of kind `budget` where no
        other call can make room."""
        grant.requests += 1
        where, task = grant.where[:2], grant.where[0]
        if not self._machine.accounts.of(task):
            return grant.max_output
        try:
            while True:
                hold = self._hold(grant, size, spending.usage())
                refused = self._machine.accounts.refuses(task, hold, grant.hold)
                if refused is None:
                    self._grow(grant, hold)
                    return grant.max_output
                name, ledger = refused
                self._waiting.add(where)
                if not self._others(name):
                    of = f"task {name}" if name else "the run"
                    what = f"the budget of {of} has no room for one more request: {ledger.told()}"
                    raise StepError("budget", what)
                leave()
                await anyio.sleep(LOOK)
        finally:
            self._waiting.discard(where)

    def admits(self, grant: Reservation, step: Step, beside: Reservation) -> bool:
        """Whether a second call of an attempt may begin beside the first one: both are held from now on."""
        hold = self.reserve(grant, step)
        both = hold.plus(beside.hold)
        if self._machine.accounts.refuses(grant.where[0], both, beside.hold) is not None:
            return False
        self._grow(grant, both)
        beside.hold = both
        return True

    def ended(self, grant: Reservation, usage: ev.Usage | None, fault: Fault | None) -> None:
        """An attempt ended: what it used tells what the next one will."""
        known = usage is not None and usage.tokens_in is not None and usage.tokens_out is not None
        if not known or usage.estimated or (fault is not None and fault.kind not in ("invalid", "budget")):  # type: ignore[union-attr]
            return
        per_byte = usage.tokens_in / grant.size if grant.requests == 1 and grant.size else 0.0  # type: ignore[union-attr, operator]
        seen = self._seen.setdefault(grant.rule, deque(maxlen=SEEN))
        seen.append(_Attempt(usage.tokens_in, usage.tokens_out, grant.requests, per_byte))  # type: ignore[union-attr, arg-type]

    # Inside

    def _grow(self, grant: Reservation, hold: Hold) -> None:
        grant.hold = hold
        task, step, attempt = grant.where
        tokens, usd, likely_in, likely_out, likely_usd = hold
        self._feed(
            ev.ReservationGrew(
                self._clock.now(), task, step, attempt, tokens, usd, likely_in, likely_out, likely_usd
            )
        )

    def _hold(self, grant: Reservation, size: int, spent: ev.Usage | None = None) -> Hold:
        """For what was spent, and one more request of so many bytes. Sets the longest answer of that."""
        used_tokens = (spent.tokens_in or 0) + (spent.tokens_out or 0) if spent is not None else 0
        used_usd = (spent.usd or 0.0) if spent is not None else 0.0
        does = grant.rule.agent.does
        assert isinstance(does, Prompt)
        model = self._deck.models[grant.model]
        most = max(does.max_output or 0, 2 * grant.cut_at) or model.max_output or DEFAULT_OUTPUT
        if grant.reduced:
            most = max(1, most // 2)
        most = min(most, output_limit(model) or most)
        tokens_in = self._tokens_in(grant.rule, size, does)
        likely_in, likely_out = self._likely(grant, size // BYTES_PER_TOKEN + 1, most)
        least = min(most, max(self._one_answer(grant.rule, most), 2 * grant.cut_at))
        left_tokens, left_usd = self._machine.accounts.left(grant.where[0], Hold(used_tokens, used_usd))
        room = min(float(most), left_tokens - tokens_in)
        price = self._price_of(grant.model)
        if price is not None and price[1] > 0:
            room = min(room, (left_usd - tokens_in * price[0] / MILLION) / price[1] * MILLION)
        grant.max_output = max(least, int(room))
        tokens, usd = tokens_in + grant.max_output, self._usd(grant.model, tokens_in, grant.max_output)
        likely_out = max(likely_out, least)
        likely_usd = self._usd(grant.model, likely_in, likely_out)
        if spent is not None:  # at least what is spent, and one answer
            likely_in = max(likely_in, (spent.tokens_in or 0) + size // BYTES_PER_TOKEN + 1)
            likely_out = max(likely_out, (spent.tokens_out or 0) + least)
            one = self._usd(grant.model, size // BYTES_PER_TOKEN + 1, least)
            likely_usd = max(likely_usd, used_usd + one)
        return Hold(used_tokens + tokens, used_usd + usd, likely_in, likely_out, likely_usd)

    def _others(self, name: str) -> bool:
        """Whether another call is under way that this budget holds money for, and that does not wait itself."""
        return any(
            step.held is not None
            and (step.task.id, step.key) not in self._waiting
            and (not name or step.task.id.partition("/")[0] == name)
            for step in self._machine.running
        )

    def _size(self, rule: Rule, step: Step) -> int:
        """Bytes of the prompt's text. What cannot be rendered counts nothing: the attempt will say why."""
        does = rule.agent.does
        assert isinstance(does, Prompt)
        if rule not in self._sizes:
            self._sizes[rule] = PromptSize(does)
        scope = scope_of(step, self._machine.run)
        try:
            size = self._sizes[rule].bytes(scope)
        except AgentdeckError:
            return 0
        again = len(step.fault.message) if step.fault is not None and step.fault.kind == "invalid" else 0
        return size + again + len(str(dict(rule.agent.output) if rule.agent.output else "")) * 4

    def _tokens_in(self, rule: Rule, size: int, does: Prompt) -> int:
        """The tokens of a prompt, too many rather than too few."""
        per_byte = max((one.per_byte for one in self._seen.get(rule, ())), default=0.0)
        beside = BESIDE + TOOL * len(does.tools) + IMAGE * len(does.images)
        return int(size * max(DENSE, MARGIN * per_byte)) + beside

    def _likely(self, grant: Reservation, length: int, most: int) -> tuple[int, int]:
        """The tokens that an attempt likely uses, its further requests among them."""
        seen = self._seen.get(grant.rule)
        if not seen:
            return length, int(min(TYPICAL_OUTPUT, TYPICAL_SHARE * most)) or 1
        tokens_in = sum(one.tokens_in for one in seen) / len(seen)
        return round(tokens_in), max(1, round(sum(one.tokens_out for one in seen) / len(seen)))

    def _one_answer(self, rule: Rule, most: int) -> int:
        """How long one answer likely is."""
        seen = self._seen.get(rule)
        if not seen:
            return int(min(TYPICAL_OUTPUT, TYPICAL_SHARE * most)) or 1
        return max(1, round(sum(one.tokens_out for one in seen) / sum(one.requests for one in seen)))

    def _usd(self, model: str, tokens_in: int, tokens_out: int) -> float:
        """0 where the price is not known."""
        price = self._price_of(model)
        return 0.0 if price is None else (tokens_in * price[0] + tokens_out * price[1]) / MILLION

    def _price_of(self, model: str) -> tuple[float, float] | None:
        if model not in self._price:
            price = self._prices.price(model)
            self._price[model] = None if price is None else (price.input, price.output)
            if price is None and self._machine.accounts.bounds_usd:
                what = f"the price of {model} is not known: a budget in dollars does not count it"
                self._feed(ev.Noted(self._clock.now(), what))
        return self._price[model]
