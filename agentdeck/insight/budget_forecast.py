"""The budget of a run from its log, and a forecast of what the rest of the run will use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from agentdeck.limits.budget import Ledger
from agentdeck.providers.model_facts import Prices
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.budget_accounts import BudgetAccounts
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Definition, Prompt

LOWEST = "routing"
#: What is granted beyond the forecast: it is a mean.
SPARE = 1.1
#: Tokens, dollars and dollars on the routing tier of one prompt; None is not known.
Mean: TypeAlias = tuple[float | None, float | None, float | None]


class Left(NamedTuple):
    """The prompts of an agent that are still to be asked, and what one of them uses at the mean so far, as it is
    asked now and as it would be on the routing tier. None is not known."""

    agent: str
    prompts: int
    tokens: float | None
    usd: float | None
    usd_routing: float | None


class Forecast(NamedTuple):
    """What is left of a run. `unopened` tasks are among it, where their number is known; None: it is not."""

    agents: tuple[Left, ...]
    unopened: int | None

    def total(self, measure: str) -> float | None:
        """Of `prompts`, `tokens`, `usd` or `usd_routing`; None where any part of it is not known."""
        each = [(one.prompts, getattr(one, measure) if measure != "prompts" else 1) for one in self.agents]
        if any(value is None for _, value in each):
            return None
        return sum(prompts * value for prompts, value in each)


def forecast(view: RunView, definition: Definition, deck: Deck, total: int | None) -> Forecast:
    """What is still to be asked, and its cost. `total` is how many tasks there will be, where that is known. An
    agent that has not answered yet is taken to be like the mean of the others."""
    prices = Prices(deck)
    routing = next(iter(deck.tiers.get(LOWEST, ())), "")
    asking = [totals for totals in view.agents.values() if _asks(totals, definition)]
    if total is None:
        total = view.tasks.total
    unopened = None if total is None else max(0, total - view.tasks.opened)
    means = {totals.name: _mean(totals, prices, routing) for totals in asking}
    answered = [mean for mean in means.values() if mean is not None]
    others = tuple(_middle(values) for values in zip(*answered, strict=True)) or (None, None, None)
    found = []
    for totals in asking:
        steps = totals.steps
        left = steps["waiting"] + steps["ready"] + steps["running"]
        left += round((unopened or 0) * _each(totals, view))
        if left:
            found.append(Left(totals.name, left, *(means[totals.name] or others)))
    return Forecast(tuple(found), unopened)


def grant(ledger: Ledger, rest: float, measure: str, largest: float) -> float:
    """How much more has to be granted for so much `rest` to go through. `largest` is what the largest of the last
    prompts was likely to use: the last one begins only where it likely fits."""
    usd = measure == "usd"
    bound = (ledger.usd if usd else ledger.tokens) or 0.0
    used = ledger.used_usd + ledger.likely_usd if usd else float(ledger.used_tokens + ledger.likely_tokens)
    share = ledger.end[0] if ledger.end is not None else 1.0
    return max(0.0, (used + rest * SPARE + largest) / share - bound)


def likely(events: Iterable[ev.Event]) -> Iterator[tuple[int, float]]:
    """What each attempt was likely to use: tokens and dollars."""
    for event in events:
        if isinstance(event, ev.StepStarted) and event.reserved_tokens:
            yield ev.hold_of(event).likely


def _asks(totals: AgentTotals, definition: Definition) -> bool:
    agent = None if totals.graph.prefix else definition.agents.get(totals.name)
    return isinstance(agent.does, Prompt) if agent is not None else totals.tokens_out is not None


def _each(totals: AgentTotals, view: RunView) -> float:
    """How many prompts of it a task has, by those that have begun."""
    steps = totals.steps
    return sum(steps.values()) / max(1, view.tasks.opened) if totals.attempts else 1.0


def _mean(totals: AgentTotals, prices: Prices, routing: str) -> Mean | None:
    """What an attempt of an agent has used on average; None where it has not answered yet."""
    many = totals.durations.count
    if not many or totals.tokens_in is None or totals.tokens_out is None:
        return None
    cheap, cost = prices.usd(routing, totals.tokens_in, totals.tokens_out, None), totals.cost
    return (
        (totals.tokens_in + totals.tokens_out) / many,
        None if cost is None else cost / many,
        None if cheap is None else cheap / many,
    )


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def accounts_of(events: Iterable[ev.Event], program: Program) -> BudgetAccounts:
    """What is used and what is reserved after these events, as the scheduler counts it. `program` is that of the
    run, with its sub-workflows."""
    fold = Fold(program)
    for event in events:
        fold.apply(event)
    return fold.state.accounts
