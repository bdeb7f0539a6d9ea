"""Which model or tier of the deck answers a call, by the name that its client asks for."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from agentdeck.providers.registry import complete
from agentdeck.scheduler.tiers import DEFAULT
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.deck import GATEWAY_DEFAULT, Deck
from agentdeck.workflow.model import Agent, Definition, ModelCall, Timeout

#: The clocks of one call. Clients that stream wait long, and what is silent for two minutes hangs.
TIMEOUT = Timeout(attempt=900.0, idle=120.0)


def calls_of(deck: Deck) -> Definition:
    """The workflow of the calls that attempts make: an agent for each model and each tier of the deck. A call is
    a task of it in which one agent takes part."""
    agents: dict[str, Agent] = {}
    for name in complete(deck).models:
        agents[_key(name)] = Agent(_key(name), ModelCall(model=name), timeout=TIMEOUT)
    for tier in complete(deck).tiers:
        agents.setdefault(_key(tier), Agent(_key(tier), ModelCall(), tier=tier, timeout=TIMEOUT))
    return Definition("calls", agents)


def uses_gateway(deck: Deck, agent: Agent) -> bool:
    """Whether attempts of an agent call models through the gateway."""
    wanted = deck.gateway.all if agent.gateway is None else agent.gateway
    return wanted and kind_of(agent).can_use_gateway(agent)


def target_of(deck: Deck, asked: str) -> str | None:
    """The agent of `calls_of` that answers calls of the model `asked`. None where the deck maps other names only.

    The first pattern that fits applies, in the order of the deck; else a model or tier of that name; else the
    default."""
    patterns = deck.gateway.models
    for pattern, target in patterns.items():
        if pattern != GATEWAY_DEFAULT and fnmatchcase(asked, pattern):
            return _key(target)
    whole = complete(deck)
    if asked in whole.models or asked in whole.tiers:
        return _key(asked)
    if GATEWAY_DEFAULT in patterns:
        return _key(patterns[GATEWAY_DEFAULT])
    if patterns:
        return None
    return _key(DEFAULT if DEFAULT in whole.tiers else next(iter(whole.models)))


def names_of(deck: Deck) -> Iterator[str]:
    """The names that clients may ask for: those in the mapping without a wildcard, models and tiers."""
    whole = complete(deck)
    plain = (
        name for name in deck.gateway.models if name != GATEWAY_DEFAULT and not set("*?[").intersection(name)
    )
    yield from dict.fromkeys([*plain, *whole.models, *whole.tiers])


def _key(name: str) -> str:
    """The name of an agent for a model or a tier: the signs of paths and items have a meaning in ids."""
    return name.translate(str.maketrans("/[]", "___"))
