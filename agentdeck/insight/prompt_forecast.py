"""What the prompts of a launch would use: calls and tokens of each provider, the time that their rates take, and
dollars; by what earlier runs used, else by the lengths of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentdeck.engine.prompt_estimate import IMAGE
from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import tightest
from agentdeck.limits.token_estimates import CHARACTERS_PER_TOKEN, OUTPUT
from agentdeck.providers.model_facts import MILLION, Prices
from agentdeck.providers.registry import models_for
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Definition, Prompt, ProviderLimits, Rate

#: How much an answer nobody has seen may be shorter than the longest that is allowed.
SHORTEST = 0.1


class Used(NamedTuple):
    """Of one agent: calls for each task, and tokens of a call."""

    calls: float
    tokens_in: float
    tokens_out: float


@dataclass(frozen=True, slots=True)
class Prompting:
    """`seconds` is the least time that the rates alone take, and `limit` the one that takes it (empty: none).
    `usd` is the least and the most that it would cost; None where a price or the number of calls is not known, or
    nothing is asked. `items` are how many a task has of each agent with `each`, as earlier runs had them."""

    seconds: float = 0.0
    limit: str = ""
    usd: tuple[float, float] | None = None
    items: Mapping[str, float] = field(default_factory=dict)


def used_by(summary: Mapping[str, Any], tasks: int) -> dict[str, Used]:
    """What each agent of an earlier run used, from its summary (see `Storage.end`)."""
    found = {}
    for name, agent in summary.get("agents", {}).items():
        calls = agent["attempts"]
        if calls and agent["tokens_in"] is not None:
            found[name] = Used(calls / tasks, agent["tokens_in"] / calls, (agent["tokens_out"] or 0) / calls)
    return found


def prompting(definition: Definition, deck: Deck, tasks: int, seen: Mapping[str, Used]) -> Prompting:
    """Of a launch with so many tasks. An agent that was not seen is taken to ask once for each task."""
    if not deck.models:
        return Prompting()
    prices = Prices(deck)
    use: dict[str, Used] = {}
    costs: list[tuple[float, float] | None] = []
    for model, used, guessed in _calls(definition, deck, seen):
        provider, calls = deck.models[model].provider, used.calls * tasks
        each = Used(calls, calls * used.tokens_in, calls * used.tokens_out)
        before = use.get(provider, Used(0, 0, 0))
        use[provider] = Used(*(a + b for a, b in zip(before, each, strict=True)))
        price = prices.price(model)
        if price is None:
            costs.append(None)
        else:
            most = (each.tokens_in * price.input + each.tokens_out * price.output) / MILLION
            costs.append((most * SHORTEST if guessed else most, most))
    seconds, limit = _slowest(definition, deck, use)
    known = [cost for cost in costs if cost is not None]
    usd = (sum(low for low, _ in known), sum(high for _, high in known))
    many = [name for name, agent in definition.agents.items() if agent.each is not None and not agent.spare]
    counted = {name: seen[name].calls for name in many if name in seen}
    unknown = any(name not in seen and definition.agents[name].does.verb == "prompt" for name in many)
    known_all = known and len(known) == len(costs) and not unknown
    return Prompting(seconds, limit, usd if known_all else None, counted)


def _calls(definition: Definition, deck: Deck, seen: Mapping[str, Used]) -> Iterator[tuple[str, Used, bool]]:
    """Of each prompt: its model, what it uses for a task, and whether that is a guess."""
    for name, agent in definition.agents.items():
        if not isinstance(agent.does, Prompt) or agent.spare:
            continue
        try:
            model = models_for(deck, agent)[0]
        except UsageError:
            continue  # it is refused when it is launched, with the reason
        guess = (len(agent.does.text) + len(agent.does.system or "")) / CHARACTERS_PER_TOKEN
        guess += IMAGE * len(agent.does.images)
        known = seen.get(name)
        yield model, known or Used(1.0, guess, float(agent.does.max_output or OUTPUT)), known is None


def _slowest(definition: Definition, deck: Deck, use: Mapping[str, Used]) -> tuple[float, str]:
    found = [(0.0, "")]
    for name, used in use.items():
        limits = tightest(deck.providers[name].limits, definition.limits.providers.get(name, ProviderLimits()))
        wanted = {
            "requests": used.calls,
            "tokens": used.tokens_in + used.tokens_out,
            "input_tokens": used.tokens_in,
            "output_tokens": used.tokens_out,
        }
        for key, amount in wanted.items():
            rate: Rate | None = getattr(limits, key)
            if rate is not None:
                # What fits into its first window can be used at once.
                found.append(((amount / rate.count - 1) * rate.seconds, f"{name}.{key}"))
    return max(found)
