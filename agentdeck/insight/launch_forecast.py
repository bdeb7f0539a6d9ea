"""What a launch would be like at these limits, before it is made: how long it takes, what holds it up, and what
its prompts use (calls, tokens, time at the rates of providers, dollars), by what earlier runs used, else
by the lengths of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentdeck.engine.prompt_estimate import IMAGE
from agentdeck.errors import UsageError
from agentdeck.insight.forecast import forecast, further_task, without_items
from agentdeck.insight.lower_bound import resource_seconds
from agentdeck.insight.plan import Plan, plan
from agentdeck.limits.provider_limits import tightest
from agentdeck.limits.token_estimates import CHARACTERS_PER_TOKEN, OUTPUT
from agentdeck.providers.model_facts import MILLION, Prices
from agentdeck.providers.registry import models_for
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Definition, Prompt, ProviderLimits, Rate

#: So many tasks are played; what more there are is as the average of the later ones.
PLAYED = 300
#: A limit is what a run waits for where it alone takes so much of the duration.
BOUND = 0.85
#: By how much an answer that was not measured yet may be shorter than the longest that is allowed.
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
    unknown = any(name not in seen and isinstance(definition.agents[name].does, Prompt) for name in many)
    known_all = known and len(known) == len(costs) and not unknown
    return Prompting(seconds, limit, usd if known_all else None, counted)


def request_bound(definition: Definition, deck: Deck, tasks: int) -> tuple[float, str]:
    """The least time that the providers' limits of requests alone take, and the name of the one that takes it;
    (0, "") where none does. Of an agent with `each`, one item of each task is counted."""
    use: dict[str, Used] = {}
    for model, used, _ in _calls(definition, deck, {}):
        provider = deck.models[model].provider
        use[provider] = Used(use.get(provider, Used(0, 0, 0)).calls + used.calls * tasks, 0, 0)
    return _slowest(definition, deck, use)


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
                # What fits into its first window can be used at once, of a rate that is spaced out the burst.
                at_once = rate.count if rate.burst is None else min(rate.count, rate.burst)
                found.append(((amount - at_once) * rate.spacing, f"{name}.{key}"))
    return max(found)


@dataclass(frozen=True, slots=True)
class LaunchForecast:
    """`seconds` is what is to be expected, at least where the plan has agents with items not counted; `first` is
    when the first task ends; the plan has the bound. `busy` is the share of the workers' time that is work. `usd`
    is the least and the most that it would cost, None where that is not known. `holds` says what the run waits
    for: `path`, `workers`, or a limit by its name: of an agent, a shared resource, the slots of a place, or a
    provider."""

    plan: Plan
    seconds: float
    first: float
    busy: float
    holds: str
    usd: tuple[float, float] | None = None


def forecast_launch(
    definition: Definition,
    workers: int,
    tasks: int = 1,
    seconds: Mapping[str, float] | None = None,
    asks: Prompting | None = None,
    order: Sequence[str] = (),
) -> LaunchForecast:
    """Play the launch on a virtual clock. `seconds` are durations by agent as seen before, `asks` what its
    prompts would use, `order` the order of agents that was searched, if one was."""
    asks = asks or Prompting()
    made = plan(definition, workers, tasks, seconds, asks.items)
    counted = {deed.agent: deed.items or 1.0 for deed in made.deeds if deed.many}
    known = {deed.agent: deed.seconds for deed in made.deeds}
    work = {
        d.agent: d.seconds * (d.items or 1) * tasks
        for d in made.deeds
        if not d.spare and definition.agents[d.agent].does.holds_worker
    }
    bound, narrowest = _narrowest(definition, work)
    definition, known = without_items(definition, known, counted, workers)
    played = forecast(definition, workers, min(tasks, PLAYED), known, order)
    each, length = sum(work.values()) / tasks, played.seconds
    if tasks > PLAYED:
        further = further_task(definition, workers, PLAYED, length, known)
        length += (tasks - PLAYED) * max(further, each / workers)
    length = max(length, made.lower_bound)  # which counts every agent, where `when` skips some of them here
    busy = min(1.0, sum(work.values()) / (length * workers)) if length > 0 else 0.0
    holds = narrowest if bound >= BOUND * length > 0 else "path"
    if busy > 0.9 and tasks > 1:
        holds = "workers"
    if asks.seconds > length:
        busy, length, holds = busy * length / asks.seconds, asks.seconds, asks.limit
    return LaunchForecast(made, length, played.first, busy, holds, asks.usd)


def _narrowest(definition: Definition, work: Mapping[str, float]) -> tuple[float, str]:
    """The least seconds that one limit alone takes for this work, in seconds by agent, and its name."""
    found = [(spent, name) for name, spent in resource_seconds(definition, work).items()]
    for name, spent in work.items():
        if most := definition.agents[name].max_parallel:
            found.append((spent / most, f"{name}.max_parallel"))
    return max(found, default=(0.0, ""))
