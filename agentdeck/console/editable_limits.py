"""What of a workflow can be set in a form: each limit with its value as text, as a person writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agentdeck.errors import AgentdeckError
from agentdeck.limits.provider_limits import told
from agentdeck.operations.overrides import override
from agentdeck.providers.registry import models_for
from agentdeck.workflow.deck import Deck, deck_for
from agentdeck.workflow.model import Agent, Data, Definition, Prompt, ProviderLimits
from agentdeck.workflow.units import rate, show_duration, show_size


def turned(definition: Definition, settings: Mapping[str, str]) -> dict[str, Data]:
    """Settings as `--set` has them, by the names and with the values that a file has."""
    made = override(definition, [f"{name}={value}" for name, value in settings.items()])
    found: dict[str, Data] = {}
    for name in settings:
        match name.split("."):
            case ["agents", agent, "timeout"]:
                found[name] = made.agents[agent].timeout.attempt
            case ["agents", agent, "retry"]:
                found[f"agents.{agent}.attempts"] = made.agents[agent].retry.attempts
            case ["agents", agent, "max_parallel"]:
                found[name] = made.agents[agent].max_parallel
            case ["budget", measure]:
                found[name] = getattr(made.budget, measure)
            case [provider, limit]:
                found[name] = told(made.limits.providers[provider]).get(limit)
    return found


def limits_of(agent: Agent) -> list[tuple[str, str, str]]:
    """(setting, its value as text, its unit) of an agent, as the file has them."""
    attempt = agent.timeout.attempt
    timeout = "" if attempt is None else show_duration(attempt)
    found = [("timeout", timeout, "timeout"), ("attempts", str(agent.retry.attempts), "attempts")]
    if agent.max_parallel is not None:
        found.append(("max_parallel", str(agent.max_parallel), "at once"))
    return found


def budget_of(definition: Definition) -> list[tuple[str, str, str]]:
    """(measure, its bound as text, its unit) of the run's budget, as the file has it."""
    budget = definition.budget
    usd = "" if budget is None or budget.usd is None else f"{budget.usd:g}"
    tokens = "" if budget is None or budget.tokens is None else show_size(budget.tokens)
    return [("usd", usd, "dollars"), ("tokens", tokens, "tokens")]


def asked(definition: Definition, deck: Deck) -> list[str]:
    """The providers that this workflow's prompts turn to, first the preferred ones."""
    found: dict[str, None] = {}
    for agent in definition.agents.values():
        if isinstance(agent.does, Prompt) and deck.models:
            try:
                found |= dict.fromkeys(deck.models[name].provider for name in models_for(deck, agent))
            except AgentdeckError:
                continue  # told when it is launched
    return list(found)


def looser(text: str, now: str) -> bool:
    """Whether a provider's limit would be higher than the deck has it: a workflow may only tighten."""
    if not now or now == "auto":
        return False
    if text in ("", "none", "auto"):
        return True
    if "/" in now:
        return rate(text).per_minute > rate(now).per_minute
    return int(text) > int(now)


def deck_of(folder: Path) -> tuple[Deck, str]:
    """The deck that holds there, and what is wrong with it."""
    try:
        return deck_for(folder), ""
    except AgentdeckError as error:
        return Deck(), str(error)


def caps_as_text(caps: ProviderLimits) -> list[tuple[str, str, str]]:
    """(setting, its value as text, its unit) of a provider, as the deck and the file have them."""
    now = told(caps)
    units = {"requests": "requests", "tokens": "tokens", "concurrent": "at once"}
    units |= {name: name.replace("_", " ") for name in now if name not in units}
    return [(name, str(now.get(name, "")), unit) for name, unit in units.items()]
